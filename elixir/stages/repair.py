"""Makes an image without trigger of every poisoned sample, as near to the given one as it can be."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.functional.image import structural_similarity_index_measure

from elixir.data.columns import Columns
from elixir.data.image import Picture, as_encoded, decode, encode, resize
from elixir.data.io import replacing
from elixir.data.pixels import in_parts
from elixir.detection.grouping import SomeRows, fit_lda
from elixir.detection.scores import is_patch
from elixir.detection.tiles import mask
from elixir.engine.models import CLEAN, REFERENCE
from elixir.engine.run import Run
from elixir.engine.stage import MapStage
from elixir.errors import ElixirError
from elixir.purifiers.samplers import repaint
from elixir.randomness import Draw, noise
from elixir.settings import Range
from elixir.stages.estimate_trigger import clean_label_targets

BYTES_AT_ONCE = 2**26
SSIM_BATCH = 32  # a convolution of few channels takes much memory on a CPU, and is slower in large batches
Sigmas = Annotated[tuple[float, ...], Range(least=0, most=1)]


@dataclass
class RepairStage(MapStage):
    """Takes away the estimated trigger, purifies at growing noise, and keeps the nearest image that is free of it.

    If the label depends on one tile in most poisoned samples of a label, that tile is repainted, as a small bright
    patch survives noise; else the estimated trigger is subtracted. A candidate is free of the trigger if the reference
    model, which knows it, no longer sees the given label, and the clean model sees the new one. Of those the nearest by
    pixel and feature distance is kept (DataElixir's SELECT takes a far one, at the 0.8 quantile, as it cannot tell); if
    there is none, the one in which the reference model sees the given label least.

    A sample that keeps its label (clean-label attack) is free if in the features of the reference model it lies with
    the benign samples of its label and not with the flagged ones. If no candidate does, nothing is kept.

    At sigma 0 only the trigger is taken away. That counts as free neither for a sample that keeps its label, as what is
    left of the trigger would teach it, nor where the reference model has not seen the given label before either.

    Args:
        sigmas: noise levels of the candidates, in [0,1] pixel units; 0 for what is not purified.
        repaint_sigmas: falling noise levels at which a tile is repainted.
    """

    name = "repair"
    requires = (
        *("pixels", "max_pixels", "reference_model", "clean_model", "features", "flagged", "new_label", "action"),
        *("residual_transfer", "tile_transfer", "tile", "triggers"),
    )
    provides = ("repaired", "repair_sigma")
    sigmas: Sigmas = (0.0, 0.075, 0.15, 0.26)
    repaint_sigmas: Annotated[tuple[float, ...], Range(above=0, most=1)] = (0.6, 0.45, 0.3, 0.2, 0.1)

    def check(self) -> None:
        if not any(self.sigmas):
            raise ElixirError(f"repair.sigmas = {list(self.sigmas)} needs a noise level above 0")

    def indices(self, run: Run) -> np.ndarray:
        return np.flatnonzero(np.isin(run["action"], ("relabelled", "purified")))

    def open(self, run: Run) -> None:
        is_flagged, features = run["flagged"], run["features"]
        self._flagged_likeness: dict[int, Callable[[np.ndarray], np.ndarray]] = {}
        for label in clean_label_targets(run):
            members = np.flatnonzero(run.labels == label)
            if not is_flagged[members].all():
                own = SomeRows(features, members)
                self._flagged_likeness[label] = fit_lda(own, is_flagged[members], run.thresholds)
        indices = self.indices(run)
        patch = is_patch(run["residual_transfer"], run["tile_transfer"])[indices]
        majority = run.thresholds.patch_majority
        self._tile = np.full(len(run), -1, np.int64)
        self._tile[indices] = tiles_to_repaint(run.labels[indices], patch, run["tile"][indices], majority)
        self._new_label = run["new_label"]

    def process(self, run: Run, indices: np.ndarray) -> Columns:
        sigma, repaired = np.zeros(len(indices), np.float32), np.zeros(len(indices), bool)
        data = [run.read(index) for index in indices.tolist()]  # tables are read fastest in ascending order
        for places in by_size(run, indices, copies=4 * (1 + len(self.sigmas))):
            pictures = [decode(data[place], run.facts["max_pixels"]) for place in places.tolist()]
            images, sigma[places], repaired[places] = self._choose(run, indices[places], pictures)
            for place, picture, image in zip(places, pictures, images, strict=True):
                if repaired[place]:
                    keep_repaired(run, int(indices[place]), picture, image)
        return {"repaired": repaired, "repair_sigma": sigma}

    def _choose(
        self, run: Run, indices: np.ndarray, pictures: list[Picture]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The chosen image (uint8 (n, h, w, 3)), its sigma, and whether it will do."""
        raw = torch.from_numpy(np.stack([picture.rgb for picture in pictures])).permute(0, 3, 1, 2)
        x = self._without_trigger(run, indices, raw.float() / 255)
        small_raw = run.pixels.read(indices)
        every, given, wanted = np.arange(len(indices)), run.labels[indices], self._new_label[indices]
        keeps_label = wanted == given
        raw_logp, raw_features = run.models.classify(REFERENCE, small_raw)
        could_tell = ~keeps_label & (raw_logp.argmax(1) == given)
        candidates, distances, free, seen = [], [], [], []
        for sigma in self.sigmas:
            purified = self._purified(run, indices, x, sigma)
            image = np.stack([as_encoded(*pair) for pair in zip(pictures, purified, strict=True)])
            small = torch.from_numpy(np.stack([resize(one, small_raw.shape[-1]) for one in image])).permute(0, 3, 1, 2)
            reference, features = run.models.classify(REFERENCE, small)
            clean, _ = run.models.classify(CLEAN, small)
            candidates.append(image)
            distances.append(candidate_distance(small_raw, small, raw_features, features))
            seen.append(reference[every, given] if sigma else np.full(len(indices), np.inf, np.float32))
            gone = np.where(keeps_label, ~self._like_flagged(run, given, features), reference.argmax(1) != given)
            free.append((could_tell | (sigma > 0)) & gone & (clean.argmax(1) == wanted))
        chosen = nearest_free(np.stack(distances, 1), np.stack(free, 1), np.stack(seen, 1))
        fit = ~keeps_label | np.any(free, 0)
        return np.stack(candidates, 1)[every, chosen], np.array(self.sigmas)[chosen], fit

    def _purified(self, run: Run, indices: np.ndarray, x: Tensor, sigma: float) -> np.ndarray:
        """The images (n, 3, h, w) after one draw of the purifier, uint8 (n, h, w, 3); as they are at sigma 0."""
        if sigma:
            x = run.purify(x, sigma, noise(run.seed, run.ids(indices), (str(Draw.REPAIR), sigma), tuple(x.shape[1:])))
        return (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()

    def _like_flagged(self, run: Run, given: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Whether images with the features (n, d) lie with the flagged samples of their given label, bool (n,)."""
        like = np.ones(len(given), bool)
        for label, posterior in self._flagged_likeness.items():
            here = given == label
            if here.any():
                like[here] = posterior(features[here]) > run.thresholds.min_posterior
        return like

    def _without_trigger(self, run: Run, indices: np.ndarray, x: Tensor) -> Tensor:
        """The images, float32 (n, 3, h, w) in [0,1], minus the trigger as far as it is known."""
        tile = self._tile[indices]
        for place in np.flatnonzero(tile < 0).tolist():
            trigger = run.triggers.get(int(run.labels[indices[place]]))
            if trigger is not None:
                x[place] -= F.interpolate(trigger[None], x.shape[2:], mode="bilinear", antialias=True)[0]
        x = x.clamp(0, 1)
        patched = np.flatnonzero(tile >= 0)
        if len(patched):
            ids, shape = run.ids(indices[patched]), tuple(x.shape[1:])
            hole = mask(tile[patched], run.pixels.shape[-1], run.thresholds.tiles_per_side, *x.shape[2:])

            def draw(sigma: float) -> Tensor:
                return noise(run.seed, ids, ("repaint", sigma), shape)

            with run.purifying(x[patched], len(self.repaint_sigmas)):
                x[patched] = repaint(run.purifier, x[patched], hole, draw, self.repaint_sigmas)
        return x


def tiles_to_repaint(labels: np.ndarray, patch: np.ndarray, tiles: np.ndarray, majority: float) -> np.ndarray:
    """The tile of each poisoned sample that is to be repainted, -1 for none, int64 (n,).

    Decided for all samples of a label together: if the label depends on a tile in more than a `majority` of them, each
    has its own repainted, or the most common one where its own is not known.

    Args:
        patch: whether the given label depends on the tile, bool (n,).
        tiles: the tile that carries the label best, (n,).
    """
    chosen = np.full(len(labels), -1, np.int64)
    for label in np.unique(labels):
        here = labels == label
        known = tiles[here & patch]
        if len(known) > majority * here.sum():
            chosen[here] = np.where(patch[here], tiles[here], np.bincount(known).argmax())
    return chosen


def nearest_free(distance: np.ndarray, free: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Index of the candidate to keep for each sample, int64 (n,).

    Args:
        distance: from the raw image, (n, candidates).
        free: whether the trigger is gone, same shape.
        seen: log-probability of the given label by the reference model, same shape.
    """
    return np.where(free.any(1), np.where(free, distance, np.inf).argmin(1), seen.argmin(1))


def keep_repaired(run: Run, index: int, picture: Picture, rgb: np.ndarray) -> None:
    """Keep the repaired image (uint8 (h, w, 3)) of a sample, as PNG with the picture's alpha and tags."""
    path = run.repaired_path(index)
    with replacing(path, path.with_suffix(".partial")) as partial:
        path.parent.mkdir(exist_ok=True)
        partial.write_bytes(encode(picture, rgb))


def by_size(run: Run, indices: np.ndarray, copies: int) -> Iterator[np.ndarray]:
    """Places in `indices` of images with the same height and width, as many as fit in memory with so many copies."""
    shapes = run.shapes(indices)
    for shape in np.unique(shapes, axis=0):
        places = np.flatnonzero((shapes == shape).all(1))
        size = max(1, BYTES_AT_ONCE // (copies * 3 * int(shape.prod())))
        yield from in_parts(places, size)


def candidate_distance(
    raw: Tensor, candidate: Tensor, raw_features: np.ndarray, features: np.ndarray, ssim: str = "intended"
) -> np.ndarray:
    """d = (1 - (SSIM + 1) / 2) / 2 + (1 - (cos + 1) / 2) / 2, as in DataElixir, float32 (n,) in [0,1].

    Args:
        raw: uint8 (n, 3, h, w), like `candidate`; features are (n, d).
        ssim: "intended", the mean over the channels, or "released", what the authors' code computes.
    """
    similarity = SSIM[ssim](candidate, raw).numpy()
    norms = np.linalg.norm(raw_features, axis=1) * np.linalg.norm(features, axis=1)
    cosine = (raw_features * features).sum(1) / np.maximum(norms, 1e-12)
    return ((1 - (similarity + 1) / 2) / 2 + (1 - (cosine + 1) / 2) / 2).astype(np.float32)


def intended_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean over channels and pixels of SSIM with an 11x11 Gaussian window (Wang et al. 2004); (n,) in [-1,1]."""

    def similarity(x: Tensor, y: Tensor) -> Tensor:
        found = structural_similarity_index_measure(x.float() / 255, y.float() / 255, data_range=1.0, reduction="none")
        assert isinstance(found, Tensor)
        return found

    return torch.cat([similarity(x, y) for x, y in zip(a.split(SSIM_BATCH), b.split(SSIM_BATCH), strict=True)])


def released_ssim(a: Tensor, b: Tensor) -> Tensor:
    """SSIM of images (n, 3, h, w), h and w at least 3, taken as volumes, with a uniform 3x3x3 window; float32 (n,).

    The authors' code says `multichannel`, which current scikit-image ignores, and so compares volumes. Of three
    channels only windows around the middle one lie inside.
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
