"""How visible a trigger is, and how much of it is left after a sanitization."""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pyarrow as pa
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from elixir.data.image import decode
from elixir.data.source import Source

MOST = 500  # images over which the visibility of a trigger is averaged
HIGHEST_PSNR = 120.0  # in dB, of images that are the same
SMALLEST = 11  # side in pixels below which the structural similarity is not defined


def trigger_quality(source: Source, poisoned: Source, truth: pa.Table) -> dict[str, float | int | None]:
    """Poisoned images against what they were, averaged over the first `MOST` that the trigger has changed at all.

    Returns `images`, `psnr` in dB, `ssim` (over images of 11 pixels or more, None without any) and `peak` in levels of
    255; nothing without poisoned images.
    """
    changed = (pair for pair in _pairs(source, poisoned, _renamed(truth, "poisoned")) if (pair[0] != pair[1]).any())
    pairs = list(islice(changed, MOST))
    if not pairs:
        return {}
    similar = [_ssim(*pair) for pair in pairs if min(pair[0].shape[:2]) >= SMALLEST]
    return {
        "images": len(pairs),
        "psnr": float(np.mean([_psnr(*pair) for pair in pairs])),
        "ssim": float(np.mean(similar)) if similar else None,
        "peak": int(max(np.abs(before.astype(int) - after).max() for before, after in pairs)),
    }


def repair_quality(
    source: Source, poisoned: Source, clean: Source, manifest: pa.Table, truth: pa.Table
) -> dict[str, float | int | None]:
    """Repaired images against what they were before they were poisoned: `source`, then `poisoned`, then `clean`.

    Returns `repaired`: poisoned images that are in the output with new pixels; `trigger_residual`: the mean of
    ||repaired - original|| / ||poisoned - original|| over those that the trigger has changed at all, None without any,
    and `trigger_residual_median`; `collateral`: clean images with new pixels; `collateral_psnr` of these, in dB, None
    without any. `manifest` is `elixir.result.Result.table`.
    """
    rows = manifest.select(["id", "action", "output"]).to_pylist()
    output = {row["id"]: row["output"] for row in rows if row["action"] in ("relabelled", "purified")}
    attacked = [(id, name) for id, name in _renamed(truth, "poisoned") if name in output]
    untouched = [(id, output[name]) for id, name in _renamed(truth, "clean") if name in output]
    residuals: list[float] = []
    repairs = _images(clean, [output[name] for _, name in attacked])
    for (original, poison), repaired in zip(_pairs(source, poisoned, attacked), repairs, strict=True):
        trigger = np.linalg.norm(poison - original)
        if trigger:  # a white patch on white is none
            residuals.append(float(np.linalg.norm(repaired - original) / trigger))
    collateral = [_psnr(*pair) for pair in _pairs(source, clean, untouched)]
    return {
        "repaired": len(attacked),
        "trigger_residual": float(np.mean(residuals)) if residuals else None,
        "trigger_residual_median": float(np.median(residuals)) if residuals else None,
        "collateral": len(collateral),
        "collateral_psnr": float(np.mean(collateral)) if collateral else None,
    }


def _renamed(truth: pa.Table, what: str) -> list[tuple[str, str]]:
    """The ids before and after the attack of all samples of that kind that are in the poisoned dataset."""
    rows = truth.select(["id", "output", "truth"]).to_pylist()
    return [(row["id"], row["output"]) for row in rows if row["truth"] == what and row["output"]]


def _pairs(first: Source, second: Source, ids: list[tuple[str, str]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    return zip(_images(first, [a for a, _ in ids]), _images(second, [b for _, b in ids]), strict=True)


def _images(source: Source, ids: list[str]) -> Iterator[np.ndarray]:
    """Float64 (h, w, 3) in 0..255."""
    rows = {sample.id: index for index, sample in enumerate(source.samples)}
    for id in ids:
        yield decode(source.read(rows[id])).rgb.astype(np.float64)


def _psnr(before: np.ndarray, after: np.ndarray) -> float:
    found = peak_signal_noise_ratio(torch.from_numpy(after), torch.from_numpy(before), data_range=255.0)
    return min(float(found), HIGHEST_PSNR)


def _ssim(before: np.ndarray, after: np.ndarray) -> float:
    x, y = (torch.from_numpy(image).permute(2, 0, 1)[None] for image in (before, after))
    return float(structural_similarity_index_measure(x, y, data_range=255.0))  # type: ignore[arg-type]
