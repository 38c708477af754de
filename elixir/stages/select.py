"""Makes purified candidates of every poisoned sample and chooses the one to keep (DataElixir, step 5, SELECT)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from elixir.data.decode import decode, resize
from elixir.errors import ElixirError
from elixir.purifiers.repaint import SIGMAS, repaint
from elixir.randomness import noise
from elixir.run.columns import Columns
from elixir.run.distance import candidate_distance
from elixir.run.evidence import local
from elixir.run.run import Run
from elixir.run.selection import keep_selected, same_size, select
from elixir.run.tiles import mask
from elixir.stages.base import MapStage


@dataclass
class SelectStage(MapStage):
    """Candidates are independent one-step purifications of the raw image at its own size.

    Of the raw image and the candidates that the benign model gives the new label, sorted by pixel and feature distance
    from the raw image, the one at `quantile` is taken: far enough that the trigger is gone, not the farthest.

    Args:
        sigmas: noise levels of the candidates, in [0,1] pixel units.
        draws: candidates at each level.
        quantile: where in the sorted list the chosen one stands, in [0,1].
    """

    name = "select"
    sigmas: tuple[float, ...] = (0.15, 0.26, 0.4)
    draws: int = 2
    quantile: float = 0.8

    def check(self) -> None:
        if not 0 <= self.quantile <= 1:
            raise ElixirError(f"setting select.quantile = {self.quantile} must be between 0 and 1")
        if self.draws < 1 or not self.sigmas or not all(0 < sigma <= 1 for sigma in self.sigmas):
            raise ElixirError("select needs at least one draw and noise levels in (0, 1]")

    def rows(self, run: Run) -> np.ndarray:
        verdicts = run.columns("relabel")
        if run.policy != "relabel" or not len(verdicts["row"]):
            return verdicts["row"][:0]
        return verdicts["row"][verdicts["verdict"] == "poisoned"]

    def open(self, run: Run) -> None:
        verdicts = run.columns("relabel")
        probe = run.columns("probe")
        self._tile = np.where(local(probe["transplant"], probe["tile_transplant"]), probe["tile"], -1)
        self._labels = dict(zip(verdicts["row"].tolist(), verdicts.get("label", verdicts["row"]).tolist(), strict=True))

    def process(self, run: Run, rows: np.ndarray) -> Columns:
        chosen_sigma = np.zeros(len(rows), np.float32)
        distance = np.zeros(len(rows), np.float32)
        for indices in same_size(run, rows, copies=4 * (1 + self.draws * len(self.sigmas))):
            pictures = [decode(run.source.read(int(row)), run.findings["max_pixels"]) for row in rows[indices]]
            raw = torch.from_numpy(np.stack([picture.rgb for picture in pictures])).permute(0, 3, 1, 2)
            labels = np.array([self._labels[int(row)] for row in rows[indices]])
            images, sigmas, distances = self._choose(run, rows[indices], raw, labels)
            for picture, row, image in zip(pictures, rows[indices], images, strict=True):
                keep_selected(run, int(row), picture, image)
            chosen_sigma[indices], distance[indices] = sigmas, distances
        return {"sigma": chosen_sigma, "distance": distance}

    def _choose(
        self, run: Run, rows: np.ndarray, raw: Tensor, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The chosen image (uint8 (n, h, w, 3)), its sigma and its distance from the raw image, for each row."""
        x = self._without_tile(run, rows, raw.float() / 255)
        small_raw = run.pixels.read(rows)
        levels = [(sigma, draw) for sigma in self.sigmas for draw in range(self.draws)]
        candidates, distances, fits = [], [], []
        with run.network():
            _, raw_features = run.classify("reference", small_raw)
        for sigma, draw in levels:
            z = noise(run.seed, run.ids(rows), ("select", sigma, draw), tuple(x.shape[1:]))
            with run.network(calls=len(rows) * run.purifier.calls_per_draw):
                image = (run.purifier.purify(x, sigma, z) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
            small = torch.from_numpy(np.stack([resize(one, small_raw.shape[-1]) for one in image])).permute(0, 3, 1, 2)
            with run.network():
                _, features = run.classify("reference", small)
                logp, _ = run.classify("benign", small)
            candidates.append(image)
            distances.append(candidate_distance(small_raw, small, raw_features, features))
            fits.append(logp.argmax(1) == labels)
        distance = np.stack(distances, 1)
        fit = np.stack(fits, 1)
        fit[~fit.any(1)] = True
        chosen = np.array([self._pick(distance[i], fit[i]) for i in range(len(rows))], np.int64)
        at = np.arange(len(rows))
        return np.stack(candidates, 1)[at, chosen], np.array([s for s, _ in levels])[chosen], distance[at, chosen]

    def _without_tile(self, run: Run, rows: np.ndarray, x: Tensor) -> Tensor:
        """The images, float32 (n, 3, h, w), with the tile repainted that the label hangs on, if it hangs on one."""
        tile = self._tile[run.positions(rows)]
        at = np.flatnonzero(tile >= 0)
        if not len(at):
            return x
        where = mask(tile[at], run.pixels.shape[-1], *x.shape[2:])
        ids = run.ids(rows[at])

        def draw(sigma: float) -> Tensor:
            return noise(run.seed, ids, ("repaint", sigma), tuple(x.shape[1:]))

        with run.network(calls=len(at) * len(SIGMAS) * run.purifier.calls_per_draw):
            x[at] = repaint(run.purifier, x[at], where, draw)
        return x

    def _pick(self, distance: np.ndarray, fit: np.ndarray) -> int:
        usable = np.flatnonzero(fit)
        return int(usable[select(distance[usable], self.quantile)])
