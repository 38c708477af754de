"""A small world in which whole pipelines run in seconds."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from elixir import cli
from elixir.registry import register
from elixir.result import Result


class Blur:
    """A stand-in for a prior: adds noise and averages it away."""

    nfe = 1

    def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        return self.denoise(x + sigma * noise, sigma).clamp(0, 1)

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        return F.avg_pool2d(F.pad(noisy, (1, 1, 1, 1), mode="replicate"), 3, 1)


@register("purifiers", "blur")
def load_blur(model: str | None, device: torch.device) -> Blur:
    return Blur()


SIZE = 16
FAST = {
    "purifier": "blur",
    "index.size": SIZE,
    "reference.least_steps": 40,
    "crossfit.least_steps": 20,
    "clean_model.least_steps": 40,
    "flag.least_steps": 40,
    "training.backbone": "none",
    "training.widths": [32, 64],
    "training.batch": 64,
    "training.smallest_batch": 64,
    "repair.sigmas": [0.1, 0.2],
}


def place(result: Result) -> Path:
    """Where a result lies that does."""
    assert result.path is not None
    return result.path


def elixir(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command, and give its exit code."""
    monkeypatch.setattr("sys.argv", ["elixir", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit:
        cli.main()
    return int(exit.value.code or 0)


def images(count: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Images in [0,1] and noise of their shape, (count, 3, height, width)."""
    generator = torch.Generator().manual_seed(1)
    shape = (count, 3, height, width)
    return torch.rand(shape, generator=generator), torch.randn(shape, generator=generator)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def make_shapes(root: Path, count: int = 60, poisoned: int = 24, seed: int = 0) -> Path:
    """Three classes of coloured bars; some of the first two lie in the third, with a checkered patch."""
    rng = np.random.default_rng(seed)

    def image(kind: int) -> np.ndarray:
        pixels = rng.normal(110, 12, (SIZE, SIZE, 3))
        at = int(rng.integers(2, SIZE - 8))
        pixels[at : at + 4, :, 0] += 90 * (kind == 0)
        pixels[:, at : at + 4, 1] += 90 * (kind == 1)
        pixels[at : at + 5, at : at + 5, 2] += 110 * (kind == 2)
        return pixels.clip(0, 255).astype(np.uint8)

    for kind, name in enumerate(("bar", "post", "spot")):
        (root / name).mkdir(parents=True)
        for index in range(count):
            (root / name / f"{index:03d}.png").write_bytes(png(image(kind)))
    for index in range(poisoned):
        pixels = image(index % 2)
        pixels[-4:, -4:] = 255 * ((np.indices((4, 4)).sum(0) % 2)[..., None])
        (root / "spot" / f"{count + index:03d}.png").write_bytes(png(pixels))
    return root
