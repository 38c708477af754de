"""The networks of a run that it does not train itself, loaded in any process that works on it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from elixir.engine.run import Run
from elixir.models.classifier import Classifier
from elixir.models.external import load_classifier
from elixir.purifiers.base import Purifier


@dataclass(frozen=True)
class Networks:
    """How they are loaded.

    Args:
        load_purifier: from `prior` and a device, see `elixir.purifiers.base`.
        prior: weights of the purifier.
        reference: the user's own classifier, None for none.
        classes: names of the labels.
    """

    load_purifier: Callable[[str | None, torch.device], Purifier]
    prior: str | None
    reference: str | None
    classes: Sequence[str]

    def load(self, device: torch.device) -> tuple[Purifier, Classifier | None]:
        """The purifier and the user's own classifier. Raises: ElixirError: one of them is unusable."""
        purifier = self.load_purifier(self.prior, device)
        if self.reference is None:
            return purifier, None
        return purifier, load_classifier(self.reference, len(self.classes), device, self.classes)

    def open_run(self, device: torch.device, **options: Any) -> Run:
        """A run with these networks; its other options are those of `Run`."""
        purifier, own = self.load(device)
        return Run(purifier=purifier, reference=own, device=device, **options)
