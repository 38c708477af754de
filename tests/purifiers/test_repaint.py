"""Repainting: what is known stays, what is unknown follows from it."""

import pytest
import torch
from torch import Tensor

from elixir.purifiers.prior import load
from elixir.purifiers.repaint import SIGMAS, repaint

GENERATOR = torch.Generator().manual_seed(0)


def patched() -> tuple[Tensor, Tensor, Tensor]:
    """A smooth ramp, the ramp with a chequered patch, and where that is."""
    ramp = torch.linspace(0.2, 0.8, 32).expand(1, 3, 32, 32).clone()
    where = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    where[..., 20:28, 20:28] = True
    checks = (torch.arange(32)[:, None] + torch.arange(32)).remainder(2).float()
    return ramp, torch.where(where, checks, ramp), where


def noise(sigma: float) -> Tensor:
    assert sigma in SIGMAS
    return torch.randn(1, 3, 32, 32, generator=GENERATOR)


def test_the_patch_gives_way_to_its_surroundings():
    ramp, image, where = patched()
    painted = repaint(load(None, torch.device("cpu")), image, where, noise)
    assert torch.equal(painted.where(~where, ramp), ramp)
    assert (painted - ramp).abs().max() < 0.15
    assert (image - ramp).abs().max() > 0.5


@pytest.mark.slow
def test_nothing_of_the_patch_is_used():
    ramp, image, where = patched()
    purifier = load(None, torch.device("cpu"))
    GENERATOR.manual_seed(1)
    one = repaint(purifier, image, where, noise)
    GENERATOR.manual_seed(1)
    assert torch.equal(one, repaint(purifier, ramp, where, noise))
