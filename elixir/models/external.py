"""The user's own classifier: an exported TorchScript file, a timm architecture or a transformers model."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from elixir.models.classifier import Classifier
from elixir.models.foreign import Foreign, expect_classes
from elixir.models.formats import open_foreign
from elixir.models.preprocessing import Prepare
from elixir.models.trained import is_trained, load_trained

LEAST_PROBABILITY = 1e-12  # probabilities below it count as this one before their logarithm is taken
SUM_TOLERANCE = 1e-3  # outputs that are nowhere negative and sum to 1 within this are probabilities

log = logging.getLogger(__name__)


class ExternalClassifier(Classifier):
    """A user's network behind the `Classifier` interface.

    Args:
        prepare: makes its input of images.
        network: maps that to logits (n, k) and features (n, d).
        order: which logit belongs to the dataset's label 0, 1, ...; None if they agree.
        probabilities: the network ends with a softmax, which is undone by a logarithm.
    """

    def __init__(
        self, prepare: Prepare, network: nn.Module, order: list[int] | None = None, probabilities: bool = False
    ) -> None:
        super().__init__()
        self.prepare = prepare
        self.network = network
        self._order = order
        self._probabilities = probabilities

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, features = self.network(self.prepare(x))
        if self._order is not None:
            logits = logits[:, self._order]
        if self._probabilities:
            logits = logits.clamp_min(LEAST_PROBABILITY).log()
        return logits.float(), features.float()


def load_classifier(spec: str, classes: int, device: torch.device, names: Sequence[str] | None = None) -> Classifier:
    """Load the user's own classifier, in evaluation mode, or tell in an ElixirError why it cannot be used.

    Args:
        spec: a classifier of elixir's own (.safetensors), or one of other people's (see `open_foreign`).
        classes: number of labels of the dataset.
        names: the dataset's class names. A transformers model, or one of elixir's own, with the same names in another
            order has its logits put into this order; every other model must have the dataset's order.
    """
    if is_trained(spec):
        own = load_trained(Path(spec), names).to(device)
        expect_classes(classes, own.head.out_features, spec)
        return own
    foreign = open_foreign(spec, device, classes)
    return _external(foreign, classes, device, names)


def _external(foreign: Foreign, classes: int, device: torch.device, names: Sequence[str] | None) -> ExternalClassifier:
    """Check the number of logits, and look for a final softmax."""
    network, logits, _ = foreign.with_features(device)
    expect_classes(classes, logits.shape[1], foreign.spec)
    if not network.has_head:
        what = "no final linear layer was found in %s: its logits are used as features, which see less"
        log.warning(what, foreign.spec)
    probabilities = bool(
        (logits >= 0).all() and torch.allclose(logits.sum(1), torch.ones_like(logits[:, 0]), atol=SUM_TOLERANCE)
    )
    labels = foreign.labels
    order = [labels.index(name) for name in names] if names and sorted(names) == sorted(labels) else None
    prepare = Prepare(foreign.preprocessing, foreign.channels)
    return ExternalClassifier(prepare, network, order, probabilities).requires_grad_(False).to(device).eval()
