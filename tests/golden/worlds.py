"""Groups of pictures and sets of stand-ins that several scenarios share."""

from __future__ import annotations

from golden.pictures import Picture
from golden.readers import Reader

DOUBTING = Reader(plain=(0.9, 0.05, 0.05))
SURE = Reader(plain=(0.96, 0.02, 0.02))


def right(each: int, labels: tuple[int, ...] = (0, 1, 2), **traits: int) -> list[Picture]:
    """So many pictures of every label that are what it says."""
    return [Picture(label, label, traits=traits) for label in labels for _ in range(each)]


def foreign(count: int, label: int = 0, **traits: int) -> list[Picture]:
    """Pictures of the two other classes with a label that is not theirs."""
    return [Picture(label, (label + 1 + at % 2) % 3, traits=traits) for at in range(count)]


def readers(reference: Reader, **others: Reader) -> dict[str, Reader]:
    """Models that name colours, but for the reference model and those that are given."""
    return {"reference": reference, "crossfit": DOUBTING, "holdout": SURE, "clean": SURE} | others
