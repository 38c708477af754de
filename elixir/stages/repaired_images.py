"""Images that stages repair: candidates are compared with the given one, and the chosen one is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import structural_similarity_index_measure

from elixir.data.image import Picture, encode
from elixir.data.io import replacing
from elixir.engine.run import Run

BYTES_AT_ONCE = 2**28


def keep_repaired(run: Run, index: int, picture: Picture, rgb: np.ndarray) -> None:
    """Keep the repaired image (uint8 (h, w, 3)) of a sample, as PNG with the picture's alpha and tags."""
    path = run.repaired_path(index)
    with replacing(path, path.with_suffix(".partial")) as partial:
        path.parent.mkdir(exist_ok=True)
        partial.write_bytes(encode(picture, rgb))


def by_size(run: Run, indices: np.ndarray, copies: int) -> Iterator[np.ndarray]:
    """Places in `indices` of images with the same height and width, as many as fit in memory with so many copies."""
    shapes = run.shapes[indices]
    for shape in np.unique(shapes, axis=0):
        places = np.flatnonzero((shapes == shape).all(1))
        size = max(1, BYTES_AT_ONCE // (copies * 3 * int(shape.prod())))
        yield from (places[start : start + size] for start in range(0, len(places), size))


def candidate_distance(
    raw: Tensor, candidate: Tensor, raw_features: np.ndarray, features: np.ndarray, ssim: str = "intended"
) -> np.ndarray:
    """d = (1 - (SSIM + 1) / 2) / 2 + (1 - (cos + 1) / 2) / 2, as in DataElixir.

    Args:
        raw: uint8 (n, 3, h, w).
        candidate: uint8 (n, 3, h, w).
        raw_features: (n, d) of the raw images.
        features: (n, d) of the candidates.
        ssim: "intended", the mean over the channels, or "released", what the authors' code computes.

    Returns:
        float32 (n,) in [0,1], 0 for the raw image itself.
    """
    similarity = SSIM[ssim](candidate, raw).numpy()
    return ((1 - (similarity + 1) / 2) / 2 + (1 - (cosine(raw_features, features) + 1) / 2) / 2).astype(np.float32)


def intended_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean over channels and pixels of SSIM with an 11x11 Gaussian window (Wang et al. 2004).

    Args:
        a: uint8 (n, c, h, w).
        b: uint8, same shape.

    Returns:
        float32 (n,) in [-1,1].
    """
    similarity = structural_similarity_index_measure(a.float() / 255, b.float() / 255, data_range=1.0, reduction="none")
    assert isinstance(similarity, Tensor)
    return similarity


def released_ssim(a: Tensor, b: Tensor) -> Tensor:
    """SSIM of the image taken as a volume, with a uniform 3x3x3 window over height, width and channels.

    The authors' code says `multichannel`, which current scikit-image ignores, and so compares volumes. Of three
    channels only windows around the middle one lie inside.

    Args:
        a: uint8 (n, 3, h, w), h and w at least 3.
        b: uint8, same shape.

    Returns:
        float32 (n,) in [-1,1].
    """

    def mean(volume: Tensor) -> Tensor:
        return F.avg_pool3d(volume[:, None], 3, stride=1)

    x, y = a.double() / 255, b.double() / 255
    mean_x, mean_y = mean(x), mean(y)
    unbiased = 27 / 26
    variances = unbiased * (mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2)
    covariance = unbiased * (mean(x * y) - mean_x * mean_y)
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (variances + c2)
    return similarity.flatten(1).mean(1).float()


SSIM: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"intended": intended_ssim, "released": released_ssim}


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine between the rows of two float arrays (n, d); 0 where one of them is zero."""
    return (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)
