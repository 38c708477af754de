"""Purified candidates of every sample by many-step diffusion, and the choice of one (DataElixir, steps 2 and 5)."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from elixir.data.columns import Columns
from elixir.data.image import as_encoded, resize
from elixir.engine.models import REFERENCE
from elixir.engine.run import Run
from elixir.engine.stage import MapStage
from elixir.errors import ElixirError
from elixir.purifiers.samplers import ddpm_reverse, ddpm_sigmas
from elixir.randomness import noise
from elixir.settings import Count, Range
from elixir.stages.repair import by_size, candidate_distance, keep_repaired


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
    requires = ("pixels", "reference_model")
    provides = ("predicted", "candidates")
    steps: Count = 150
    of: Count = 1000
    rounds: Count = 5
    keep: Count = 10
    quantile: Annotated[float, Range(least=0, most=1)] = 0.8
    ssim: Literal["intended", "released"] = "intended"

    def check(self) -> None:
        if self.steps > self.of:
            raise ElixirError(f"candidates.steps = {self.steps} must not be above candidates.of = {self.of}")
        if self.keep > self.steps:
            raise ElixirError(f"candidates.keep = {self.keep} must not be above candidates.steps = {self.steps}")

    def prepare(self, run: Run) -> None:
        if len(run.classes) < 3:
            raise ElixirError(
                f"{run.source.location} has {len(run.classes)} classes; this recipe compares labels with each other, "
                "which takes three: use the default one, --pipeline dataelixir"
            )
        run.facts["candidates"] = asdict(self)

    def process(self, run: Run, indices: np.ndarray) -> Columns:
        raw = run.pixels.read(indices)
        candidates = self.make(run, indices, raw)
        predicted = [run.models.classify(REFERENCE, images)[0].argmax(1) for images in (raw, *candidates)]
        return {"predicted": np.stack(predicted, 1).astype(np.int32)}

    def make(self, run: Run, indices: np.ndarray, raw: Tensor) -> Iterator[Tensor]:
        """The rounds * keep candidates of raw images, in order; uint8 (n, 3, h, w) of any size, as are the images.

        Their noise depends on seed, sample, round and step alone.
        """
        sigmas = ddpm_sigmas(self.steps, self.of)
        ids, shape = run.ids(indices), tuple(raw.shape[1:])
        x = raw.float() / 255
        for turn in range(self.rounds):

            def draw(step: int, turn: int = turn) -> Tensor:
                return noise(run.seed, ids, ("candidates", turn, step), shape)

            with run.purifying(x, self.steps):
                states = ddpm_reverse(run.purifier.denoise, x, draw, sigmas, self.keep)
            x = states[-1]
            yield from ((state * 255).round().to(torch.uint8) for state in states)


def replace_images(run: Run, indices: np.ndarray, labels: np.ndarray) -> None:
    """Choose a candidate of each sample among those that the reference model gives its new label, or else among all.

    Candidates have the sample's own size and are compared at the working size. The chosen one is kept for the result
    (`Run.repaired_path`) and, at the working size, for training (`Run.purified`).
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

    That is far enough that a trigger is gone, but not the farthest (DataElixir, SELECT). Distances are those of the
    candidates from the raw image, (n,), n > 0.
    """
    place = int(quantile * (len(distance) + 1))
    ranked = np.argsort(distance, kind="stable")
    return int(ranked[min(max(place - 1, 0), len(ranked) - 1)])
