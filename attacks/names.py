"""File names for poisoned samples that move to the target's class folder."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePosixPath

from elixir.data.folder import FolderSource
from elixir.data.names import folded
from elixir.randomness import generator

NUMBERED = re.compile(r"([^\\]*?)([0-9]{1,9})", re.DOTALL)


def renamed(source: FolderSource, indices: Iterable[int], target: int, seed: int) -> FolderSource:
    """The same source, where the given samples are called like those of the target class and like none of them.

    A name is that of a random sample of the class with another number at its end. A sample keeps its own name where
    none of the class ends with a number. The extension is not disguised: it stays what the file is.
    """
    own = [PurePosixPath(sample.name) for sample in source.samples if sample.label == target]
    taken = {folded(str(path.with_suffix(""))) for path in own}
    patterns = [(path.parent, *match.groups()) for path in own if (match := NUMBERED.fullmatch(path.stem))]
    largest: dict[tuple[PurePosixPath, str], int] = {}
    for parent, prefix, digits in patterns:
        largest[parent, prefix] = max(int(digits), largest.get((parent, prefix), 0))

    def free_name(sample_id: str) -> PurePosixPath:
        random = generator(seed, sample_id, "name")
        parent, prefix, digits = patterns[random.integers(len(patterns))]
        beyond = largest[parent, prefix] + 2
        while True:
            path = parent / f"{prefix}{random.integers(beyond):0{len(digits)}d}"
            if folded(str(path)) not in taken:
                taken.add(folded(str(path)))
                return path
            beyond += 1

    view = copy.copy(source)
    view.samples = list(source.samples)
    for index in indices if patterns else ():
        sample = source.samples[index]
        if sample.label != target:
            view.samples[index] = replace(sample, name=str(free_name(sample.id)) + PurePosixPath(sample.name).suffix)
    return view
