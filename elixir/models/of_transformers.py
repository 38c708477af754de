"""Image classifiers of transformers, from a folder or the hub."""

import json
from collections.abc import Mapping
from typing import Any

from torch import nn

from elixir.errors import ElixirError
from elixir.models.foreign import EXTRA, Foreign, channels_of, expect_classes
from elixir.models.preprocessing import Preprocessing
from elixir.models.weights import model_folder, silenced

USUAL_SIDE = 224  # side of the one probe of a model that takes any size


def open_transformers(spec: str, classes: int | None = None) -> Foreign:
    """A classifier with its image processor by the path of its folder or its name on the hub.

    Args:
        classes: that it must tell apart, as a finished classifier; None for any number, and its head may be missing.

    Raises: ElixirError: transformers is not installed, or there is no such model, or it brings pickles or code.
    """
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
            expect_classes(classes, config.num_labels, spec)
            told: Any = AutoModelForImageClassification.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, **own
            )
            net, loading = told
            if classes is not None and loading["missing_keys"]:
                what = f"{spec!r} has no weights for {min(loading['missing_keys'])}, so it is no finished classifier"
                raise ElixirError(f"{what}: train it on these classes first, or give it as --backbone")
            preprocessing = _of_processor(AutoImageProcessor.from_pretrained(folder, **own))
    except ElixirError:
        raise
    except Exception as error:  # what a damaged folder raises is anything
        if "trust_remote_code" in str(error):
            raise ElixirError(f"{spec!r} brings code of its own, which is not run: export it to TorchScript") from error
        raise ElixirError(f"{spec!r} is no transformers image classifier with its image processor: {error}") from error
    labels = [str(config.id2label[index]) for index in range(config.num_labels)]
    side = preprocessing.size[0] if preprocessing.size else USUAL_SIDE
    architecture = json.loads(config.to_json_string(use_diff=False))
    return Foreign(spec, net, channels_of(net, spec), preprocessing, side, "transformers", architecture, labels)


def build_transformers(architecture: Mapping[str, Any]) -> nn.Module:
    """A classifier with random weights, by the configuration that `open_transformers` has recorded."""
    try:
        from transformers import AutoConfig, AutoModelForImageClassification
    except ImportError as error:
        raise ElixirError(f"a {architecture['model_type']} needs transformers, which {EXTRA}") from error
    return AutoModelForImageClassification.from_config(AutoConfig.for_model(**architecture))


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
