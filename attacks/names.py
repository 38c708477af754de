"""File names for poisoned samples that move to another class folder."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from elixir.data.folder import FolderSource
from elixir.data.paths import folded
from elixir.randomness import generator

NUMBERED = re.compile(r"([^\\]*?)([0-9]{1,9})", re.DOTALL)


def renamed(source: FolderSource, moved: Mapping[int, int], seed: int) -> FolderSource:
    """The same source, where samples that move are called like those of their new class and like none of them.

    A name is that of a random sample of the class with another number at its end. A sample keeps its own name where
    none of the class ends with a number. The extension is not disguised: it stays what the file is.

    Args:
        source: a folder.
        moved: new label of every sample that changes its class.
        seed: of the names.
    """
    view = copy.copy(source)
    view.samples = list(source.samples)
    names = {label: _Names(source, label, seed) for label in set(moved.values())}
    for index, label in sorted(moved.items()):
        sample = source.samples[index]
        if names[label].patterns:
            name = names[label].free(sample.id)
            view.samples[index] = replace(sample, name=str(name) + PurePosixPath(sample.name).suffix)
    return view


class _Names:
    """The numbered names of one class, and free ones like them."""

    def __init__(self, source: FolderSource, label: int, seed: int) -> None:
        own = [PurePosixPath(sample.name) for sample in source.samples if sample.label == label]
        self.patterns = [(path.parent, *match.groups()) for path in own if (match := NUMBERED.fullmatch(path.stem))]
        self._taken = {folded(str(path.with_suffix(""))) for path in own}
        self._seed = seed
        self._largest: dict[tuple[PurePosixPath, str], int] = {}
        for parent, prefix, digits in self.patterns:
            self._largest[parent, prefix] = max(int(digits), self._largest.get((parent, prefix), 0))

    def free(self, sample_id: str) -> PurePosixPath:
        random = generator(self._seed, sample_id, "name")
        parent, prefix, digits = self.patterns[random.integers(len(self.patterns))]
        beyond = self._largest[parent, prefix] + 2
        while True:
            path = parent / f"{prefix}{random.integers(beyond):0{len(digits)}d}"
            if folded(str(path)) not in self._taken:
                self._taken.add(folded(str(path)))
                return path
            beyond += 1
