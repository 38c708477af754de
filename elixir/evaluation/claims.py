"""Notes of what a folder or a file is for, so that nothing of another experiment is taken for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elixir.data.io import read_json, replace_json
from elixir.errors import ElixirError

PLACES = ("train", "test")  # the same datasets may lie elsewhere


def agree(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two notes say the same of all that both tell; older ones tell less."""
    return all(one[key] == other[key] for key in one.keys() & other.keys())


def claim(folder: Path, note: str, about: dict[str, Any]) -> None:
    """Make a folder with a note of what it is for, or refuse one that is for something else.

    Raises:
        ElixirError: the folder has another note, or none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        replace_json(folder / note, about)
    read_own(folder / note, about, f"remove {folder}, and run the same command again")


def read_own(path: Path, about: dict[str, Any], remedy: str) -> dict[str, Any]:
    """Read a JSON file that is about this.

    Args:
        path: of the file.
        about: what it must hold.
        remedy: what to do if it is damaged, for the message.

    Raises:
        ElixirError: it is missing, damaged, or about something else.
    """
    known = read_json(path, remedy)
    if other := [key for key, value in about.items() if key not in PLACES and known.get(key) != value]:
        facts = ", ".join(other)
        raise ElixirError(f"{path} belongs to another experiment (other {facts}); choose another output folder")
    return known
