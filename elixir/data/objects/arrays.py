"""Arrays of images and of labels, in memory or in an .npz file, as a table; images become PNG."""

import hashlib
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from elixir.data.io import temporary_folder
from elixir.data.objects.samples import CHANNELS, ObjectRows, as_source, is_image, plain_array
from elixir.data.objects.targets import count_of, targets_of
from elixir.data.paths import escape
from elixir.data.tables.find_columns import IMAGE_NAMES, LABEL_NAMES
from elixir.data.tables.table import Choice, TableSource
from elixir.errors import ElixirError, explaining

IMAGES = (*IMAGE_NAMES, "imgs", "data", "x", "arr_0")
"""What arrays of images are called, alone or with the name of a split before or behind: train_images, x_train."""
LABELS = (*LABEL_NAMES, "arr_1")
"""What arrays of labels are called, likewise."""
CLASSES = ("classes", "class_names", "label_names")
"""What an array with the names of the classes is called."""
BLOCK = 64  # images that are hashed at once

_BROKEN = (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)
_GIVE = "give (images, labels), with images (n, h, w), (n, h, w, c) or (n, c, h, w)"


class ArrayRows(ObjectRows):
    """Images (n, h, w), (n, h, w, c) or (n, c, h, w), uint8 or float [0,1], and n labels as a table of PNGs.

    Raises: ElixirError: they are of another shape, or it does not tell where the channels are.
    """

    def __init__(self, images: Any, labels: Any, names: list[str] | None, split: str = "train") -> None:
        self._images = _checked(images)
        targets = targets_of(_one_each(self._images, labels))
        super().__init__(Pairs(self._images, targets, names), Choice(), split)

    def fingerprint(self) -> str:
        """See `Rows.fingerprint`: of all the images, labels and names."""
        images = self._images
        digest = hashlib.sha256(f"{self.classes} {images.shape} {images.dtype.str}".encode() + self.labels.tobytes())
        for start in range(0, len(images), BLOCK):
            digest.update(np.ascontiguousarray(images[start : start + BLOCK]).data)
        return digest.hexdigest()


class Pairs:
    """Images and labels of the same length as a dataset of pairs."""

    def __init__(self, images: Sequence[Any] | np.ndarray, targets: Sequence[Any], classes: list[str] | None) -> None:
        self.images = images
        self.targets = targets
        self.classes = classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.images[index], self.targets[index]


def are_arrays(src: Any) -> bool:
    """Whether an object is a pair of images and labels, rather than a dataset of such pairs."""
    if not isinstance(src, list | tuple) or len(src) != 2:
        return False
    images, labels = src
    if not _is_list(images):
        return hasattr(images, "shape")
    return len(images) > 0 and is_image(images[0]) and not (_is_list(labels) and len(labels) and is_image(labels[0]))


def open_arrays(src: Any, choice: Choice) -> TableSource:
    """A pair of images and labels (see `ArrayRows`; images may also be a list), or a mapping as in an .npz file."""
    if isinstance(src, Mapping):
        return _open_named(src, "the dict", choice)
    images, labels = src
    location = f"{len(images)} images in memory"
    return as_source(_rows(images, labels, None, choice.split_of(["train"], location)), location, choice)


def open_npz(file: Path, choice: Choice) -> TableSource:
    """One split of an .npz file: train_images and train_labels, x_train and y_train, images and labels, and so on.

    Arrays are copied to a temporary folder, to be read from there piece by piece; nothing is unpickled.
    """
    return _open_named(NpzFile(file), escape(str(file)), choice)


class NpzFile(Mapping[str, np.ndarray]):
    """The arrays of an .npz file, each mapped from a temporary folder that is deleted with this object."""

    def __init__(self, file: Path) -> None:
        self.file = file
        with self._explaining(), zipfile.ZipFile(file) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
        self._names = {name.removesuffix(".npy"): name for name in names}
        self._folder = temporary_folder(self)
        self._arrays: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            path = self._folder / f"{len(self._arrays)}.npy"
            with self._explaining(), zipfile.ZipFile(self.file) as archive:
                size, free = archive.getinfo(self._names[name]).file_size, shutil.disk_usage(self._folder).free
                if size > free:
                    needs = f"{size / 1e9:.1f} GB in {self._folder}, which has {free / 1e9:.1f}"
                    raise ElixirError(f"{escape(str(self.file))} needs {needs}; set TMPDIR to a place with more")
                with archive.open(self._names[name]) as member, path.open("wb") as out:
                    shutil.copyfileobj(member, out, 1 << 20)
                self._arrays[name] = np.lib.format.open_memmap(path, "r")
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _explaining(self) -> AbstractContextManager[None]:
        what = f"{escape(str(self.file))} cannot be read as arrays"
        remedy = "write numbers and strings with numpy.savez, images of one size, and no Python objects"
        return explaining(_BROKEN, what, remedy)


def _open_named(arrays: Mapping[Any, Any], location: str, choice: Choice) -> TableSource:
    """Images and labels of one split, found by the names of the arrays."""
    splits: dict[str, dict[str, str]] = {}
    given = [name for name in (choice.image, choice.label) if name]
    listed = escape(", ".join(map(str, arrays)))[:500]
    if wrong := next((name for name in given if name not in arrays), None):
        raise ElixirError(f"{location} has no array {wrong!r} but {listed}")
    if len(given) == 1:
        raise ElixirError(
            f"of {location} only {given[0]!r} is named; name the images with --image and the labels with --label"
        )
    if given:
        splits[_meaning(given[0])[0] or "train"] = dict(zip(("image", "label"), given, strict=True))
    else:
        for name in map(str, arrays):
            split, role = _meaning(name)
            other = splits.setdefault(split, {}).setdefault(role, name)
            if role and other != name:
                what = f"{location} has two arrays of {role}s, {other} and {name}"
                raise ElixirError(f"{what}; name one of each with --image and --label")
    splits = {split: found for split, found in splits.items() if {"image", "label"} <= found.keys()}
    if not splits:
        remedy = "call them images and labels, or name them with --image and --label"
        raise ElixirError(f"{location} has no pair of images and labels but {listed}; {remedy}")
    split = choice.split_of(list(splits), location)
    image, label = splits[split]["image"], splits[split]["label"]
    named = next((name for name in arrays if str(name).lower() in CLASSES), None)
    names = None if named is None else [str(name) for name in targets_of(arrays[named])]
    rows = _rows(arrays[image], arrays[label], names, split)
    rows.held = arrays
    source = as_source(rows, location, Choice())
    if others := [escape(str(name)) for name in arrays if name not in (image, label, named)]:
        source.notes.append(f"arrays that were not looked at and are not in the output: {', '.join(others)}")
    return source


def _meaning(name: str) -> tuple[str, str]:
    """Split ("train" where none is named) and role ("image", "label", or "" for another) of an array."""
    roles = {word: role for role, words in (("image", IMAGES), ("label", LABELS)) for word in words}
    name = name.lower()
    if name in roles:
        return "train", roles[name]
    for word in sorted(roles, key=len, reverse=True):
        for pattern in (rf"(\w+)_{word}", rf"{word}_(\w+)"):
            if found := re.fullmatch(pattern, name):
                return found[1], roles[word]
    return "", ""


def _rows(images: Any, labels: Any, names: list[str] | None, split: str) -> ObjectRows:
    """Images, as one array or a list, and their labels."""
    if _is_list(images):
        return ObjectRows(Pairs(images, _one_each(images, labels), names), Choice(), split)
    if not hasattr(images, "shape"):
        raise ElixirError(f"images are a {type(images).__name__} and no array; {_GIVE}")
    return ArrayRows(images, labels, names, split)


def _checked(images: Any) -> np.ndarray:
    """Images, as an array of numpy. Raises: ElixirError: their shape does not tell where the channels are."""
    images = plain_array(images) if hasattr(images, "detach") else images
    shape = tuple(images.shape)
    first, last = (len(shape) == 4 and shape[axis] in CHANNELS for axis in (1, 3))
    if first and last:
        remedy = "give list(zip(images, labels)) if the last one, after images.transpose(0, 2, 3, 1) if the second"
        raise ElixirError(f"images of shape {shape} do not tell which axis has the channels; {remedy}")
    if not (len(shape) == 3 or first or last):
        raise ElixirError(f"an array of shape {shape} holds no images; {_GIVE}")
    return images


def _one_each(images: Any, labels: Any) -> Any:
    """The labels. Raises: ElixirError: they are not one for each image."""
    count = count_of(labels)
    if count != len(images):
        what = f"a {type(labels).__name__}" if count is None else f"{count} labels"
        raise ElixirError(f"there are {len(images)} images and {what}; give one label for each image")
    return labels


def _is_list(values: Any) -> bool:
    """Whether it is a list of things of their own, which may differ in size, rather than one array of numbers."""
    return isinstance(values, list | tuple) or (isinstance(values, np.ndarray) and values.dtype == object)
