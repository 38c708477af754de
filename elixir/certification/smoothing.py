"""Randomized smoothing of a classifier behind a purifier (Cohen et al. 2019; arXiv 2407.00623, section 3)."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from elixir.certification.sampling import Certificate, Sampling, block_size, certifying, check, predicting
from elixir.engine.cost import Cost
from elixir.errors import ElixirError
from elixir.measurement.measurement_folder import fitting
from elixir.models.classifier import Classifier, predict
from elixir.models.device import wait_for
from elixir.purifiers.base import Purifier
from elixir.randomness import device_noise

CPU_IMAGES = 4
CUDA_IMAGES = 128
"""Images of 32 x 32 pixels whose draws share a batch."""

T = TypeVar("T")
Named = tuple[str, Tensor]


@dataclass
class _Case(Generic[T]):
    """An image at work, and the draws that its sampling asks for next (0 when it has its outcome)."""

    id: str
    image: Tensor
    sampling: Sampling[T]
    wanted: int = 0
    blocks: int = 0
    outcome: T | None = None

    def advance(self, labels: np.ndarray | None) -> None:
        try:
            self.wanted = next(self.sampling) if labels is None else self.sampling.send(labels)
        except StopIteration as end:
            self.wanted, self.outcome = 0, end.value


@dataclass(frozen=True)
class SmoothedClassifier:
    """Predicts the label that classifier(purify(x + sigma * noise)) gives most often, and certifies it.

    Each draw costs one `purify`; the noisy image is not clipped before it, the purified one is, to [0,1]. The noise is
    seeded by (seed, id, sigma, block of draws), so that the outcome for an image does not depend on the others: ids are
    stable and all different. An ElixirError if sigma, the draws or alpha are out of range.

    Attributes:
        classifier: in evaluation mode, on `device`, as the purifier is.
        sigma: deviation of the noise in [0,1] pixel units, greater than 0.
        cost: seconds inside the two networks and function evaluations so far; `seconds` is left to the caller.
    """

    classifier: Classifier
    purifier: Purifier
    sigma: float
    device: torch.device
    seed: int = 0
    cost: Cost = field(default_factory=Cost, init=False)

    def __post_init__(self) -> None:
        if not 0 < self.sigma < math.inf:
            raise ElixirError(f"sigma must be greater than 0 and finite, not {self.sigma:g}")

    def predict(self, images: Tensor, ids: list[str], n: int, alpha: float) -> np.ndarray:
        """Labels int64 (m,) for images float32 (m, 3, h, w) in [0,1], by up to `n` draws each; see `predicting`."""
        check(alpha, n)
        found = dict(self._run(zip(ids, images, strict=True), lambda block: predicting(n, alpha, block)))
        return np.array([found[id] for id in ids], np.int64)

    def certify(
        self, images: Tensor, ids: list[str], n0: int, n: int, alpha: float, adaptive: bool = False
    ) -> list[Certificate]:
        """As `certify_each`, for images float32 (m, 3, h, w) of one size; a certificate for each, in order."""
        found = dict(self.certify_each(zip(ids, images, strict=True), n0, n, alpha, adaptive))
        return [found[id] for id in ids]

    def certify_each(
        self, images: Iterable[Named], n0: int, n: int, alpha: float, adaptive: bool = False
    ) -> Iterator[tuple[str, Certificate]]:
        """Certificates with ids, in any order, for images float32 (3, h, w) in [0,1] of any sizes; see `certifying`."""
        check(alpha, n0, n)
        return self._run(images, lambda block: certifying(self.sigma, n0, n, alpha, adaptive, block))

    def _run(self, images: Iterable[Named], begin: Callable[[int], Sampling[T]]) -> Iterator[tuple[str, T]]:
        """Sample as many images at once as fit, those of one size together."""
        for (height, width), same in groupby(images, key=lambda named: named[1].shape[-2:]):
            room = fitting(CPU_IMAGES if self.device.type == "cpu" else CUDA_IMAGES, height, width)
            cases: list[_Case[T]] = []
            while True:
                for id, image in islice(same, room - len(cases)):
                    case = _Case(id, image.to(self.device), begin(block_size(height, width)))
                    case.advance(None)
                    cases.append(case)
                if not cases:
                    break
                for case, labels in zip(cases, self._draw(cases), strict=True):
                    case.advance(labels)
                yield from ((case.id, case.outcome) for case in cases if case.outcome is not None)
                cases = [case for case in cases if case.outcome is None]

    def _draw(self, cases: list[_Case[T]]) -> list[np.ndarray]:
        """Predicted labels of the next draws of each image."""
        x = torch.cat([case.image.expand(case.wanted, -1, -1, -1) for case in cases])
        noise = torch.cat([self._noise(case)[: case.wanted] for case in cases])
        wait_for(self.device)
        start = time.perf_counter()
        purified = self.purifier.purify(x, self.sigma, noise)
        labels = predict(self.classifier, purified, self.device).cpu().numpy()
        self.cost.network_seconds += time.perf_counter() - start
        self.cost.nfe += len(x) * self.purifier.nfe
        return np.split(labels, np.cumsum([case.wanted for case in cases])[:-1])

    def _noise(self, case: _Case[T]) -> Tensor:
        """A block of noise, always of the same size: a smaller one might have other numbers."""
        shape = (block_size(*case.image.shape[-2:]), *case.image.shape)
        case.blocks += 1
        return device_noise(self.device, shape, self.seed, case.id, self.sigma, case.blocks)
