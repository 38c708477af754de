"""Classifiers of elixir's own, from their files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elixir.models.classifier import KIND, SmallResNet, TrainableClassifier
from elixir.models.formats import rebuilt
from elixir.models.transferred import Transferred
from elixir.models.weights import load_network


def is_trained(spec: str) -> bool:
    """Whether the name of a network is that of a file of elixir's own."""
    return spec.endswith(".safetensors") and not spec.startswith("timm:")


def load_trained(path: Path, names: Sequence[str] | None = None) -> TrainableClassifier:
    """A classifier written by `save_classifier`, in evaluation mode; see `load_network`.

    If `names`, the class names of a dataset, are the classifier's own in another order, its logits get this order.

    Raises: ElixirError: see `load_network`; or its backbone cannot be built again, see `rebuilt`.
    """

    def build(tensors: dict[str, Tensor], record: dict[str, Any]) -> TrainableClassifier:
        labels = record["labels"]
        if names is not None and sorted(names) == sorted(labels):
            order = [labels.index(name) for name in names]
            tensors |= {name: tensors[name][order] for name in ("head.weight", "head.bias")}
        classes = len(tensors["head.weight"])
        if "backbone" in record:
            return Transferred(rebuilt(record["backbone"], path.parent), classes)
        blocks = len({name.split(".")[1] for name in tensors if name.startswith("body.")})
        widths = tuple(len(tensors[f"body.{index}.0.weight"]) for index in range(0, blocks, 2))
        return SmallResNet(classes, tensors["body.0.0.weight"].shape[1] // 4, widths)

    return load_network(path, (KIND,), build).to(memory_format=torch.channels_last).eval()
