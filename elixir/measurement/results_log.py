"""Results of long work while it goes on: nothing that is finished is lost when the process is killed."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elixir.data.io import writing
from elixir.data.workdir import refuse_other_settings
from elixir.errors import explaining


class ResultsLog:
    """A file of JSON lines: the settings, then one line for every entry; `entries` has them in this order.

    Begun when missing; a half-written last line is cut off. An ElixirError if it has other settings or is damaged.
    """

    def __init__(self, path: Path, settings: Mapping[str, object]) -> None:
        self._path = path
        with writing(path):
            path.touch()
            content = path.read_bytes()
            end = content.rfind(b"\n") + 1
            os.truncate(path, end)
        self.entries: list[dict[str, Any]] = []
        if not end:
            self._append(settings)
            return
        with explaining((TypeError, ValueError), f"{path} is damaged", "remove it to begin anew"):
            begun, *self.entries = [dict(json.loads(line)) for line in content[:end].splitlines()]
        refuse_other_settings(begun, settings, f"{path} was begun with other settings", "choose another output folder")

    def add(self, entry: dict[str, Any]) -> None:
        self.entries.append(entry)
        self._append(entry)

    def remove(self) -> None:
        """Delete the file, when its entries are safe elsewhere."""
        self._path.unlink()

    def _append(self, entry: Mapping[str, object]) -> None:
        with writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
