"""Denoising by a purifier beside classical denoisers: how near the clean image the result is, and time per image."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from elixir.data.image import decode
from elixir.data.source import Source
from elixir.errors import ElixirError, UnreadableSample
from elixir.evaluation.quality import HIGHEST_PSNR
from elixir.progress import Progress
from elixir.purifiers.base import Purifier
from elixir.randomness import generator, noise

AT_ONCE = 16  # images in a batch of the perceptual distance
NLM = {"patch_size": 3, "patch_distance": 6}
NLM_STRENGTH = 0.6  # of non-local means: the cut-off distance, in units of the noise level
Denoise = Callable[[np.ndarray, float], np.ndarray]
Perceptual = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Denoising:
    """How near the clipped results of a method (purifier, bm3d or nlm) are to the clean images on average.

    Attributes:
        sigma: in [0,1] pixel units.
        psnr: in dB.
        distance: L2 norm of the difference ("transport distance" of arXiv 2407.00623).
        milliseconds: per image, one image after another for the classical methods, in one batch for the purifier.
    """

    method: str
    sigma: float
    images: int
    psnr: float
    distance: float
    perceptual: float
    milliseconds: float


def compare_denoisers(
    source: Source,
    purifier: Purifier,
    methods: Sequence[str],
    sigmas: Sequence[float],
    count: int,
    seed: int,
    quiet: bool,
    perceptual: Perceptual,
) -> list[Denoising]:
    """Add noise to a random sample of images of the most common size, and remove it.

    The methods beside the purifier are "bm3d" (package bm3d) and "nlm" (scikit-image; settings `NLM`); `perceptual`
    maps two sets of images, float32 (n, 3, h, w) in [0,1], to the distances (n,) of their pairs.
    """
    if not all(0 < sigma <= 1 for sigma in sigmas):
        raise ElixirError(f"noise levels {sigmas} must lie in (0, 1], in [0,1] pixel units")
    clean = _images(source, count, seed)
    classical = {method: _classical(method) for method in methods}
    results: list[Denoising] = []
    ids = [str(index) for index in range(len(clean))]
    with Progress(quiet).task("denoising", len(sigmas) * (1 + len(methods)) * len(clean)) as advance:
        for sigma in sigmas:
            noisy = clean + sigma * noise(seed, ids, ("denoising", sigma), clean.shape[1:]).numpy()
            start = time.perf_counter()
            done = purifier.denoise(torch.from_numpy(noisy), sigma).numpy()
            results.append(_measured("purifier", sigma, clean, done, time.perf_counter() - start, perceptual))
            advance(len(clean))
            for method, denoise in classical.items():
                start = time.perf_counter()
                done = np.empty_like(noisy)
                for index, image in enumerate(noisy):
                    done[index] = denoise(image.transpose(1, 2, 0), sigma).transpose(2, 0, 1)
                    advance(1)
                results.append(_measured(method, sigma, clean, done, time.perf_counter() - start, perceptual))
    return results


def _measured(
    method: str, sigma: float, clean: np.ndarray, done: np.ndarray, seconds: float, perceptual: Perceptual
) -> Denoising:
    pair = torch.from_numpy(done.clip(0, 1)), torch.from_numpy(clean)
    psnr = peak_signal_noise_ratio(*pair, data_range=1.0, dim=(1, 2, 3), reduction="none").clamp(max=HIGHEST_PSNR)
    with torch.inference_mode():
        batches = zip(*(images.split(AT_ONCE) for images in pair), strict=True)
        perceived = torch.cat([perceptual(*batch) for batch in batches])
    return Denoising(
        method,
        sigma,
        images=len(clean),
        psnr=round(float(psnr.mean()), 3),
        distance=round(float((pair[0] - pair[1]).flatten(1).norm(dim=1).mean()), 4),
        perceptual=round(float(perceived.mean()), 5),
        milliseconds=round(1000 * seconds / len(clean), 3),
    )


def _images(source: Source, count: int, seed: int) -> np.ndarray:
    """Float32 (n, 3, h, w) in [0,1]."""
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for row in generator(seed, "denoising").permutation(len(source.samples)).tolist():
        try:
            shape = decode(source.read(row)).rgb.shape
        except UnreadableSample:
            continue
        rows = by_shape.setdefault(shape, [])
        rows.append(row)
        if len(rows) == count:
            break
    if not by_shape:
        raise ElixirError(f"{source.location} holds no readable image")
    most = max(by_shape.values(), key=len)
    return np.stack([decode(source.read(row)).rgb for row in most]).transpose(0, 3, 1, 2).astype(np.float32) / 255


def _classical(method: str) -> Denoise:
    try:
        if method == "bm3d":
            from bm3d import bm3d_rgb  # pyright: ignore[reportMissingImports]

            return lambda image, sigma: np.asarray(bm3d_rgb(image, sigma))
        if method == "nlm":
            from skimage.restoration import denoise_nl_means

            return lambda image, sigma: denoise_nl_means(
                image, sigma=sigma, h=NLM_STRENGTH * sigma, **NLM, fast_mode=False, channel_axis=-1
            )
    except ImportError as error:
        raise ElixirError(f"{method} is not installed: pip install 'dataset-elixir[benchmark]'") from error
    raise ElixirError(f"there is no denoiser {method!r}; known: bm3d, nlm")
