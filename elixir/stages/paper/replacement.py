"""New images for samples, chosen from their candidates, which are made again (DataElixir, SELECT)."""

from __future__ import annotations

import numpy as np
import torch

from elixir.data.image import as_encoded, resize
from elixir.engine.run import Run
from elixir.stages.distance import candidate_distance
from elixir.stages.paper.candidates import CandidatesStage
from elixir.stages.pictures import keep_selected, same_size


def replace_images(run: Run, rows: np.ndarray, labels: np.ndarray) -> None:
    """Choose a candidate of each sample among those that the reference model gives its new label, or else among all.

    Candidates have the sample's own size and are compared at the working size. The chosen one is kept for the emit
    stage (`Run.selected_path`) and, at the working size, for training (`Run.purified`).

    Args:
        run: whose candidates stage has finished.
        rows: int64 (n,).
        labels: new labels, (n,).
    """
    candidates = CandidatesStage(**run.findings["candidates"])
    for block in same_size(run, rows, 1 + candidates.rounds * candidates.keep):
        _replace(run, candidates, rows[block], labels[block])


def _replace(run: Run, candidates: CandidatesStage, rows: np.ndarray, labels: np.ndarray) -> None:
    pictures = [run.picture(int(row)) for row in rows]
    raw = torch.from_numpy(np.stack([picture.rgb for picture in pictures])).permute(0, 3, 1, 2)
    small_raw = run.pixels.read(rows)
    with run.network():
        _, raw_features = run.classify("reference", small_raw)
    images, smalls, predicted, features = [], [], [], []
    for candidate in candidates.make(run, rows, raw):
        changed = candidate.permute(0, 2, 3, 1).numpy()
        image = np.stack([as_encoded(*pair) for pair in zip(pictures, changed, strict=True)])
        small = np.stack([resize(one, small_raw.shape[-1]) for one in image])
        small = torch.from_numpy(small).permute(0, 3, 1, 2).contiguous()
        with run.network():
            logp, feature = run.classify("reference", small)
        images.append(image)
        smalls.append(small)
        predicted.append(logp.argmax(1))
        features.append(feature)
    for index, (row, picture) in enumerate(zip(rows, pictures, strict=True)):
        fits = np.array([label[index] for label in predicted]) == labels[index]
        usable = np.flatnonzero(fits) if fits.any() else np.arange(len(fits))
        distance = candidate_distance(
            small_raw[index].expand(len(usable), -1, -1, -1),
            torch.stack([smalls[j][index] for j in usable]),
            raw_features[index][None],
            np.stack([features[j][index] for j in usable]),
            candidates.ssim,
        )
        best = select(distance, candidates.quantile)
        keep_selected(run, int(row), picture, images[usable[best]][index])
        run.purified.write(row[None], smalls[usable[best]][index][None].numpy())


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
