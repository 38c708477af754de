"""The adapter for diffusers' consistency models: units, scalings, time, classes, layouts, refused models."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.pipelines.consistency_models.pipeline_consistency_models import ConsistencyModelPipeline
from diffusers.schedulers.scheduling_consistency_models import CMStochasticIterativeScheduler
from small_world import images
from torch import Tensor, nn

from elixir.errors import ElixirError
from elixir.purifiers import diffusers
from elixir.purifiers.diffusers import ConsistencyPipeline, load_ddpm
from elixir.purifiers.network import load_consistency

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
CLASSES = 5


def save(folder: Path, scheduler: Any = None, **settings: Any) -> Path:
    """A tiny ConsistencyModelPipeline as diffusers saves it."""
    torch.manual_seed(0)
    net = UNet2DModel(
        **{
            "sample_size": 32,
            "block_out_channels": (8, 16, 16),
            "norm_num_groups": 4,
            "layers_per_block": 1,
            "resnet_time_scale_shift": "scale_shift",
            "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        }
        | settings
    )
    ConsistencyModelPipeline(net, scheduler or CMStochasticIterativeScheduler()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("cm"))


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diffusers, "fast_dtype", lambda _: torch.float32)


class Toy(nn.Module):
    """Stands for a UNet2DModel: the output that makes the model return sign(y)."""

    def forward(self, sample: Tensor, time: Tensor, return_dict: bool) -> tuple[Tensor]:
        t = (time.double() / 250).exp().float().view(-1, 1, 1, 1)
        y = sample * (t**2 + 0.25).sqrt()
        c_skip = 0.25 / ((t - 0.002) ** 2 + 0.25)
        c_out = (t - 0.002) * 0.5 / (t**2 + 0.25).sqrt()
        return ((y.sign() - c_skip * y) / c_out,)


@pytest.mark.parametrize("sigma", [0.05, 0.25, 1.0])
def test_a_perfect_model_of_two_point_data_returns_the_sign(sigma: float) -> None:
    """Data uniform on {-1,+1}; the time condition gives t = 2 sigma exactly."""
    x, noise = images(4, 8, 8)
    noisy = x.round() + sigma * noise
    expected = ((2 * noisy - 1).sign() + 1) / 2
    assert torch.allclose(ConsistencyPipeline(Toy(), 4, CPU).denoise(noisy, sigma), expected, atol=1e-4)


def test_at_the_least_noise_the_input_comes_back() -> None:
    x, _ = images(2, 8, 8)
    unlucky = ConsistencyPipeline(Toy(), 4, CPU)
    unlucky.predict = lambda x, time: torch.full_like(x, 1e4)
    assert torch.allclose(unlucky.denoise(x, 0.001), x, atol=1e-6)


@pytest.mark.parametrize("index", [0, 20, 35])
def test_network_is_called_as_diffusers_calls_it(folder: Path, index: int) -> None:
    """One step of its pipeline at a time of the grid; t(2 sigma) is twice our sigma."""
    purifier = load_consistency(str(folder), CPU)
    net = UNet2DModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False)
    scheduler: Any = CMStochasticIterativeScheduler(clip_denoised=False)
    scheduler.set_timesteps(num_inference_steps=40)
    time, t = scheduler.timesteps[index], float(scheduler.sigmas[index])
    x, noise = images(3, 32, 32)
    y = (2 * x - 1) + t * noise
    with torch.no_grad():
        out = net(scheduler.scale_model_input(y, time), time, return_dict=False)[0]
        c_skip, c_out = scheduler.get_scalings_for_boundary_condition(torch.tensor(t))
        expected = c_skip * y + c_out * out
    assert torch.allclose(purifier.denoise(x + t / 2 * noise, t / 2), (expected + 1) / 2, atol=1e-4 * max(1, t))
    assert float(time) == pytest.approx(250 * math.log(t), abs=1e-3)
    assert purifier.nfe == 1


def test_an_unknown_class_is_the_mean_of_all(tmp_path: Path) -> None:
    folder = save(tmp_path, num_class_embeds=CLASSES)
    purifier = load_consistency(str(folder), CPU)
    net: Any = UNet2DModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False)
    with torch.no_grad():
        net.class_embedding.weight[:] = net.class_embedding.weight.mean(0)
        x, t = 2 * images(2, 32, 32)[0] - 1, 0.5
        c_in, above = 1 / math.hypot(t, 0.5), t - 0.002
        labels = torch.zeros(2, dtype=torch.int64)
        out = net(c_in * x, torch.full((2,), 250 * math.log(t)), labels, return_dict=False)[0]
        expected = 0.25 / (above**2 + 0.25) * x + 0.5 * above * c_in * out
    assert torch.allclose(purifier.denoise((x + 1) / 2, t / 2), (expected + 1) / 2, atol=1e-5)


def test_nested_flat_and_bare_layouts_are_the_same(folder: Path, tmp_path: Path) -> None:
    flat = Path(shutil.copytree(folder / "unet", tmp_path / "flat"))
    shutil.copy(folder / "scheduler" / "scheduler_config.json", flat)
    x, noise = images(2, 32, 32)
    expected = load_consistency(str(folder), CPU).purify(x, 0.2, noise)
    for other in (flat, folder / "unet"):
        assert torch.equal(load_consistency(str(other), CPU).purify(x, 0.2, noise), expected)


def test_settings_of_the_scheduler_are_read(tmp_path: Path) -> None:
    x, _ = images(2, 32, 32)
    late = save(tmp_path, CMStochasticIterativeScheduler(sigma_min=0.1))
    assert torch.allclose(load_consistency(str(late), CPU).denoise(x, 0.05), x, atol=1e-6)


@pytest.mark.parametrize("size", [(32, 32), (30, 45), (1, 1)])
def test_any_size_and_bits_that_do_not_depend_on_the_batch(folder: Path, size: tuple[int, int]) -> None:
    purifier = load_consistency(str(folder), CPU)
    x, noise = images(18, *size)
    whole = purifier.purify(x, 0.2, noise)
    assert whole.shape == x.shape
    assert 0 <= whole.min() <= whole.max() <= 1
    pairs = zip(x.split(5), noise.split(5), strict=True)
    assert torch.equal(torch.cat([purifier.purify(part, 0.2, z) for part, z in pairs]), whole)


def test_unsuitable_models_are_refused(folder: Path, tmp_path: Path) -> None:
    ddpm = Path(shutil.copytree(folder, tmp_path / "ddpm"))
    (ddpm / "scheduler" / "scheduler_config.json").write_text(
        '{"_class_name": "DDPMScheduler", "beta_schedule": "linear"}'
    )
    pickled = Path(shutil.copytree(folder, tmp_path / "pickled"))
    (pickled / "unet" / "diffusion_pytorch_model.safetensors").rename(pickled / "unet" / "diffusion_pytorch_model.bin")
    expected = {
        ddpm: "no consistency model.*'diffusers'",
        pickled: "no safetensors file",
        save(tmp_path / "grey", in_channels=1, out_channels=1): "three channels",
        save(tmp_path / "time", class_embed_type="timestep"): "more than a class",
    }
    for model, message in expected.items():
        with pytest.raises(ElixirError, match=message):
            load_consistency(str(model), CPU)
    with pytest.raises(ElixirError, match="use the purifier 'consistency'"):
        load_ddpm(str(folder), CPU)
