"""How untouched files get into an output: as copies of those of the input, or as links to them."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from elixir.data.io import RUN_FOLDER, clone, copy, reason, writing
from elixir.data.paths import escape
from elixir.errors import ElixirError

Link = Literal["hard", "symbolic"]
LINKS: tuple[Link, ...] = get_args(Link)


@dataclass(frozen=True)
class Placing:
    """Puts untouched files into an output.

    Args:
        folder: the output.
        link: kind of the links, None for copies.
        origins: the file to link to for each one of the source, where the source lies in a folder that is going to be
            removed; what is not among them is copied. None if the source's files themselves are meant.
    """

    folder: Path
    link: Link | None = None
    origins: Mapping[Path, Path] | None = None

    def put(self, source: Path, path: Path) -> None:
        """Put a file of the source at a path of the output that is not there yet, links followed; makes the folder."""
        origin = source if self.origins is None else self.origins.get(source)
        if self.link is None or origin is None:
            copy(source, path, self.folder / RUN_FOLDER / "partial")
            return
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _link(self.link, origin, path)  # never under a temporary name, where what is written next would go through


def tried_placing(
    folder: Path, link: Link, files: Iterable[Path], origins: Mapping[Path, Path] | None = None
) -> Placing:
    """What links the files of a source into an output, after it was tried with every kind of file that there is.

    Where all of them can be cloned, copies take no more space than hard links, and do not change with the input: then
    it copies.

    Args:
        folder: the output, with a run folder.
        files: of the source; those that cannot be read do not matter.

    Raises: ElixirError: the file system, or another owner of the files, does not allow it.
    """
    trial = folder / RUN_FOLDER / "trial"
    kinds = _one_of_each(files if origins is None else origins.values())
    if link == "hard" and kinds and all(_can_clone(file, trial) for file in kinds):
        return Placing(folder)
    for file in kinds:
        try:
            _link(link, file, trial)
            trial.unlink()
        except OSError as error:
            what = f"{escape(str(file))} cannot have a {link} link: {reason(error)}"
            other = "a folder on the file system of the input, or --symlink," if link == "hard" else "another folder"
            raise ElixirError(f"{what}; give {other} or leave out the option to have copies") from error
    return Placing(folder, link, origins)


def _link(link: Link, file: Path, path: Path) -> None:
    if link == "symbolic":
        path.symlink_to(os.path.realpath(file))  # a link to a link would break with that
    else:
        os.link(os.path.realpath(file) if file.is_symlink() else file, path)


def _can_clone(file: Path, trial: Path) -> bool:
    with file.open("rb") as source, trial.open("wb") as new:
        cloned = clone(source, new)
    trial.unlink()
    return cloned


def _one_of_each(files: Iterable[Path]) -> list[Path]:
    """A readable file of every file system, owner and mode, which decide whether one may link to it."""
    found: dict[tuple[int, ...], Path] = {}
    for file in files:
        with suppress(OSError):
            state = file.stat()
            found.setdefault((state.st_dev, state.st_uid, state.st_gid, state.st_mode), file)
    return [file for file in found.values() if os.access(file, os.R_OK)]
