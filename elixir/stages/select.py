"""Makes a picture without trigger of every poisoned sample, as near to the given one as it can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from elixir.data.columns import Columns
from elixir.data.image import Picture, as_encoded, decode, resize
from elixir.detection.evidence import local
from elixir.detection.group import resembling
from elixir.detection.tiles import mask
from elixir.engine.run import Run
from elixir.engine.stage import MapStage
from elixir.errors import ElixirError
from elixir.purifiers.repaint import SIGMAS, repaint
from elixir.randomness import noise
from elixir.settings import Range
from elixir.stages.distance import candidate_distance
from elixir.stages.pictures import keep_selected, same_size


@dataclass
class SelectStage(MapStage):
    """Takes away the estimated trigger, purifies at growing noise, and keeps the nearest picture that is free of it.

    Where the probe stage has found that the label hangs on one tile of most of its suspects, that tile is repainted, as
    a small bright patch survives noise; else what the trigger stage has estimated is subtracted. A candidate is free of
    the trigger if the reference model, which knows it, no longer sees the given label, and the benign model sees the
    new one. Of those the nearest by pixel and feature distance is kept (DataElixir's SELECT takes a far one, at the 0.8
    quantile, as it cannot tell); if there is none, the one in which the reference model sees the given label least.

    A sample that keeps its label (clean-label attack) is free if in the features of the reference model it lies with
    the benign samples of its label and not with the suspects. If no candidate does, nothing is kept.

    At sigma 0 only the trigger is taken away. That counts as free neither for a sample that keeps its label, as what is
    left of the trigger would teach it, nor where the reference model has not seen the given label before either.

    Args:
        sigmas: noise levels of the candidates, in [0,1] pixel units; 0 for what is not purified.
    """

    name = "select"
    sigmas: Annotated[tuple[float, ...], Range(least=0, most=1)] = (0.0, 0.075, 0.15, 0.26)

    def needs(self) -> tuple[str, ...]:
        return ("reference", "probe", "target", "refine", "benign", "relabel")

    def check(self) -> None:
        if not any(self.sigmas):
            raise ElixirError(f"select.sigmas = {list(self.sigmas)} needs a noise level above 0")

    def rows(self, run: Run) -> np.ndarray:
        verdicts = run.columns("relabel")
        if run.policy != "relabel" or not len(verdicts["row"]):
            return verdicts["row"][:0]
        return verdicts["row"][verdicts["verdict"] == "poisoned"]

    def open(self, run: Run) -> None:
        verdicts = run.columns("relabel")
        rows = self.rows(run)
        features, suspect = run.column("reference", "features"), run.column("refine", "suspect")
        given = run.labels[run.readable_rows()]
        self._resembling: dict[int, Callable[[np.ndarray], np.ndarray]] = {}
        for target in run.findings["targets"]:
            members = given == target["label"]
            if target.get("clean_label") and not suspect[members].all():
                self._resembling[target["label"]] = resembling(features[members], suspect[members])
        probe = run.columns("probe")
        at = run.positions(rows)
        by_tile = local(probe["transplant"], probe["tile_transplant"])[at]
        tiles = tiles_to_repaint(run.labels[rows], by_tile, probe["tile"][at])
        self._tile = dict(zip(rows.tolist(), tiles.tolist(), strict=True))
        self._labels = dict(zip(verdicts["row"].tolist(), verdicts.get("label", verdicts["row"]).tolist(), strict=True))

    def process(self, run: Run, rows: np.ndarray) -> Columns:
        chosen_sigma = np.zeros(len(rows), np.float32)
        data = {row: run.read(row) for row in rows.tolist()}  # tables are read fastest in ascending order
        for indices in same_size(run, rows, copies=4 * (1 + len(self.sigmas))):
            pictures = [decode(data[row], run.findings["max_pixels"]) for row in rows[indices].tolist()]
            labels = np.array([self._labels[int(row)] for row in rows[indices]])
            images, chosen_sigma[indices], fit = self._choose(run, rows[indices], pictures, labels)
            for index in np.flatnonzero(fit):
                keep_selected(run, int(rows[indices[index]]), pictures[index], images[index])
        return {"sigma": chosen_sigma}

    def _choose(
        self, run: Run, rows: np.ndarray, pictures: list[Picture], labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The chosen image (uint8 (n, h, w, 3)), its sigma, and whether it will do."""
        raw = torch.from_numpy(np.stack([picture.rgb for picture in pictures])).permute(0, 3, 1, 2)
        x = self._repaired(run, rows, raw.float() / 255)
        small_raw = run.pixels.read(rows)
        own = np.arange(len(rows)), run.labels[rows]
        keeps = labels == own[1]
        candidates, distances, free, seen = [], [], [], []
        with run.network():
            raw_logp, raw_features = run.classify("reference", small_raw)
        could_tell = ~keeps & (raw_logp.argmax(1) == own[1])
        for sigma in self.sigmas:
            purified = self._purified(run, rows, x, sigma)
            image = np.stack([as_encoded(*pair) for pair in zip(pictures, purified, strict=True)])
            small = torch.from_numpy(np.stack([resize(one, small_raw.shape[-1]) for one in image])).permute(0, 3, 1, 2)
            with run.network():
                reference, features = run.classify("reference", small)
                benign, _ = run.classify("benign", small)
            candidates.append(image)
            distances.append(candidate_distance(small_raw, small, raw_features, features))
            seen.append(reference[own] if sigma else np.full(len(rows), np.inf, np.float32))
            gone = np.where(keeps, ~self._like_suspects(own[1], features), reference.argmax(1) != own[1])
            free.append((could_tell | (sigma > 0)) & gone & (benign.argmax(1) == labels))
        chosen = nearest_free(np.stack(distances, 1), np.stack(free, 1), np.stack(seen, 1))
        at = np.arange(len(rows))
        fit = ~keeps | np.any(free, 0)
        return np.stack(candidates, 1)[at, chosen], np.array(self.sigmas)[chosen], fit

    def _purified(self, run: Run, rows: np.ndarray, x: Tensor, sigma: float) -> np.ndarray:
        """The images (n, 3, h, w) after one draw of the purifier, uint8 (n, h, w, 3); as they are at sigma 0."""
        if sigma:
            z = noise(run.seed, run.ids(rows), ("select", sigma), tuple(x.shape[1:]))
            with run.network(calls=len(rows) * run.purifier.nfe):
                x = run.purifier.purify(x, sigma, z)
        return (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()

    def _like_suspects(self, given: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Whether images with the features (n, d) lie with the suspects of their given label, bool (n,)."""
        like = np.ones(len(given), bool)
        for label, probability in self._resembling.items():
            here = given == label
            if here.any():
                like[here] = probability(features[here]) > 0.5
        return like

    def _repaired(self, run: Run, rows: np.ndarray, x: Tensor) -> Tensor:
        """The images, float32 (n, 3, h, w) in [0,1], less the trigger as far as it is known."""
        tile = np.array([self._tile[row] for row in rows.tolist()])
        spread, at = np.flatnonzero(tile < 0), np.flatnonzero(tile >= 0)
        for index in spread.tolist():
            trigger = run.triggers.get(int(run.labels[rows[index]]))
            if trigger is not None:
                x[index] -= F.interpolate(trigger[None], x.shape[2:], mode="bilinear", antialias=True)[0]
        x = x.clamp(0, 1)
        if len(at):
            ids = run.ids(rows[at])

            def draw(sigma: float) -> Tensor:
                return noise(run.seed, ids, ("repaint", sigma), tuple(x.shape[1:]))

            with run.network(calls=len(at) * len(SIGMAS) * run.purifier.nfe):
                x[at] = repaint(run.purifier, x[at], mask(tile[at], run.pixels.shape[-1], *x.shape[2:]), draw)
        return x


def tiles_to_repaint(labels: np.ndarray, by_tile: np.ndarray, tiles: np.ndarray) -> np.ndarray:
    """The tile of each poisoned sample that is to be repainted, -1 for none, int64 (n,).

    Decided for all samples of a label together: if for most of them the label hangs on a tile, each has its own
    repainted, or the most common one where its own is not known.

    Args:
        labels: given labels, (n,).
        by_tile: whether the label hangs on the tile, bool (n,).
        tiles: the tile that carries the label best, (n,).
    """
    chosen = np.full(len(labels), -1, np.int64)
    for label in np.unique(labels):
        here = labels == label
        known = tiles[here & by_tile]
        if 2 * len(known) > here.sum():
            chosen[here] = np.where(by_tile[here], tiles[here], np.bincount(known).argmax())
    return chosen


def nearest_free(distance: np.ndarray, free: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Index of the candidate to keep for each sample, int64 (n,).

    Args:
        distance: from the raw image, (n, candidates).
        free: whether the trigger is gone, bool, same shape.
        seen: log-probability of the given label by the reference model, same shape.
    """
    return np.where(free.any(1), np.where(free, distance, np.inf).argmin(1), seen.argmin(1))
