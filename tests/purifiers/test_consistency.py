"""The consistency purifier: loading, bits that do not depend on the batch, and its recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_world import images

from elixir.errors import ElixirError
from elixir.models.classifier import SmallResNet
from elixir.models.denoiser import EPSILON, PRIOR, DenoiserNet
from elixir.models.perceptual import PerceptualDistance
from elixir.models.weights import save_network
from elixir.pipeline import Pipeline
from elixir.purifiers.base import Purifier
from elixir.purifiers.network import load_consistency, load_prior
from elixir.registry import find
from elixir.training.consistency import FineTuning, fine_tune
from elixir.training.crops import TrainingImages
from elixir.training.denoiser import TrainingRun

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained for 20 steps."""
    path = tmp_path_factory.mktemp("consistency") / "small.safetensors"
    pixels = torch.randint(0, 256, (8, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    torch.manual_seed(0)
    distance = PerceptualDistance(SmallResNet(3, widths=(8, 8)).eval())
    settings = FineTuning(steps=20, batch=4, crop=16, warmup=1)
    crops = TrainingImages(lambda wanted: pixels[wanted], 8, 32)
    fine_tune(TrainingRun(crops, path), settings, DenoiserNet((16, 24, 32), (1, 2, 1)), distance)
    return path


@pytest.fixture(scope="module")
def purifier(file: Path) -> Purifier:
    return find("purifiers", "consistency")(str(file), CPU)


@pytest.mark.parametrize("size", [(32, 32), (37, 29)])
def test_bits_do_not_depend_on_batch_size_or_position(purifier: Purifier, size: tuple[int, int]) -> None:
    x, noise = images(33, *size)
    whole = purifier.purify(x, 0.15, noise)
    assert whole.dtype == torch.float32
    assert 0 <= whole.min() < whole.max() <= 1
    assert torch.equal(whole, purifier.denoise(x + 0.15 * noise, 0.15).clamp(0, 1))
    for batch in (1, 5, 16):
        pairs = zip(x.split(batch), noise.split(batch), strict=True)
        assert torch.equal(torch.cat([purifier.purify(part, 0.15, z) for part, z in pairs]), whole)
    assert torch.equal(purifier.purify(x.flip(0), 0.15, noise.flip(0)), whole.flip(0))


def test_one_call_a_draw(purifier: Purifier, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    forward = DenoiserNet.forward
    monkeypatch.setattr(DenoiserNet, "forward", lambda *args: calls.append(1) or forward(*args))
    x, noise = images(3, 16, 16)
    purifier.purify(x, 0.2, noise)
    assert len(calls) == purifier.nfe == 1


def test_the_boundary_condition_survives_loading(purifier: Purifier) -> None:
    grey = torch.randint(0, 256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(2)) / 256
    assert torch.equal(purifier.denoise(grey, EPSILON), grey)


def test_a_prior_and_a_consistency_model_are_told_apart(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ElixirError, match=r"no prior.*train prior"):
        load_prior(str(file), CPU)
    save_network(DenoiserNet((16, 24), (1, 1)), tmp_path / "prior.safetensors", PRIOR, {})
    with pytest.raises(ElixirError, match=r"no consistency.*train consistency"):
        load_consistency(str(tmp_path / "prior.safetensors"), CPU)
    with pytest.raises(ElixirError, match="no weight file"):
        load_consistency(str(tmp_path / "missing.safetensors"), CPU)
    (tmp_path / "pickle.pt").write_bytes(b"\x80\x04.")
    with pytest.raises(ElixirError, match="pickle"):
        load_consistency(str(tmp_path / "pickle.pt"), CPU)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ElixirError, match="no safetensors file"):
        load_consistency(str(tmp_path / "empty"), CPU)


def test_the_recipe_is_the_default_one_with_another_purifier() -> None:
    recipe, default = Pipeline.from_recipe("consistency"), Pipeline.from_recipe("dataelixir")
    assert recipe.purifier == "consistency"
    assert recipe.describe()["stages"] == default.describe()["stages"]


def test_shipped_model_removes_most_of_the_noise() -> None:
    ramp = torch.linspace(0.2, 0.8, 32).expand(1, 3, 32, 32)
    _, noise = images(1, 32, 32)
    for sigma in (0.075, 0.15, 0.26, 0.4):
        error = load_consistency(None, CPU).purify(ramp, sigma, noise) - ramp
        assert error.square().mean().sqrt() < sigma / 3
