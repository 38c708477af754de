"""Operations of networks, against sums by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from elixir.engine.cost import Cost, Meter, gflop_per_image
from elixir.models.classifier import SmallResNet
from elixir.models.denoiser import DenoiserNet
from elixir.models.impure import Block
from elixir.models.torchscript import ScriptWithFeatures


def test_a_convolution_costs_two_operations_for_each_weight_and_place() -> None:
    assert gflop_per_image(nn.Conv2d(3, 8, 5), (3, 20, 30)) == 2 * 8 * 3 * 5 * 5 * 16 * 26 / 1e9


def test_a_classifier_costs_the_sum_of_its_layers() -> None:
    net = SmallResNet(7, widths=(4, 6))
    fine, coarse = 8 * 8, 4 * 4  # places of a 16x16 image at half and at quarter resolution
    products = 9 * fine * (12 * 4 + 2 * 4 * 4) + 9 * coarse * (4 * 6 + 2 * 6 * 6) + 6 * 7
    assert gflop_per_image(net, (3, 16, 16)) == 2 * products / 1e9
    assert net.training
    assert all(buffer.equal(torch.zeros_like(buffer)) for name, buffer in net.named_buffers() if "mean" in name)


def test_attention_is_counted() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Block(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.block(x.flatten(2).mT)

    tokens, width = 12, 8
    linear = tokens * (width * 3 * width + width * width + 2 * width * 4 * width)
    assert gflop_per_image(Tokens(), (8, 3, 4)) == 2 * (linear + 2 * tokens * tokens * width) / 1e9


def test_a_denoiser_is_asked_with_a_noise_level() -> None:
    net = DenoiserNet((4, 6), (1, 1)).half()
    assert gflop_per_image(net, (3, 32, 32)) == 4 * gflop_per_image(net, (3, 16, 16)) > 0


def test_scripts_are_counted() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).eval()
    probe = torch.rand(2, 3, 8, 8)
    script = ScriptWithFeatures(torch.jit.trace(net, probe), probe)  # pyright: ignore[reportArgumentType]
    assert gflop_per_image(script, (3, 8, 8)) == gflop_per_image(net, (3, 8, 8)) == 2 * (6 * 6 * 27 * 4 + 20) / 1e9


def test_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Conv2d(1, 1, 1)
    first = gflop_per_image(net, (1, 4, 4))
    monkeypatch.setattr(net, "forward", None)
    assert gflop_per_image(net, (1, 4, 4)) == first


def test_what_cannot_be_counted_costs_nothing() -> None:
    net = nn.Conv2d(1, 1, 1)
    assert gflop_per_image(net, (3, 4, 4)) == gflop_per_image(None, (3, 4, 4)) == 0


def test_counting_leaves_random_state_and_modes_alone() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.frozen, self.free = nn.BatchNorm2d(3).eval(), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.free(self.frozen(x + torch.randn_like(x)))

    net, state = Noisy(), torch.get_rng_state()
    assert gflop_per_image(net, (3, 4, 4)) == 2 * 9 * 16 / 1e9
    assert torch.equal(torch.get_rng_state(), state)
    assert (net.training, net.frozen.training, net.free.training) == (True, False, True)


def test_what_other_processes_have_spent_is_added_and_kept(tmp_path: Path) -> None:
    elsewhere, meter = Meter(), Meter(tmp_path)
    for each in (elsewhere, meter):
        each.start("probe")
        with each.network(nfe=2, gflop=3.0):
            pass
    meter.add(elsewhere.save())
    total = meter.costs["probe"]
    assert (total.nfe, total.gflop) == (4, 6.0)
    assert total.network_seconds > elsewhere.costs["probe"].network_seconds
    again = Meter(tmp_path)
    again.start("probe")
    assert again.costs["probe"] == Cost(total.seconds, total.network_seconds, 4, 6.0)
