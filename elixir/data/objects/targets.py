"""Labels as Python objects hold them, such as numbers, names, and arrays of one, and the names of their classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from elixir.errors import ElixirError

Target = int | str | None
"""The number or the name of a class, or None for no label."""
MOST_CLASSES = 1 << 20
"""So many a dataset may have; larger labels are identifiers, or missing values such as 2**31 - 1."""
UNNAMED = "class names are not known; labels are called by their numbers"

_NAMES = ("classes", "categories", "class_names")  # where torch datasets keep the names of their classes
_NO_CLASS = "give the number or the name of its class"


def target_of(value: Any) -> Target:
    """What a label says: whole floats, booleans, and arrays or lists of one count as what they hold.

    None, -1, NaN and blank text are no label.

    Raises: ElixirError: it is none or several, such as a one-hot vector; with what to give instead.
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        if len(value) == 1:
            return target_of(value[0])
        raise ElixirError(_several(np.asarray(value, object)))
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        return value if value.strip() else None
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, bool | int) or (isinstance(value, float) and value.is_integer()):
        return None if value == -1 else int(value)
    if isinstance(value, float):
        raise ElixirError(f"the label {value} is no whole number; {_NO_CLASS}")
    raise ElixirError(f"a label of type {type(value).__name__} is no class; {_NO_CLASS}")


def targets_of(values: Any) -> list[Target]:
    """Each of a list, a tensor or an array, (n,) or (n, 1); see `target_of`."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    if isinstance(values, np.ndarray) and values.ndim == 2 and values.shape[1] != 1 and len(values):
        raise ElixirError(_several(values))
    return [target_of(value) for value in values]


def count_of(values: Any) -> int | None:
    """How many targets a list or an array holds, None for what is neither."""
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__iter__"):
        return None
    try:
        return len(values)
    except TypeError:  # an array without dimensions, or an iterator
        return None


def _several(values: np.ndarray) -> str:
    """What is wrong with a row of values, or rows of them, where one label each is wanted."""
    shape = tuple(values.shape)
    if values.dtype == object:
        values = np.array([value if isinstance(value, bool | int | float) else -1 for value in values.flat])
        values = values.reshape(shape)
    if shape[-1] > 1 and np.isin(values, (0, 1)).all() and (values.sum(-1) == 1).all():
        return f"labels of shape {shape} are one-hot; give their numbers, labels.argmax(-1)"
    return f"labels of shape {shape} are not one for each image; give the one class of each"


def numbered(targets: list[Target], names: list[str] | None) -> tuple[np.ndarray, list[str], list[str]]:
    """Number the classes of some targets.

    Args:
        targets: see `target_of`.
        names: those of the classes in their order, None where they are not known.

    Returns int64 (n,) labels, -1 for none; the names of the classes; and sentences about them for people.

    Raises: ElixirError: labels are negative, far too large, or both numbers and names.
    """
    found = set(targets) - {None}
    texts = {target for target in found if isinstance(target, str)}
    if texts and len(texts) < len(found):
        some, other = sorted(texts)[0], next(iter(found - texts))
        raise ElixirError(f"labels are both names, such as {some[:80]!r}, and numbers, such as {other}; give one kind")
    known = names if names and len(set(names)) == len(names) else None
    notes = []
    if texts:
        known = known if known and texts <= set(known) else sorted(texts)
        places = {name: place for place, name in enumerate(known)}
        labels = np.array([-1 if target is None else places[str(target)] for target in targets], np.int64)
    else:
        if bad := next((target for target in found if not 0 <= int(target or 0) < MOST_CLASSES), None):
            raise ElixirError(f"the label {bad} is no class; number the classes from 0, and give -1 for no label")
        labels = np.array([-1 if target is None else target for target in targets], np.int64)
        count = int(labels.max(initial=-1)) + 1
        if not (count or known):
            raise ElixirError("no image has a label (-1 and None stand for none); give some of them labels")
        if known is None or len(known) < count:
            misfit = f"{len(names or ())} class names, not all different, do not fit {count} classes"
            notes.append(f"{misfit}; labels are called by their numbers" if names else UNNAMED)
            known = [str(number) for number in range(count)]
    return labels, known, notes


def class_names(dataset: Any) -> list[str] | None:
    """What a dataset calls its classes, in their order; None if it does not say."""
    places = getattr(dataset, "class_to_idx", None)
    if isinstance(places, Mapping) and set(places.values()) == set(range(len(places))):
        return [_name(name) for name in sorted(places, key=places.__getitem__)]
    for attribute in _NAMES:
        names = getattr(dataset, attribute, None)
        if isinstance(names, list | tuple | np.ndarray) and len(names):
            return [_name(name) for name in names]
    info = getattr(dataset, "info", None)  # of medical benchmark sets: {"label": {"0": "adipose", ...}}
    names = info.get("label") if isinstance(info, Mapping) else None
    if isinstance(names, Mapping) and set(names) == {str(number) for number in range(len(names))}:
        return [_name(names[str(number)]) for number in range(len(names))]
    return None


def _name(name: Any) -> str:
    """Some sets have several synonyms for a class."""
    return ", ".join(map(str, name)) if isinstance(name, tuple) else str(name)
