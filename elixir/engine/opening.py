"""Opens a run with its networks, in any process that works on it."""

from collections.abc import Callable
from typing import Any

import torch

from elixir.data.source import Source
from elixir.engine.run import Run
from elixir.models.external import load_classifier
from elixir.purifiers.base import Purifier


def open_run(
    device: torch.device,
    *,
    load_purifier: Callable[[str | None, torch.device], Purifier],
    prior: str | None,
    reference: str | None,
    source: Source,
    **options: Any,
) -> Run:
    """A run whose networks are on a device.

    Args:
        load_purifier: from `prior` and a device, see `elixir.purifiers.base`.
        prior: weights of the purifier.
        reference: file of the user's own classifier, None for none.
        source: the samples.
        options: the others of `Run`.

    Raises: ElixirError: one of the networks is unusable.
    """
    purifier = load_purifier(prior, device)
    own = None if reference is None else load_classifier(reference, len(source.classes), device, source.classes)
    return Run(source=source, purifier=purifier, reference=own, device=device, **options)
