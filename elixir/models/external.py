"""The user's own classifier: an exported TorchScript file, a timm architecture or a transformers model."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elixir.errors import ElixirError, explaining
from elixir.models.classifier import Classifier, load_small_classifier
from elixir.models.features import WithFeatures
from elixir.models.torchscript import ScriptWithFeatures, load_script
from elixir.models.weights import PICKLES, model_folder, read_weights, silenced

PROBE_SIDES = (16, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 384, 512)
"""Sides in pixels at which a script is tried, to learn which sizes it takes."""
USUAL_SIDE = 224  # side of the one probe of a transformers model that takes any size
GREY = (0.299, 0.587, 0.114)  # weights of the channels in ITU-R 601, as in PIL's conversion to "L"
LEAST_PROBABILITY = 1e-12  # probabilities below it count as this one before their logarithm is taken
SUM_TOLERANCE = 1e-3  # outputs that are nowhere negative and sum to 1 within this are probabilities
EXTRA = "is not installed: pip install 'dataset-elixir[models]'"


@dataclass(frozen=True)
class Preprocessing:
    """How images in [0,1] are prepared for a network; `mean` and `std` are of each channel, or one for all.

    `size` is the height and width that they are resized to; where it is None any will do that is not below `smallest`.
    """

    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)
    size: tuple[int, int] | None = None
    smallest: int = 1


class ExternalClassifier(Classifier):
    """A user's network behind the `Classifier` interface.

    Args:
        network: maps (n, channels, h, w) to logits (n, k) and features (n, d).
        channels: 3, or 1 for a network that reads grey images, whose mean and std are averaged over channels.
        order: which logit belongs to the dataset's label 0, 1, ...; None if they agree.
        probabilities: the network ends with a softmax, which is undone by a logarithm.
    """

    mean: Tensor
    std: Tensor
    grey: Tensor

    def __init__(
        self,
        network: nn.Module,
        channels: int,
        preprocessing: Preprocessing,
        order: list[int] | None = None,
        probabilities: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self._channels = channels
        self._preprocessing = preprocessing
        self._order = order
        self._probabilities = probabilities
        for name in ("mean", "std"):
            values = torch.tensor(getattr(preprocessing, name), dtype=torch.float32)
            values = values.mean().view(1, 1, 1, 1) if channels == 1 else values.view(1, -1, 1, 1)
            self.register_buffer(name, values, persistent=False)
        self.register_buffer("grey", torch.tensor(GREY).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self._channels == 1:
            x = (x * self.grey).sum(1, keepdim=True)
        height, width = x.shape[-2:]
        least = self._preprocessing.smallest
        size = self._preprocessing.size or (max(height, least), max(width, least))
        if size != (height, width):
            x = F.interpolate(x, size, mode="bilinear", antialias=True)
        logits, features = self.network((x - self.mean) / self.std)
        if self._order is not None:
            logits = logits[:, self._order]
        if self._probabilities:
            logits = logits.clamp_min(LEAST_PROBABILITY).log()
        return logits.float(), features.float()


def load_classifier(spec: str, classes: int, device: torch.device, names: Sequence[str] | None = None) -> Classifier:
    """Load the user's own classifier, in evaluation mode, or tell in an ElixirError why it cannot be used.

    Args:
        spec: one of
            a TorchScript file, which gets images in [0,1];
            a classifier of elixir's own (.safetensors);
            "timm:NAME", or a bare timm name, with its pretrained weights; "timm:NAME@FILE.safetensors" with those;
            a transformers image-classification model, as a folder or hub name.
        classes: number of labels of the dataset.
        names: the dataset's class names. A transformers model, or one of elixir's own, with the same names in another
            order has its logits put into this order; every other model must have the dataset's order.
    """
    path, timm = Path(spec), spec.startswith("timm:")
    if path.suffix == ".safetensors" and not timm:
        net = load_small_classifier(path, names).to(device)
        _expect(classes, net.head.out_features, spec)
        return net
    if path.is_file():
        found = _load_script(path, device)
    elif not (path.exists() or timm) and (path.is_absolute() or path.suffix in PICKLES):
        raise ElixirError(f"there is no model {spec!r}: give a TorchScript file, a timm name or a transformers folder")
    elif path.is_dir() or ("/" in spec and not timm):
        found = _load_transformers(spec, classes, names)
    else:
        spec = spec.removeprefix("timm:")
        found = _load_timm(spec, classes)
    return _finish(found, spec, classes, device)


@dataclass(frozen=True)
class _Found:
    """A network from images to logits, `wrap` to give it features, and the side of images that it can be tried on."""

    net: nn.Module
    preprocessing: Preprocessing
    side: int
    order: list[int] | None = None
    wrap: Callable[[nn.Module, Tensor], nn.Module] = WithFeatures


def _load_script(path: Path, device: torch.device) -> _Found:
    script = load_script(path, device)
    channels = _channels(script)
    fits = [side for side in PROBE_SIDES if _runs(script, torch.zeros(2, channels, side, side, device=device))]
    if not fits:
        tried = ", ".join(map(str, PROBE_SIDES))
        raise ElixirError(f"{str(path)!r} takes no batch of images with {channels} channels and {tried} pixels a side")
    size = (fits[0], fits[0]) if len(fits) == 1 else None
    return _Found(script, Preprocessing(size=size, smallest=fits[0]), fits[0], wrap=ScriptWithFeatures)


def _load_timm(spec: str, classes: int) -> _Found:
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
            net = _timm_with_weights(name, net.pretrained_cfg, Path(file), classes)
        else:
            _expect(classes, net.num_classes, spec)
            net = timm.create_model(name, pretrained=True)
    config = net.pretrained_cfg
    size = tuple(config["input_size"][1:])
    fixed = size if config.get("fixed_input_size") else None
    return _Found(net, Preprocessing(config["mean"], config["std"], fixed), size[0])


def _timm_with_weights(name: str, config: dict[str, Any], file: Path, classes: int) -> nn.Module:
    import timm

    tensors, _ = read_weights(file)
    stem, head = (tensors.get(f"{config[part]}.weight") for part in ("first_conv", "classifier"))
    if head is not None:
        _expect(classes, len(head), str(file))
    net = timm.create_model(name, num_classes=classes, in_chans=3 if stem is None else stem.shape[1])
    with explaining(RuntimeError, f"{str(file)!r} does not fit the timm model {name!r}"):
        net.load_state_dict(tensors)
    return net


def _load_transformers(spec: str, classes: int, names: Sequence[str] | None) -> _Found:
    try:
        from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification
        from transformers.utils import logging
    except ImportError as error:
        raise ElixirError(f"{spec!r} needs transformers, which {EXTRA}") from error
    folder = model_folder(spec)
    own = {"local_files_only": True, "trust_remote_code": False}  # else it asks whether to run code from the folder
    try:
        with silenced(logging):
            config: Any = AutoConfig.from_pretrained(folder, **own)
            _expect(classes, config.num_labels, spec)
            net = AutoModelForImageClassification.from_pretrained(folder, use_safetensors=True, **own)
            preprocessing = _of_processor(AutoImageProcessor.from_pretrained(folder, **own))
    except ElixirError:
        raise
    except Exception as error:  # what a damaged folder raises is anything
        if "trust_remote_code" in str(error):
            raise ElixirError(f"{spec!r} brings code of its own, which is not run: export it to TorchScript") from error
        raise ElixirError(f"{spec!r} is no transformers image classifier with its image processor: {error}") from error
    labels = [str(config.id2label[index]) for index in range(classes)]
    order = [labels.index(name) for name in names] if names and sorted(names) == sorted(labels) else None
    side = preprocessing.size[0] if preprocessing.size else USUAL_SIDE
    return _Found(net, preprocessing, side, order)


def _of_processor(processor: Any) -> Preprocessing:
    """Resizing goes straight to the final size, where some processors cut the centre out of a larger image."""
    mean, std = (processor.image_mean, processor.image_std) if processor.do_normalize else ((0.0,), (1.0,))
    if not {len(mean), len(std)} <= {1, 3}:
        raise ValueError(f"its mean and std are for {len(mean)} and {len(std)} channels")
    if not processor.do_resize:
        return Preprocessing(mean, std)
    size = dict(processor.crop_size if getattr(processor, "do_center_crop", False) else processor.size)
    side = size.get("shortest_edge")
    return Preprocessing(mean, std, (side, side) if side else (size["height"], size["width"]))


def _finish(found: _Found, spec: str, classes: int, device: torch.device) -> Classifier:
    """Find the feature layer, check the number of logits and look for a final softmax, on one random input."""
    channels = _channels(found.net)
    shape = (2, channels, found.side, found.side)
    probe = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)
    net = found.net.to(device).eval()
    for parameter in net.parameters():  # a script has no `requires_grad_`
        parameter.requires_grad = False
    kinds = (RuntimeError, TypeError, ValueError, AttributeError)
    with explaining(kinds, f"{spec!r} does not map images to logits"):
        network = found.wrap(net, probe)
        with torch.inference_mode():
            logits, _ = network(probe)
    _expect(classes, logits.shape[1], spec)
    probabilities = bool(
        (logits >= 0).all() and torch.allclose(logits.sum(1), torch.ones_like(logits[:, 0]), atol=SUM_TOLERANCE)
    )
    return ExternalClassifier(network, channels, found.preprocessing, found.order, probabilities).to(device).eval()


def _expect(classes: int, found: int, spec: str) -> None:
    if found != classes:
        raise ElixirError(f"{spec!r} tells {found} classes apart, but the dataset has {classes}")


def _channels(net: nn.Module) -> int:
    """Input channels: those of the first convolution, 3 where there is none."""
    channels = next((weight.shape[1] for weight in net.parameters() if weight.ndim == 4), 3)
    if channels not in (1, 3):
        raise ElixirError(f"the classifier reads {channels} channels; 1 and 3 are supported")
    return channels


def _runs(net: nn.Module, probe: Tensor) -> bool:
    with suppress(RuntimeError), torch.inference_mode():
        net(probe)
        return True
    return False
