"""New images for samples, chosen from their candidates, which are made again (DataElixir, SELECT)."""

from __future__ import annotations

import numpy as np
import torch

from elixir.data.image import as_encoded, resize
from elixir.engine.models import REFERENCE
from elixir.engine.run import Run
from elixir.stages.paper.candidates import CandidatesStage
from elixir.stages.repaired_images import by_size, candidate_distance, keep_repaired


def replace_images(run: Run, indices: np.ndarray, labels: np.ndarray) -> None:
    """Choose a candidate of each sample among those that the reference model gives its new label, or else among all.

    Candidates have the sample's own size and are compared at the working size. The chosen one is kept for the result
    (`Run.repaired_path`) and, at the working size, for training (`Run.purified`).

    Args:
        run: whose stage candidates has finished.
        indices: int64 (n,).
        labels: new labels, (n,).
    """
    candidates = CandidatesStage(**run.facts["candidates"])
    for places in by_size(run, indices, 1 + candidates.rounds * candidates.keep):
        _replace(run, candidates, indices[places], labels[places])


def _replace(run: Run, candidates: CandidatesStage, indices: np.ndarray, labels: np.ndarray) -> None:
    pictures = [run.picture(index) for index in indices.tolist()]
    raw = torch.from_numpy(np.stack([picture.rgb for picture in pictures])).permute(0, 3, 1, 2)
    small_raw = run.pixels.read(indices)
    _, raw_features = run.models.classify(REFERENCE, small_raw)
    images, smalls, predicted, features = [], [], [], []
    for candidate in candidates.make(run, indices, raw):
        changed = candidate.permute(0, 2, 3, 1).numpy()
        image = np.stack([as_encoded(*pair) for pair in zip(pictures, changed, strict=True)])
        small = np.stack([resize(one, small_raw.shape[-1]) for one in image])
        small = torch.from_numpy(small).permute(0, 3, 1, 2).contiguous()
        logp, feature = run.models.classify(REFERENCE, small)
        images.append(image)
        smalls.append(small)
        predicted.append(logp.argmax(1))
        features.append(feature)
    for place, (index, picture) in enumerate(zip(indices.tolist(), pictures, strict=True)):
        fits = np.array([label[place] for label in predicted]) == labels[place]
        usable = np.flatnonzero(fits) if fits.any() else np.arange(len(fits))
        distance = candidate_distance(
            small_raw[place].expand(len(usable), -1, -1, -1),
            torch.stack([smalls[j][place] for j in usable]),
            raw_features[place][None],
            np.stack([features[j][place] for j in usable]),
            candidates.ssim,
        )
        best = usable[select(distance, candidates.quantile)]
        keep_repaired(run, index, picture, images[best][place])
        run.purified.write(np.array([index]), smalls[best][place][None].numpy())


def select(distance: np.ndarray, quantile: float) -> int:
    """Index of the candidate at `quantile` of the list that is sorted by distance and begins with the raw image.

    That is far enough that a trigger is gone, but not the farthest (DataElixir, SELECT).

    Args:
        distance: of each candidate from the raw image, (n,), n > 0.
        quantile: in [0,1].
    """
    place = int(quantile * (len(distance) + 1))
    ranked = np.argsort(distance, kind="stable")
    return int(ranked[min(max(place - 1, 0), len(ranked) - 1)])
