"""Networks of timm, by name, with its pretrained weights or those of a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from elixir.errors import ElixirError, explaining
from elixir.models.foreign import EXTRA, Foreign, channels_of, expect_classes
from elixir.models.preprocessing import Preprocessing
from elixir.models.weights import read_weights


def open_timm(spec: str, classes: int | None = None) -> Foreign:
    """A network by "NAME" or "NAME@FILE.safetensors".

    Args:
        classes: that it must tell apart; None for any number.

    Raises: ElixirError: timm is not installed, does not know the name, or the weights are not to be had or do not fit.
    """
    try:
        import timm
    except ImportError as error:
        raise ElixirError(f"{spec!r} is no file or folder; as a timm name it needs timm, which {EXTRA}") from error
    name, _, file = spec.partition("@")
    if not name.startswith("hf-hub:") and not timm.is_model(name):
        raise ElixirError(f"{spec!r} is no file or folder, no timm model and no hub name (owner/name) of transformers")
    with explaining((RuntimeError, OSError, ValueError), f"timm model {spec!r} cannot be loaded"):
        net: Any = timm.create_model(name)
        if file:
            net = _with_weights(name, net.pretrained_cfg, Path(file), classes)
        else:
            expect_classes(classes, net.num_classes, spec)
            net = timm.create_model(name, pretrained=True)
    config = net.pretrained_cfg
    size = tuple(config["input_size"][1:])
    preprocessing = Preprocessing(config["mean"], config["std"], size if config.get("fixed_input_size") else None)
    channels = channels_of(net, spec)
    architecture = {"model_name": name, "num_classes": net.num_classes, "in_chans": channels}
    return Foreign(spec, net, channels, preprocessing, size[0], "timm", architecture)


def build_timm(architecture: Mapping[str, Any]) -> nn.Module:
    """A network with random weights, as `open_timm` has recorded it; one of the hub's own asks the hub once more."""
    try:
        import timm
    except ImportError as error:
        raise ElixirError(f"{architecture['model_name']!r} needs timm, which {EXTRA}") from error
    return timm.create_model(**architecture)


def _with_weights(name: str, config: dict[str, Any], file: Path, classes: int | None) -> nn.Module:
    import timm

    tensors, _ = read_weights(file)
    stem, head = (tensors.get(f"{_first(config[part])}.weight") for part in ("first_conv", "classifier"))
    if head is not None:
        expect_classes(classes, len(head), str(file))
    count = (classes or 0) if head is None else len(head)
    net = timm.create_model(name, num_classes=count, in_chans=3 if stem is None else stem.shape[1])
    with explaining(RuntimeError, f"{str(file)!r} does not fit the timm model {name!r}"):
        net.load_state_dict(tensors)
    return net


def _first(layer: str | Sequence[str] | None) -> str:
    """The name of a layer, or of the first of several that are alike; empty if there is none."""
    return layer if isinstance(layer, str) else [*(layer or []), ""][0]
