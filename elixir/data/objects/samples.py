"""A torch dataset, or any other object of samples with images and labels, as a table; its images become PNG."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from PIL import Image

from elixir.data.objects.targets import Target, class_names, count_of, numbered, target_of, targets_of
from elixir.data.tables.find_columns import IMAGE_NAMES, LABEL_NAMES
from elixir.data.tables.table import Choice, TableSource
from elixir.errors import ElixirError, explaining

CHANNELS = (1, 3, 4)
CHECKED = 16  # samples, evenly spread, that tell whether images stay the same and attributes hold the labels

_TARGETS = ("targets", "labels", "_labels", "y")  # attributes where torch datasets keep their labels
_PAIRS = ("samples", "_samples")  # those of pairs of a file and its label
_FILES = ("_image_files",)  # those of files alone
_WANTED = "give pairs of an image (PIL, tensor or array) and the number or name of its class, or (images, labels)"


class ObjectRows:
    """A dataset of samples, each a pair or a dict, as a table of PNGs and labels.

    Labels are taken from attributes of the dataset, or of what `Subset` and `ConcatDataset` of torch wrap, where some
    samples confirm them, else from all of its samples. A sample that contradicts them later is an ElixirError.

    Attributes:
        image: column of the images: "image", or their key in a dict.
        label: column of the labels, likewise.
        notes: sentences for people, see `Source`.
        held: what has to live as long as the rows, such as temporary files.
    """

    held: Any = None

    def __init__(self, dataset: Any, choice: Choice, split: str = "train") -> None:
        if not len(dataset):
            raise ElixirError("the dataset has no samples; check that this is the right one")
        self.dataset = dataset
        first = _get(dataset, 0)
        self._places, self.notes = _layout(first, choice)
        _png(first[self._places[0]])
        self._targets = self._find_targets()
        if self.notes and len(set(self._targets)) == len(dataset) > 2 and not isinstance(first, Mapping):
            what = "the second part of each sample is another one each time, as numbers of samples are"
            raise ElixirError(f"{what}; {_WANTED}")
        self.labels, self.classes, notes = numbered(self._targets, self._find_names())
        self.notes += notes
        self.image, self.label = ("image", "label") if 0 in self._places else self._places
        names = datasets.ClassLabel(names=self.classes)
        self.schema = datasets.Features({self.image: datasets.Image(), self.label: names}).arrow_schema
        self.parts = [(split, len(dataset))]
        self.about: dict[str, str] = {}

    def row(self, index: int) -> pa.Table:
        image, target = self._sample(index)
        stored = self._targets[index]
        if target is not None and target != stored:
            remedy = "set its attribute `targets` to the labels that it gives"
            raise ElixirError(f"dataset[{index}] has the label {target!r}, which is {stored!r} elsewhere; {remedy}")
        value = {self.image: {"bytes": _png(image), "path": None}, self.label: int(self.labels[index])}
        return pa.Table.from_pylist([value], self.schema)

    def column(self, name: str, field: str = "") -> Iterator[pa.Array]:
        yield pa.array(self.labels) if name == self.label else pa.nulls(len(self.labels), pa.string())

    def fingerprint(self) -> str:
        """See `Rows.fingerprint`: labels, and pixels of some images; an ElixirError if one is another each time."""
        digest = hashlib.sha256(repr(self.classes).encode() + self.labels.tobytes())
        for index in _spread(len(self.labels)):
            image = _png(self._sample(index)[0])
            if image != _png(self._sample(index)[0]):
                raise ElixirError("the dataset gives another image each time; leave out its random transforms")
            digest.update(image)
        return digest.hexdigest()

    def _sample(self, index: int) -> tuple[Any, Target]:
        return _parted(_get(self.dataset, index), self._places, index)

    def _find_targets(self) -> list[Target]:
        some = {index: self._sample(index)[1] for index in _spread(len(self.dataset))}
        for targets in _stored_targets(self.dataset):
            if all(target in (None, targets[index]) for index, target in some.items()):
                self._confirmed = True
                return targets
        self._confirmed = False
        return [self._sample(index)[1] for index in range(len(self.dataset))]

    def _find_names(self) -> list[str] | None:
        """The names of the classes; None where labels are not those that the names are of."""
        names = _names(self.dataset)
        for index in _spread(len(self.dataset)):
            named, place = _named_sample(self.dataset, index)
            if not self._confirmed and getattr(named, "target_transform", None) is not None:
                return None
            if named is not self.dataset:
                sample = _get(named, place)
                if _parted(sample, self._places, place)[1] not in (None, self._targets[index]):
                    return None
        return names


def open_objects(src: Any, choice: Choice) -> TableSource:
    """A dataset with a length and samples by their index; images as PIL, tensors (c, h, w) or arrays (h, w, c)."""
    location = f"{type(src).__name__} of {len(src)} images"
    return as_source(ObjectRows(src, choice, choice.split_of(["train"], location)), location, choice)


def as_source(rows: ObjectRows, location: str, choice: Choice) -> TableSource:
    """Rows with their notes."""
    source = TableSource.of(rows, "hf", location, choice, rows.parts[0][0])
    source.notes += rows.notes
    return source


def is_image(value: Any) -> bool:
    """Whether a value is an image by its type and number of dimensions."""
    return isinstance(value, Image.Image) or len(getattr(value, "shape", ())) in (2, 3)


def image_files(dataset: Any) -> Iterator[Any]:
    """The files that the attributes of a dataset, or of those in it, name; other values may be among them."""
    for attribute in _PAIRS:
        pairs = getattr(dataset, attribute, None)
        yield from (pair[0] for pair in pairs if isinstance(pair, tuple)) if isinstance(pairs, list) else ()
    for attribute in _FILES:
        files = getattr(dataset, attribute, None)
        yield from files if isinstance(files, list) else ()
    for inner, _ in _wrapped(dataset):
        yield from image_files(inner)


def _get(dataset: Any, index: int) -> Any:
    try:
        return dataset[index]
    except Exception as error:  # it is anybody's code
        what = f"dataset[{index}] cannot be read: {type(error).__name__}: {error}"
        raise ElixirError(f"{what}; mend it, or leave it out with torch.utils.data.Subset") from error


def _layout(sample: Any, choice: Choice) -> tuple[tuple[Any, Any], list[str]]:
    """Where image and label are in each sample, told by the first one, and notes about the rest of it."""
    if isinstance(sample, Mapping):
        image, label = _key(sample, choice.image, IMAGE_NAMES), _key(sample, choice.label, LABEL_NAMES)
        others = ", ".join(str(key) for key in sample if key not in (image, label))
        note = f"of each sample, {image!r} and {label!r} are read; not looked at and not in the output: {others}"
        return (image, label), [note] if others else []
    if not isinstance(sample, list | tuple) or len(sample) < 2:
        raise ElixirError(f"dataset[0] is one {type(sample).__name__} and not an image and a label; {_WANTED}")
    if not is_image(sample[0]):
        shape = f" of shape {tuple(sample[0].shape)}" if hasattr(sample[0], "shape") else ""
        raise ElixirError(f"dataset[0] begins with a {type(sample[0]).__name__}{shape}, which is no image; {_WANTED}")
    if is_image(sample[1]) and math.prod(np.shape(sample[1])) != 1:
        raise ElixirError(f"dataset[0] holds two images, such as a picture and its mask, and no label; {_WANTED}")
    note = f"samples have {len(sample)} parts: the first is read as the image and the second as the label"
    return (0, 1), [f"{note}; the others are not looked at and not in the output"] if len(sample) > 2 else []


def _key(sample: Mapping[Any, Any], given: str | None, known: tuple[str, ...]) -> str:
    what, option = ("images", "image") if known is IMAGE_NAMES else ("labels", "label")
    key = given or next((name for name in known if name in sample), None)
    if key is None or key not in sample:
        keys = ", ".join(map(str, sample))
        raise ElixirError(f"cannot tell which part of the samples has the {what}; name it with {option}=: {keys}")
    return key


def _parted(sample: Any, places: tuple[Any, Any], index: int) -> tuple[Any, Target]:
    """Image and label of a sample."""
    try:
        image, label = (sample[place] for place in places)
    except (LookupError, TypeError) as error:
        raise ElixirError(f"dataset[{index}] has no part {error}, as dataset[0] has; {_WANTED}") from error
    try:
        return image, target_of(label)
    except ElixirError as error:
        raise ElixirError(f"dataset[{index}]: {error}") from error


def _spread(count: int) -> list[int]:
    """The indices of some samples, the first and the last among them."""
    return sorted({place * (count - 1) // max(1, CHECKED - 1) for place in range(CHECKED)})


def _wrapped(dataset: Any) -> list[tuple[Any, Sequence[int]]]:
    """What a wrapper as in torch is made of, in order: datasets, and which of their samples."""
    inner, indices, parts = (getattr(dataset, name, None) for name in ("dataset", "indices", "datasets"))
    if indices is not None and hasattr(inner, "__len__") and count_of(indices) == len(dataset):
        return [(inner, [int(index) for index in indices])]
    if isinstance(parts, list | tuple) and all(hasattr(part, "__len__") for part in parts):
        found: list[tuple[Any, Sequence[int]]] = [(part, range(len(part))) for part in parts]
        return found if sum(len(part) for part in parts) == len(dataset) else []
    return []


def _stored_targets(dataset: Any) -> Iterator[list[Target]]:
    """What attributes of a dataset, or of those in it, say of the labels."""
    for attribute in (*_TARGETS, *_PAIRS):
        values: Any = getattr(dataset, attribute, None)
        if count_of(values) == len(dataset):
            try:
                yield targets_of([value[1] for value in values] if attribute in _PAIRS else values)
            except (ElixirError, LookupError, TypeError):  # they are something else
                continue
    parts = [(next(_stored_targets(inner), None), indices) for inner, indices in _wrapped(dataset)]
    if parts and all(targets is not None for targets, _ in parts):
        yield [targets[index] for targets, indices in parts if targets for index in indices]


def _names(dataset: Any) -> list[str] | None:
    """The names of the classes, its own or else those of the datasets in it. Raises: ElixirError: those differ."""
    names = class_names(dataset)
    if names is not None:
        return names
    for inner, _ in _wrapped(dataset):
        more = _names(inner)
        if names is not None and more is not None and names != more:
            one, other = (", ".join(some[:5])[:80] for some in (names, more))
            what = f"the datasets in the {type(dataset).__name__} have other classes: {one} and {other}"
            raise ElixirError(f"{what}; clean them one by one, or set its attribute `classes` to what labels mean")
        names = names or more
    return names


def _named_sample(dataset: Any, index: int) -> tuple[Any, int]:
    """The dataset that names the class of a sample, this or one in it, and its index there."""
    if class_names(dataset) is None:
        for inner, indices in _wrapped(dataset):
            if index < len(indices):
                return _named_sample(inner, indices[index])
            index -= len(indices)
    return dataset, index


def _png(image: Any) -> bytes:
    if not isinstance(image, Image.Image):
        image = Image.fromarray(_pixels(image))
    buffer = BytesIO()
    with explaining(OSError, "the dataset gives images that PNG does not hold", "use RGB or grey"):
        image.save(buffer, "PNG")
    return buffer.getvalue()


def _pixels(image: Any) -> np.ndarray:
    """A tensor (c, h, w) or an array (h, w, c), or the other way round if they cannot be that, as uint8 (h, w[, c])."""
    tensor = hasattr(image, "detach")
    pixels = plain_array(image)
    if pixels.ndim == 3 and pixels.shape[0] in CHANNELS and (tensor or pixels.shape[2] not in CHANNELS):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if 0 in pixels.shape or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in CHANNELS):
        shape = tuple(image.shape)
        raise ElixirError(
            f"the dataset gives images of shape {shape}; use (h, w), or (c, h, w) with 1, 3 or 4 channels"
        )
    if pixels.dtype.kind not in "biuf":
        raise ElixirError(f"the dataset gives images of {pixels.dtype}; use 8-bit integers or floats in [0,1]")
    if pixels.dtype.kind in "bf":
        if not (pixels.min() >= 0 and pixels.max() <= 1):
            remedy = "leave out its normalisation, or divide 0..255 by 255"
            raise ElixirError(f"the dataset gives float images outside [0,1]; {remedy}")
        pixels = np.rint(pixels * 255.0)
    if pixels.min() < 0 or pixels.max() > 255:
        raise ElixirError("the dataset gives integer images outside 0..255; scale them to 8 bits")
    return np.ascontiguousarray(pixels.astype(np.uint8))


def plain_array(values: Any) -> np.ndarray:
    """A tensor, or any other array, as numpy's."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values  # numpy has no bfloat16
    return np.asarray(values)
