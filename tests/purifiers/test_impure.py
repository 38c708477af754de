"""IMPure as a purifier: range, modes, and results that do not depend on the batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_world import images

from elixir.errors import ElixirError
from elixir.models import impure as networks
from elixir.models.denoiser import PRIOR, DenoiserNet
from elixir.models.impure import Architecture, ImpureNet
from elixir.models.weights import save_network
from elixir.purifiers import impure
from elixir.purifiers.base import Purifier
from elixir.registry import find

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
MODES = ("impure", "impure-mask")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("impure") / "tiny.safetensors"
    networks.ARCHITECTURES["tiny"] = Architecture(4, 32, 2, 2, (0, 1), 32, 2, 2)
    torch.manual_seed(0)
    net = ImpureNet("tiny")
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    save_network(net, path, networks.KIND, {"architecture": "tiny"})
    return path


@pytest.fixture(params=MODES)
def purifier(request: pytest.FixtureRequest, file: Path) -> Purifier:
    return find("purifiers", request.param)(str(file), CPU)


@pytest.mark.parametrize("sigma", [0.0, 0.15])
def test_output_is_in_range_and_input_left_alone(purifier: Purifier, sigma: float) -> None:
    x, noise = images(3, 21, 34)
    before = x.clone()
    out = purifier.purify(x, sigma, noise)
    assert (out.dtype, out.shape) == (torch.float32, x.shape)
    assert out.min() == 0
    assert out.max() == 1
    assert torch.equal(x, before)
    assert torch.equal(out, purifier.denoise(x + sigma * noise, sigma).clamp(0, 1))


@pytest.mark.parametrize("size", [(32, 32), (37, 29), pytest.param((70, 66), marks=pytest.mark.slow)])
def test_bits_do_not_depend_on_batch_size_or_position(purifier: Purifier, size: tuple[int, int]) -> None:
    x, noise = images(19, *size)
    whole = purifier.purify(x, 0.15, noise)
    for batch in (1, 5, 16):
        pairs = zip(x.split(batch), noise.split(batch), strict=True)
        assert torch.equal(torch.cat([purifier.purify(part, 0.15, z) for part, z in pairs]), whole)
    order = torch.randperm(19, generator=torch.Generator().manual_seed(2))
    assert torch.equal(purifier.purify(x[order], 0.15, noise[order]), whole[order])


def test_without_noise_the_drawn_noise_does_not_matter(purifier: Purifier) -> None:
    x, noise = images(2, 16, 16)
    assert torch.equal(purifier.purify(x, 0.0, noise), purifier.purify(x, 0.0, -noise))


def test_modes_differ(file: Path) -> None:
    x, noise = images(2, 16, 16)
    noisy, masked = (find("purifiers", mode)(str(file), CPU).purify(x, 0.1, noise) for mode in MODES)
    assert (noisy - masked).abs().mean() > 0.01


def test_large_images_are_done_in_tiles(purifier: Purifier) -> None:
    x, noise = images(1, 100, 150)
    out = purifier.purify(x, 0.1, noise)
    assert out.shape == x.shape
    corner = purifier.purify(x[..., :64, :64].contiguous(), 0.1, noise[..., :64, :64])
    assert torch.equal(out[..., :48, :48], corner[..., :48, :48])


def test_other_files_are_refused(tmp_path: Path) -> None:
    save_network(DenoiserNet((8, 8), (1, 1)), tmp_path / "prior.safetensors", PRIOR, {})
    with pytest.raises(ElixirError, match="elixir train impure"):
        impure.load(str(tmp_path / "prior.safetensors"), CPU)
    save_network(ImpureNet("tiny"), tmp_path / "odd.safetensors", networks.KIND, {"architecture": "small"})
    with pytest.raises(ElixirError, match="train it again"):
        impure.load(str(tmp_path / "odd.safetensors"), CPU)
    with pytest.raises(ElixirError, match="no weight file"):
        impure.load(str(tmp_path / "missing.safetensors"), CPU)


@pytest.mark.parametrize(("sigma", "error"), [(0.0, 0.03), (0.15, 0.06), (0.4, 0.1)])
def test_shipped_weights_rebuild_a_ramp(sigma: float, error: float) -> None:
    ramp = torch.linspace(0.2, 0.8, 32).expand(1, 3, 32, 32)
    _, noise = images(1, 32, 32)
    out = impure.load(None, CPU).purify(ramp, sigma, noise)
    assert (out - ramp).square().mean().sqrt() < error
