"""The embedded prior: loading, bad files, and results that do not depend on the batch or on tiling."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_world import images

from elixir.errors import ElixirError
from elixir.models.denoiser import PRIOR, DenoiserNet
from elixir.models.weights import save_network
from elixir.purifiers.base import Purifier
from elixir.purifiers.network import NetworkPurifier, load_prior
from elixir.registry import find

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def small_net() -> DenoiserNet:
    """Small, with random weights in the convolutions that start at zero, so that every layer matters."""
    torch.manual_seed(0)
    net = DenoiserNet((16, 24, 32), (1, 2, 1))
    for name, parameter in net.named_parameters():
        if name.endswith("second.weight"):
            torch.nn.init.normal_(parameter, std=0.05)
    return net


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prior") / "small.safetensors"
    save_network(small_net(), path, PRIOR, {})
    return path


@pytest.fixture(scope="module")
def purifier(file: Path) -> Purifier:
    return find("purifiers", "prior")(str(file), CPU)


def test_gives_the_networks_output_clamped_for_any_architecture(purifier: Purifier) -> None:
    x, noise = images(3, 21, 34)
    with torch.no_grad():
        expected = small_net()(x + 0.2 * noise, torch.full((3,), 0.2))
    out = purifier.purify(x, 0.2, noise)
    assert out.dtype == torch.float32
    assert out.shape == x.shape
    assert (out - expected.clamp(0, 1)).abs().max() < 0.05
    assert torch.equal(out, purifier.denoise(x + 0.2 * noise, 0.2).clamp(0, 1))
    assert purifier.nfe == 1


@pytest.mark.parametrize("size", [(32, 32), (37, 29), (64, 64)])
def test_bits_do_not_depend_on_batch_size_or_position(purifier: Purifier, size: tuple[int, int]) -> None:
    x, noise = images(33, *size)
    whole = purifier.purify(x, 0.15, noise)
    for batch in (1, 5, 16):
        pairs = zip(x.split(batch), noise.split(batch), strict=True)
        assert torch.equal(torch.cat([purifier.purify(part, 0.15, z) for part, z in pairs]), whole)
    order = torch.randperm(33, generator=torch.Generator().manual_seed(2))
    assert torch.equal(purifier.purify(x[order], 0.15, noise[order]), whole[order])


def test_tiles_leave_no_seam(purifier: Purifier, monkeypatch: pytest.MonkeyPatch) -> None:
    x, noise = images(2, 300, 230)
    whole = purifier.purify(x, 0.1, noise)
    monkeypatch.setattr(NetworkPurifier, "tile", 192)
    assert 0.1 < whole.mean() < 0.9
    assert torch.allclose(purifier.purify(x, 0.1, noise), whole, atol=1e-6)


def test_result_can_be_trained_on(purifier: Purifier) -> None:
    x, noise = images(1, 16, 16)
    weight = torch.ones(1, requires_grad=True)
    (purifier.purify(x, 0.1, noise) * weight).sum().backward()
    assert weight.grad is not None


def test_input_is_left_alone(purifier: Purifier) -> None:
    x, noise = images(2, 16, 16)
    before = x.clone()
    purifier.purify(x, 0.1, noise)
    assert torch.equal(x, before)


def test_other_files_are_refused(file: Path, tmp_path: Path) -> None:
    pickle = tmp_path / "model.pt"
    torch.save({"a": torch.ones(1)}, pickle)
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(file.read_bytes()[:1000])
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    foreign = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file({"a": torch.ones(1)}, foreign)
    hollow = tmp_path / "hollow.safetensors"
    safetensors.torch.save_file({"head.bias": torch.ones(8)}, hollow, {PRIOR: "{}"})
    expected = {
        pickle: "pickle.*convert it to safetensors",
        truncated: "truncated",
        empty: "truncated",
        foreign: "elixir train prior",
        hollow: "train it again",
        tmp_path / "missing.safetensors": "no weight file",
        tmp_path: "no weight file",
    }
    for path, message in expected.items():
        with pytest.raises(ElixirError, match=message):
            load_prior(str(path), CPU)


def test_shipped_prior_removes_most_of_the_noise() -> None:
    ramp = torch.linspace(0.2, 0.8, 32).expand(1, 3, 32, 32)
    _, noise = images(1, 32, 32)
    for sigma in (0.075, 0.15, 0.26, 0.4):
        error = load_prior(None, CPU).purify(ramp, sigma, noise) - ramp
        assert error.square().mean().sqrt() < sigma / 4
