"""What purification takes away from an image, and one tile of it: whether either carries the label elsewhere."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from elixir.data.columns import Columns
from elixir.detection.tiles import erase, paste, tile_sums
from elixir.engine.models import REFERENCE
from elixir.engine.run import Run
from elixir.engine.stage import MapStage
from elixir.randomness import Draw, generator, noise
from elixir.settings import Count, Range


@dataclass
class ProbeStage(MapStage):
    """Two one-step purifications of each raw image, and superimposition on images of other labels, the carriers.

    `logp_drop` is how far the reference model's log-probability of the given label falls at little noise. As in STRIP,
    what much noise takes away is added to the carriers; `residual_transfer` is the mean probability that the reference
    model then gives them this sample's label.

    A small bright patch survives noise. So the tiles on which the label depends most, by gradient times deviation from
    the image's mean colour, are also pasted into a carrier, and the best one is erased from the image; `tile_transfer`
    is the mean probability of the label on carriers with the tile, times the label's loss in the image without it.

    Args:
        sigma: little noise, in [0,1] pixel units; the cross-fitted models learn from these images.
        strong_sigma: much noise, likewise.
        carriers: images of other labels for each sample.
        tiles: of an image that are tried on a carrier.
    """

    name = "probe"
    requires = ("pixels", "reference_model", "reference_logp")
    provides = ("logp_drop", "residual_transfer", "tile", "tile_transfer", "purified")
    effort = 28
    sigma: Annotated[float, Range(above=0, most=1)] = 0.15
    strong_sigma: Annotated[float, Range(above=0, most=1)] = 0.4
    carriers: Count = 2
    tiles: Count = 2

    def open(self, run: Run) -> None:
        self._reference_logp = run["reference_logp"]

    def process(self, run: Run, indices: np.ndarray) -> Columns:
        x = run.pixels.read(indices).float() / 255
        labels, logp, carriers = run.labels[indices], self._reference_logp[indices], self._carriers(run, indices)
        purified, strongly = (_purified(run, indices, x, sigma) for sigma in (self.sigma, self.strong_sigma))
        run.purified.write(indices, purified.numpy())
        residual = x - strongly.float() / 255
        received = [_label_logp(run, (carrier + residual).clamp(0, 1), labels) for carrier in carriers]
        tile, tile_transfer = self._best_tile(run, x, np.exp(logp), carriers, labels)
        return {
            "logp_drop": logp - _label_logp(run, purified, labels),
            "residual_transfer": np.exp(received).mean(0),
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
        per_side, every = run.thresholds.tiles_per_side, np.arange(len(x))
        gradient = run.models.label_gradient(REFERENCE, x, labels)
        relevance = (gradient * (x - x.mean((2, 3), keepdim=True))).sum(1)
        sums = tile_sums(relevance, per_side)
        tried = sums.topk(min(self.tiles, sums.shape[1])).indices.numpy()
        first = np.exp([_label_logp(run, paste(carriers[0], x, tiles, per_side), labels) for tiles in tried.T])
        chosen = first.argmax(0)
        best = tried[every, chosen]
        others = [np.exp(_label_logp(run, paste(carrier, x, best, per_side), labels)) for carrier in carriers[1:]]
        sufficient = np.mean([first[chosen, every], *others], axis=0)
        necessary = confidence - np.exp(_label_logp(run, erase(x, best, per_side), labels))
        return best, (sufficient * necessary.clip(0)).astype(np.float32)


def _purified(run: Run, indices: np.ndarray, x: Tensor, sigma: float) -> Tensor:
    """The images x of some samples after one draw of the purifier, uint8 (n, 3, s, s)."""
    drawn = noise(run.seed, run.ids(indices), ("probe", sigma), tuple(x.shape[1:]))
    return (run.purify(x, sigma, drawn) * 255).round().to(torch.uint8)


def _label_logp(run: Run, images: Tensor, labels: np.ndarray) -> np.ndarray:
    """Log-probability that the reference model gives each sample's label, float32 (n,)."""
    return run.models.classify(REFERENCE, images)[0][np.arange(len(labels)), labels]
