"""What noise of growing strength takes away when it is added and removed, and whether that carries the label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from elixir.data.columns import Columns
from elixir.detection.tiles import erase, grid, paste
from elixir.engine.models import REFERENCE
from elixir.engine.run import Run
from elixir.engine.stage import MapStage
from elixir.errors import ElixirError
from elixir.randomness import Draw, generator, noise
from elixir.settings import Count, Range


@dataclass
class ProbeStage(MapStage):
    """One independent one-step purification of the raw image at each of several noise levels.

    Different triggers die at different noise, and a chain of purifications moves benign samples more than independent
    draws do; so the levels are independent. At the first, `logp_drop` is how far the reference model's log-probability
    of the given label falls.

    At the high levels superimposition, as in STRIP, looks for a trigger: what was taken away is added to a few images
    of other labels, the carriers; `residual_transfer` is the mean probability that the reference model then gives them
    this sample's label. A small bright patch survives noise. So each tile of the image is also pasted into a carrier,
    and the best one is erased from the image; `tile_transfer` is the mean probability of the label on carriers with the
    tile, times the label's loss in the image without it.

    Args:
        sigmas: noise levels in [0,1] pixel units.
        transfer_from: smallest level whose residual carriers receive.
        carriers: images of other labels for each sample.
        keep: the level whose images are kept for the cross-fitted models to train on.
    """

    name = "probe"
    requires = ("pixels", "reference_model")
    provides = ("logp_drop", "residual_transfer", "tile", "tile_transfer", "purified")
    sigmas: Annotated[tuple[float, ...], Range(above=0, most=1)] = (0.075, 0.15, 0.26, 0.4)
    transfer_from: Annotated[float, Range(above=0, most=1)] = 0.26
    carriers: Count = 4
    keep: Annotated[float, Range(above=0, most=1)] = 0.15

    def check(self) -> None:
        if list(self.sigmas) != sorted(self.sigmas):
            raise ElixirError(f"probe.sigmas = {list(self.sigmas)} must ascend")
        if self.keep not in self.sigmas:
            raise ElixirError(f"probe.keep = {self.keep} must be one of probe.sigmas = {list(self.sigmas)}")
        if self.transfer_from > max(self.sigmas):
            raise ElixirError(f"probe.transfer_from = {self.transfer_from} is above all of probe.sigmas")

    def process(self, run: Run, indices: np.ndarray) -> Columns:
        raw = run.pixels.read(indices)
        x = raw.float() / 255
        labels = run.labels[indices]
        given = np.arange(len(indices)), labels
        carriers = self._carriers(run, indices)
        raw_logp = run.models.classify(REFERENCE, raw)[0][given]
        logp_drop = np.zeros(len(indices), np.float32)
        transfers = []
        for sigma in self.sigmas:
            z = noise(run.seed, run.ids(indices), ("probe", sigma, 0), tuple(x.shape[1:]))
            purified = (run.purify(x, sigma, z) * 255).round().to(torch.uint8)
            if sigma == self.sigmas[0]:
                logp_drop = raw_logp - run.models.classify(REFERENCE, purified)[0][given]
            if sigma == self.keep:
                run.purified.write(indices, purified.numpy())
            if sigma >= self.transfer_from:
                residual = x - purified.float() / 255
                received = [(carrier + residual).clamp(0, 1) for carrier in carriers]
                transfers.append(_label_probability(run, received, labels))
        tile, tile_transfer = self._best_tile(run, x, np.exp(raw_logp), carriers, labels)
        return {
            "logp_drop": logp_drop.astype(np.float32),
            "residual_transfer": np.stack(transfers, 1),
            "tile": tile.astype(np.int16),
            "tile_transfer": tile_transfer,
        }

    def _carriers(self, run: Run, indices: np.ndarray) -> Tensor:
        """Images of other labels for each sample, float32 (carriers, n, 3, s, s) in [0,1]; any if there are none."""
        chosen = np.empty((self.carriers, len(indices)), np.int64)
        for place, (index, id) in enumerate(zip(indices, run.ids(indices), strict=True)):
            drawn = generator(run.seed, id, Draw.CARRIERS).integers(0, len(run), 16 * self.carriers)
            others = drawn[run.labels[drawn] != run.labels[index]]
            if not len(others):  # the label is nearly everywhere
                rest = np.flatnonzero(run.labels != run.labels[index])
                few = generator(run.seed, id, Draw.FEW_CARRIERS).permutation(rest)[: self.carriers]
                others = few if len(rest) else drawn
            chosen[:, place] = np.resize(others, self.carriers)
        return torch.stack([run.pixels.read(one_each) for one_each in chosen]).float() / 255

    def _best_tile(
        self, run: Run, x: Tensor, confidence: np.ndarray, carriers: Tensor, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The tile that carries each sample's label best, (n,), and its evidence in [0,1], float32 (n,)."""
        per_side = run.thresholds.tiles_per_side
        carried = [
            _label_probability(run, [paste(carriers[0], x, np.full(len(x), tile), per_side)], labels)
            for tile in range(len(grid(x.shape[-1], per_side)))
        ]
        best = np.argmax(carried, 0)
        sufficient = _label_probability(run, [paste(carrier, x, best, per_side) for carrier in carriers], labels)
        necessary = confidence - _label_probability(run, [erase(x, best, per_side)], labels)
        return best, (sufficient * necessary.clip(0)).astype(np.float32)


def _label_probability(run: Run, variants: list[Tensor], labels: np.ndarray) -> np.ndarray:
    """Mean probability that the reference model gives each sample's label over variants, float32 (n,)."""
    total = np.zeros(len(labels), np.float32)
    for images in variants:
        logp, _ = run.models.classify(REFERENCE, images)
        total += np.exp(logp[np.arange(len(labels)), labels])
    return total / len(variants)
