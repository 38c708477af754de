"""A torch dataset of (image, label) as a table; its images become PNG."""

import hashlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from PIL import Image

from elixir.errors import ElixirError, explaining


class TorchRows:
    """A torch dataset of (image, label) as a table of PNGs and labels; its `targets` and `classes` are used."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.labels = np.fromiter((int(label) for label in self._labels()), np.int64, len(dataset))
        if len(self.labels) and self.labels.min() < 0:
            raise ElixirError("the torch dataset has negative labels; number the classes from 0")
        count = int(self.labels.max(initial=-1)) + 1
        names = [str(name) for name in getattr(dataset, "classes", ())]
        if len(set(names)) != len(names) or len(names) < count:
            names = [str(number) for number in range(count)]
        columns = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
        self.schema = columns.arrow_schema
        self.parts = [("train", len(dataset))]
        self.about: dict[str, str] = {}

    def row(self, index: int) -> pa.Table:
        image = {"bytes": _png(self.dataset[index][0]), "path": None}
        return pa.Table.from_pylist([{"image": image, "label": int(self.labels[index])}], self.schema)

    def column(self, name: str, field: str = "") -> Iterator[pa.Array]:
        yield pa.array(self.labels) if name == "label" else pa.nulls(len(self.labels), pa.string())

    def fingerprint(self) -> str:
        """See `Rows.fingerprint`: labels, and pixels of three images; an ElixirError if one is another each time."""
        digest = hashlib.sha256(self.labels.tobytes())
        for index in {0, len(self.labels) // 2, len(self.labels) - 1}:
            image = _png(self.dataset[index][0])
            if image != _png(self.dataset[index][0]):
                raise ElixirError("the torch dataset gives another image each time; leave out its random transforms")
            digest.update(image)
        return digest.hexdigest()

    def _labels(self) -> Any:
        targets = getattr(self.dataset, "targets", None)
        if targets is not None and len(targets) == len(self.dataset):
            return targets
        return (self.dataset[index][1] for index in range(len(self.dataset)))


def _png(image: Any) -> bytes:
    if not isinstance(image, Image.Image):
        image = Image.fromarray(_pixels(image))
    buffer = BytesIO()
    with explaining(OSError, "the torch dataset gives images that PNG does not hold", "use RGB or grey"):
        image.save(buffer, "PNG")
    return buffer.getvalue()


def _pixels(image: Any) -> np.ndarray:
    """A tensor (c, h, w) or an array (h, w, c) as uint8 (h, w) or (h, w, 3 or 4)."""
    channels_first = hasattr(image, "detach")
    pixels = image.detach().cpu().numpy() if channels_first else np.asarray(image)
    if channels_first and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if 0 in pixels.shape or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        shape = tuple(image.shape)
        raise ElixirError(f"the torch dataset gives images of shape {shape}; use (c, h, w) with 1 to 4 channels")
    if pixels.dtype.kind == "f":
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            raise ElixirError("the torch dataset gives float images outside [0,1]; leave out its normalisation")
        pixels = np.rint(pixels * 255)
    if pixels.min() < 0 or pixels.max() > 255:
        raise ElixirError("the torch dataset gives integer images outside 0..255; scale them to 8 bits")
    return np.ascontiguousarray(pixels.astype(np.uint8))
