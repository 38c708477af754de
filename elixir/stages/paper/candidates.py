"""Purified candidates of every sample by many-step diffusion (DataElixir, step 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from elixir.data.columns import Columns
from elixir.engine.models import REFERENCE
from elixir.engine.run import Run
from elixir.engine.stage import MapStage
from elixir.errors import ElixirError
from elixir.purifiers.samplers import ddpm_reverse, ddpm_sigmas
from elixir.randomness import noise
from elixir.settings import Count, Range


@dataclass
class CandidatesStage(MapStage):
    """The reference model's labels of the raw image and of the last states of several rounds of reverse diffusion.

    Each round noises the result of the last and denoises it step by step. The candidates are not kept: `make` makes
    the same ones again where a later stage needs them.

    Args:
        steps: timestep to which a round noises; it costs as many calls of the purifier for each sample.
        of: timesteps of the whole linear DDPM schedule.
        rounds: how many.
        keep: last states of each round that are candidates.
        quantile: which candidate replaces an image: where it stands among them, sorted by distance, in [0,1].
        ssim: "intended", the mean over the channels, or "released", what the authors' code computes.
    """

    name = "candidates"
    steps: Count = 150
    of: Count = 1000
    rounds: Count = 5
    keep: Count = 10
    quantile: Annotated[float, Range(least=0, most=1)] = 0.8
    ssim: Literal["intended", "released"] = "intended"

    def requires(self) -> tuple[str, ...]:
        return ("pixels", "reference_model")

    def provides(self) -> tuple[str, ...]:
        return ("predicted", "candidates")

    def check(self) -> None:
        if self.steps > self.of:
            raise ElixirError(f"candidates.steps = {self.steps} must not be above candidates.of = {self.of}")
        if self.keep > self.steps:
            raise ElixirError(f"candidates.keep = {self.keep} must not be above candidates.steps = {self.steps}")

    def open(self, run: Run) -> None:
        if len(run.classes) < 3:
            raise ElixirError(
                f"{run.source.location} has {len(run.classes)} classes; this recipe compares labels with each other, "
                "which takes three: use the default one, --pipeline dataelixir"
            )
        run.facts["candidates"] = asdict(self)

    def process(self, run: Run, indices: np.ndarray) -> Columns:
        raw = run.pixels.read(indices)
        predicted = [
            run.models.classify(REFERENCE, images)[0].argmax(1).astype(np.int32)
            for images in (raw, *self.make(run, indices, raw))
        ]
        return {"predicted": np.stack(predicted, 1)}

    def make(self, run: Run, indices: np.ndarray, raw: Tensor) -> Iterator[Tensor]:
        """The candidates, rounds * keep of them, in order.

        Args:
            run: gives the purifier and the noise, which depends on seed, sample, round and step alone.
            indices: int64 (n,).
            raw: uint8 (n, 3, h, w), at the working size or any other.

        Yields:
            uint8 (n, 3, h, w).
        """
        sigmas = ddpm_sigmas(self.steps, self.of)
        ids, shape = run.ids(indices), tuple(raw.shape[1:])
        x = raw.float() / 255
        for turn in range(self.rounds):
            with run.purifying(x, self.steps):
                states = ddpm_reverse(
                    run.purifier.denoise,
                    x,
                    lambda step, turn=turn: noise(run.seed, ids, ("candidates", turn, step), shape),
                    sigmas,
                    self.keep,
                )
            x = states[-1]
            yield from ((state * 255).round().to(torch.uint8) for state in states)
