"""Where the weights of classifiers start."""

import logging
from functools import cache
from pathlib import Path

import torch

from elixir.models.classifier import TrainableClassifier
from elixir.models.formats import open_foreign
from elixir.models.trained import is_trained, load_trained
from elixir.models.transferred import Transferred
from elixir.models.weights import SHIPPED

FEATURES = SHIPPED / "features.safetensors"
"""The shipped classifier: where the classifiers of a run start, and what is behind the perceptual distance."""

log = logging.getLogger(__name__)


def load_backbone(name: str) -> TrainableClassifier | None:
    """The network whose weights a training starts from, but for its head; None for random ones.

    Args:
        name: "features" for the shipped one, "none", a classifier of elixir's own (.safetensors), or a network of other
            people's as for `open_foreign`: timm, transformers or TorchScript.

    Raises:
        ElixirError: there is no such network, or it cannot be used.
    """
    if name == "none":
        return None
    if name == "features" or is_trained(name):
        return load_trained(FEATURES if name == "features" else Path(name))
    net = Transferred(open_foreign(name, torch.device("cpu")), classes=1)
    if not any(True for _ in net.body.parameters()):
        _warn_of_constants(name)
    return net


@cache
def _warn_of_constants(name: str) -> None:
    log.warning("all weights of %s are constants: only the new head on its features is trained", name)
