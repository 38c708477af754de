"""The adapter for diffusers' DDPMs: noise to time, predictions to images, both folder layouts, refused models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from small_world import images
from torch import Tensor, nn

from elixir.errors import ElixirError
from elixir.models.weights import model_folder
from elixir.purifiers import diffusers
from elixir.purifiers.diffusers import DiffusersPrior, load_ddpm
from elixir.purifiers.samplers import ddpm_sigmas
from elixir.registry import find

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
KEPT = DDPMScheduler().alphas_cumprod


def save(folder: Path, *, flat: bool = False, **settings: Any) -> Path:
    """A tiny DDPM as diffusers saves it."""
    torch.manual_seed(0)
    unet = UNet2DModel(
        **{
            "sample_size": 32,
            "block_out_channels": (8, 16, 16),
            "norm_num_groups": 4,
            "layers_per_block": 1,
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        }
        | settings
    )
    unet.save_pretrained(folder if flat else folder / "unet")
    DDPMScheduler().save_pretrained(folder if flat else folder / "scheduler")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("ddpm"))


class Toy(nn.Module):
    """Stands for a UNet2DModel; remembers what it was asked."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[tuple[Tensor, Tensor]] = []

    def forward(self, sample: Tensor, time: Tensor, return_dict: bool) -> tuple[Tensor]:
        self.asked.append((sample, time))
        return (self.answer(sample, time),)


def toy_prior(monkeypatch: pytest.MonkeyPatch, answer: Any, prediction: str = "epsilon") -> tuple[DiffusersPrior, Toy]:
    monkeypatch.setattr(diffusers, "fast_dtype", lambda _: torch.float32)
    toy = Toy(answer)
    return DiffusersPrior(toy, 4, KEPT, prediction, CPU), toy


def test_time_inverts_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    prior, _ = toy_prior(monkeypatch, lambda x, _: x)
    kept = KEPT.double()
    noise = ((1 - kept) / kept).sqrt() / 2
    for t in (0, 1, 10, 149, 500, 999):
        assert prior.time(float(noise[t])) == pytest.approx(t, abs=1e-6)
    assert 149 < prior.time(float(noise[149] + noise[150]) / 2) < 150
    assert prior.time(1e-5) == 0
    assert prior.time(1e5) == 999
    assert [prior.time(sigma) for sigma in ddpm_sigmas()[:-1]] == pytest.approx(list(range(149, -1, -1)), abs=1e-2)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_perfect_predictions_give_the_clean_image_back(monkeypatch: pytest.MonkeyPatch, prediction: str) -> None:
    """The targets are diffusers' own: add_noise for the state, get_velocity for v."""
    x, noise = images(16, 8, 8)
    scheduler: Any = DDPMScheduler()
    time = torch.full((16,), 200)
    targets = {
        "epsilon": noise,
        "sample": 2 * x - 1,
        "v_prediction": scheduler.get_velocity(2 * x - 1, noise, time),
    }
    prior, toy = toy_prior(monkeypatch, lambda *_: targets[prediction], prediction)
    sigma = float(((1 - KEPT[200]) / KEPT[200]).sqrt() / 2)
    assert torch.allclose(prior.purify(x, sigma, noise), x, atol=1e-5)
    state, asked = toy.asked[0]
    assert torch.allclose(state, scheduler.add_noise(2 * x - 1, noise, time), atol=1e-5)
    assert torch.allclose(asked, torch.tensor(200.0), atol=1e-4)


@pytest.mark.parametrize("sigma", [0.05, 0.2, 0.5])
def test_exact_posterior_mean_of_two_point_data(monkeypatch: pytest.MonkeyPatch, sigma: float) -> None:
    """Data uniform on {-1,+1}: E[y | y_t] = tanh(y_t / t^2) with t = 2 sigma, whatever the network's units."""

    def epsilon(state: Tensor, time: Tensor) -> Tensor:
        kept = 1 / (1 + 4 * sigma**2)
        y = state / kept**0.5
        return (y - torch.tanh(y / (4 * sigma**2))) / (2 * sigma)

    prior, _ = toy_prior(monkeypatch, epsilon)
    x, noise = images(4, 8, 8)
    noisy = x.round() + sigma * noise
    expected = (torch.tanh((2 * noisy - 1) / (4 * sigma**2)) + 1) / 2
    assert torch.allclose(prior.denoise(noisy, sigma), expected, atol=1e-5)


def test_network_is_called_as_diffusers_calls_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusers, "fast_dtype", lambda _: torch.float32)
    prior = find("purifiers", "diffusers")(str(folder), CPU)
    net = UNet2DModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False)
    scheduler: Any = DDPMScheduler(clip_sample=False)
    x, noise = images(3, 32, 32)
    state = scheduler.add_noise(2 * x - 1, noise, torch.tensor([100]))
    with torch.no_grad():
        step = scheduler.step(net(state, 100).sample, 100, state)
    sigma = float(((1 - KEPT[100]) / KEPT[100]).sqrt() / 2)
    assert torch.allclose(prior.denoise(x + sigma * noise, sigma), (step.pred_original_sample + 1) / 2, atol=1e-4)


def test_flat_and_nested_layouts_are_the_same(folder: Path, tmp_path: Path) -> None:
    x, noise = images(2, 32, 32)
    flat = load_ddpm(str(save(tmp_path, flat=True)), CPU)
    assert torch.equal(flat.purify(x, 0.2, noise), load_ddpm(str(folder), CPU).purify(x, 0.2, noise))


@pytest.mark.parametrize("size", [(32, 32), (30, 45), (1, 1)])
def test_any_size_and_bits_that_do_not_depend_on_the_batch(folder: Path, size: tuple[int, int]) -> None:
    prior = load_ddpm(str(folder), CPU)
    x, noise = images(18, *size)
    whole = prior.purify(x, 0.2, noise)
    assert whole.shape == x.shape
    assert whole.dtype == torch.float32
    assert whole.min() >= 0
    assert whole.max() <= 1
    pairs = zip(x.split(5), noise.split(5), strict=True)
    assert torch.equal(torch.cat([prior.purify(part, 0.2, z) for part, z in pairs]), whole)
    assert torch.equal(prior.purify(x.flip(0), 0.2, noise.flip(0)), whole.flip(0))


def test_learned_variance_is_cut_off(tmp_path: Path) -> None:
    x, noise = images(1, 16, 16)
    assert load_ddpm(str(save(tmp_path, out_channels=6)), CPU).purify(x, 0.2, noise).shape == x.shape


def test_unsuitable_models_are_refused(folder: Path, tmp_path: Path) -> None:
    grey = save(tmp_path / "grey", in_channels=1, out_channels=1)
    classes = save(tmp_path / "classes", num_class_embeds=4)
    pickled = Path(shutil.copytree(folder, tmp_path / "pickled"))
    (pickled / "unet" / "diffusion_pytorch_model.safetensors").rename(pickled / "unet" / "diffusion_pytorch_model.bin")
    truncated = Path(shutil.copytree(folder, tmp_path / "truncated"))
    weights = truncated / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    no_betas = Path(shutil.copytree(folder, tmp_path / "no_betas"))
    (no_betas / "scheduler" / "scheduler_config.json").write_text(json.dumps({"sigma_min": 0.01}))
    damaged = Path(shutil.copytree(folder, tmp_path / "damaged"))
    (damaged / "unet" / "config.json").write_text("{")
    expected = {
        str(grey): "three channels",
        str(classes): "unconditional",
        str(pickled): "no safetensors file.*save_pretrained",
        str(truncated): "cannot be loaded",
        str(no_betas): "no beta_schedule",
        str(damaged): "missing or damaged",
        None: "needs a model",
    }
    for model, message in expected.items():
        with pytest.raises(ElixirError, match=message):
            load_ddpm(model, CPU)


def test_other_schedulers_of_a_ddpm_are_read(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "ddim"))
    DDIMScheduler(beta_schedule="scaled_linear").save_pretrained(other / "scheduler")
    prior = load_ddpm(str(other), CPU)
    assert isinstance(prior, DiffusersPrior)
    kept = DDIMScheduler(beta_schedule="scaled_linear").alphas_cumprod
    assert prior.time(float(((1 - kept[50]) / kept[50]).sqrt() / 2)) == pytest.approx(50, abs=1e-3)


def test_a_hub_name_is_fetched_without_pickles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = SimpleNamespace(patterns=[])

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        asked.patterns = allow_patterns
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert load_ddpm("someone/ddpm", CPU).nfe == 1
    assert asked.patterns
    assert not any(pattern.endswith((".bin", ".pt", "*")) for pattern in asked.patterns)


@pytest.mark.parametrize("error", [ConnectionError("no route"), ValueError("bad name")])
def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def snapshot_download(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(ElixirError, match="neither a folder nor a model"):
        model_folder("someone/ddpm")
