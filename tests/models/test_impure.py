"""IMPure's network: every patch rebuilt once and from its surroundings, at any size."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from elixir.models import impure
from elixir.models.impure import ImpureNet, ddpm_signal, positions

TINY = impure.Architecture(4, 16, 2, 3, (0, 2), 12, 3, 2)


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> ImpureNet:
    """Small, with weights so large that everything matters."""
    monkeypatch.setitem(impure.ARCHITECTURES, "tiny", TINY)
    torch.manual_seed(0)
    net = ImpureNet("tiny").eval().requires_grad_(False)
    for parameter in net.parameters():
        parameter.normal_(std=0.3)
    return net


def images(count: int, height: int, width: int) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def attenuation(net: ImpureNet, x: Tensor, pixel_time: int = 400, feature_time: int = 600) -> impure.Attenuation:
    times = [torch.full((len(x),), time) for time in (pixel_time, feature_time)]
    return net.attenuation(x.shape, times[0], times[1], torch.Generator().manual_seed(2))


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (8, 8), (6, 10)])
def test_every_patch_is_in_one_group_and_comes_back_to_its_place(rows: int, columns: int) -> None:
    x = torch.arange(3 * 16 * rows * columns).view(1, 3, 4 * rows, 4 * columns).float()
    groups = impure._split(x, 4)
    assert groups.shape == (1, 4, rows * columns // 4, 48)
    assert torch.equal(impure._join(groups, rows, columns, 4), x)
    number = (torch.arange(rows)[:, None] % 2 * 2 + torch.arange(columns) % 2).view(1, 1, rows, columns)
    assert torch.equal(impure._split(number, 1)[0, :, :, 0], torch.arange(4)[:, None].expand(-1, rows * columns // 4))


def test_mask_mode_never_sees_a_patch_that_it_rebuilds(net: ImpureNet) -> None:
    x = images(1, 16, 24)
    before = net.rebuild(x, torch.zeros(1))
    for row in range(4):
        for column in range(6):
            place = (..., slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
            changed = x.clone()
            changed[place] = 1 - changed[place]
            difference = (net.rebuild(changed, torch.zeros(1)) - before).abs().amax(1)[0]
            moved = difference.unfold(0, 4, 4).unfold(1, 4, 4).amax((2, 3)) > 1e-6
            same_group = torch.zeros(4, 6, dtype=torch.bool)
            same_group[row % 2 :: 2, column % 2 :: 2] = True
            assert torch.equal(moved, ~same_group)


def test_noise_mode_sees_as_much_of_a_patch_as_the_schedule_leaves(net: ImpureNet) -> None:
    x = images(1, 16, 16)
    changed = x.clone()
    changed[..., :4, :4] = 1 - changed[..., :4, :4]
    seen = []
    for times in ((0, 0), (400, 600), (999, 999)):
        keep = attenuation(net, x, *times)
        before, after = (net.rebuild(image, torch.zeros(1), keep) for image in (x, changed))
        seen.append(float((after - before)[..., :4, :4].abs().mean()))
    assert seen[0] > seen[1] > seen[2]
    assert seen[2] < 0.05 * seen[0]


def test_a_batch_may_mix_the_modes(net: ImpureNet) -> None:
    x, sigma = images(2, 16, 16), torch.zeros(2)
    pixel_time, feature_time = torch.tensor([400, 400]), torch.tensor([600, impure.MASKED])
    keep = net.attenuation(x.shape, pixel_time, feature_time, torch.Generator().manual_seed(2))
    both = net.rebuild(x, sigma, keep)
    assert torch.allclose(both[1], net.rebuild(x, sigma)[1], atol=1e-5)
    assert torch.allclose(both[0], net.rebuild(x, sigma, attenuation(net, x))[0], atol=1e-5)
    assert not torch.allclose(both[0], net.rebuild(x, sigma)[0], atol=1e-2)


def test_own_noise_is_never_less_than_that_of_the_input(net: ImpureNet) -> None:
    x = images(2, 16, 16)
    keep = attenuation(net, x, pixel_time=0, feature_time=0)
    visible, own = net._encode_both(x, torch.full((2,), 0.3), keep)
    signal = ddpm_signal()[0]
    lost = (1 - signal**2).sqrt()
    expected = signal * visible + lost * keep.features + net.attenuated(lost.view(1))
    assert torch.allclose(own, expected, atol=1e-5)


def test_schedule_is_that_of_ddpm() -> None:
    kept = 1.0
    for time in range(401):
        kept *= 1 - (1e-4 + (0.02 - 1e-4) * time / 999)
    assert math.isclose(float(ddpm_signal()[400]), math.sqrt(kept), rel_tol=1e-5)
    assert ddpm_signal()[impure.MASKED] == 0


@pytest.mark.parametrize(("height", "width"), [(32, 32), (29, 35), (1, 7), (64, 40), (80, 8)])
def test_any_size(net: ImpureNet, height: int, width: int) -> None:
    x = images(2, height, width)
    before = x.clone()
    for keep in (None, attenuation(net, x)):
        out = net(x, torch.tensor([0.0, 0.2]), keep)
        assert out.shape == x.shape
        assert out.isfinite().all()
        second = keep and impure.Attenuation(*(part[1:] for part in vars(keep).values()))
        alone = net(x[1:], torch.tensor([0.2]), second)
        assert torch.allclose(out[1:], alone, atol=1e-5)
    assert torch.equal(x, before)


def test_padding_repeats_the_border(net: ImpureNet) -> None:
    x = images(1, 13, 16)
    padded = torch.cat([x, x[..., -1:, :].expand(-1, -1, 3, -1)], 2)
    assert torch.allclose(net.rebuild(x, torch.zeros(1)), net.rebuild(padded, torch.zeros(1))[..., :13, :], atol=1e-6)


def test_fusion_is_a_weighted_mean_of_the_named_blocks(net: ImpureNet) -> None:
    x = images(1, 16, 16)
    outputs: list[Tensor] = []

    def remember(block: nn.Module, args: object, output: Tensor) -> None:
        outputs.append(output)

    for block in net.encoder:
        block.register_forward_hook(remember)
    features = net._encode(x, torch.zeros(1))
    weights = net.fusion.softmax(0)
    mean = weights[0] * outputs[0] + weights[1] * outputs[2]
    assert torch.allclose(features, net.encoded(mean).view_as(features), atol=1e-5)


def test_positions_tell_all_places_apart_and_do_not_depend_on_the_size() -> None:
    grid = positions(16, 16, 16, torch.device("cpu"))
    assert torch.equal(positions(8, 12, 16, torch.device("cpu")), grid[:8, :12])
    flat = grid.view(256, 16)
    assert torch.cdist(flat, flat).add(torch.eye(256) * 9).min() > 0.1


@pytest.mark.slow
def test_the_imagenet_configuration_runs() -> None:
    whole = ImpureNet("imagenet").to("meta")
    assert 105e6 < sum(p.numel() for p in whole.parameters()) < 120e6
    with torch.device("meta"):
        x = torch.rand(1, 3, 224, 224)
        assert whole(x, torch.zeros(1)).shape == x.shape


def test_the_shipped_configuration_is_small() -> None:
    assert sum(p.numel() for p in ImpureNet().parameters()) < 6e6
