"""What noise of growing strength takes away when it is added and removed, and whether that carries the label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from elixir.data.columns import Columns
from elixir.detection.tiles import erased, grid, pasted
from elixir.engine.run import Run
from elixir.engine.stage import MapStage
from elixir.errors import ElixirError
from elixir.randomness import generator, noise
from elixir.settings import Count, Range


@dataclass
class ProbeStage(MapStage):
    """One independent one-step purification of the raw image at each rung of a ladder of noise levels.

    Different triggers die at different noise, and a chain of purifications moves benign samples more than independent
    draws do; hence a ladder, and no chain. At the first level it notes how far the reference model's log-probability of
    the given label drops ("drop").

    At the high levels it asks for a cause. What was taken away is added to a few images of other labels, the hosts: if
    that makes the reference model give them this sample's label, the sample carries a trigger ("transplant", the mean
    probability of its label). A small bright patch survives noise; therefore each tile of the image is pasted into a
    host as well, and the one that carries the label best is erased from the image ("tile_transplant", the mean
    probability of the label on the hosts times its loss without the tile).

    Args:
        sigmas: noise levels in [0,1] pixel units.
        transplant_from: smallest level whose residual is transplanted.
        hosts: images of other labels that receive a sample's residual or tile.
        keep: the level whose images are kept for the cross-fitted models to train on.
    """

    name = "probe"
    sigmas: Annotated[tuple[float, ...], Range(above=0, most=1)] = (0.075, 0.15, 0.26, 0.4)
    transplant_from: Annotated[float, Range(above=0, most=1)] = 0.26
    hosts: Count = 4
    keep: Annotated[float, Range(above=0, most=1)] = 0.15

    def needs(self) -> tuple[str, ...]:
        return ("reference",)

    def check(self) -> None:
        if list(self.sigmas) != sorted(self.sigmas):
            raise ElixirError(f"probe.sigmas = {list(self.sigmas)} must ascend")
        if self.keep not in self.sigmas:
            raise ElixirError(f"probe.keep = {self.keep} must be one of probe.sigmas = {list(self.sigmas)}")
        if self.transplant_from > max(self.sigmas):
            raise ElixirError(f"probe.transplant_from = {self.transplant_from} is above all of probe.sigmas")

    def process(self, run: Run, rows: np.ndarray) -> Columns:
        raw = run.pixels.read(rows)
        x = raw.float() / 255
        hosts = self._hosts(run, rows)
        own = np.arange(len(rows)), run.labels[rows]
        with run.network():
            raw_logp = run.classify("reference", raw)[0][own]
        drop = np.zeros(len(rows), np.float32)
        transplants = []
        for sigma in self.sigmas:
            z = noise(run.seed, run.ids(rows), ("probe", sigma, 0), tuple(x.shape[1:]))
            with run.network(calls=len(rows) * run.purifier.nfe):
                purified = (run.purifier.purify(x, sigma, z) * 255).round().to(torch.uint8)
            if sigma == self.sigmas[0]:
                with run.network():
                    drop = raw_logp - run.classify("reference", purified)[0][own]
            if sigma == self.keep:
                run.purified.write(rows, purified.numpy())
            if sigma >= self.transplant_from:
                residual = x - purified.float() / 255
                received = [(host + residual).clamp(0, 1) for host in hosts]
                transplants.append(self._own_probability(run, received, own[1]))
        tile, tile_transplant = self._best_tile(run, x, np.exp(raw_logp), hosts, own[1])
        return {
            "drop": drop.astype(np.float32),
            "transplant": np.stack(transplants, 1),
            "tile": tile.astype(np.int16),
            "tile_transplant": tile_transplant,
        }

    def _hosts(self, run: Run, rows: np.ndarray) -> Tensor:
        """Images of other labels for each row, float32 (hosts, n, 3, h, w) in [0,1]; any if there is one label only."""
        readable = run.readable_rows()
        chosen = np.empty((self.hosts, len(rows)), np.int64)
        for index, (row, id) in enumerate(zip(rows, run.ids(rows), strict=True)):
            drawn = readable[generator(run.seed, id, "hosts").integers(0, len(readable), 16 * self.hosts)]
            other = drawn[run.labels[drawn] != run.labels[row]]
            if not len(other):  # the label is nearly everywhere
                rest = readable[run.labels[readable] != run.labels[row]]
                other = generator(run.seed, id, "rare hosts").permutation(rest)[: self.hosts] if len(rest) else drawn
            chosen[:, index] = np.resize(other, self.hosts)
        return torch.stack([run.pixels.read(host_rows) for host_rows in chosen]).float() / 255

    def _best_tile(
        self, run: Run, x: Tensor, own: np.ndarray, hosts: Tensor, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The tile that carries each sample's label best, (n,), and its evidence in [0,1], float32 (n,)."""
        carried = np.stack(
            [
                self._own_probability(run, [pasted(hosts[0], x, np.full(len(x), tile))], labels)
                for tile in range(len(grid(x.shape[-1])))
            ],
            1,
        )
        best = carried.argmax(1)
        sufficient = self._own_probability(run, [pasted(host, x, best) for host in hosts], labels)
        necessary = own - self._own_probability(run, [erased(x, best)], labels)
        return best, (sufficient * necessary.clip(0)).astype(np.float32)

    def _own_probability(self, run: Run, images: list[Tensor], labels: np.ndarray) -> np.ndarray:
        """Mean probability that the reference model gives each sample's label over variants, float32 (n,)."""
        total = np.zeros(len(labels), np.float32)
        for variant in images:
            with run.network():
                logp, _ = run.classify("reference", variant)
            total += np.exp(logp[np.arange(len(labels)), labels])
        return total / len(images)
