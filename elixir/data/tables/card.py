"""The dataset card: what the README.md beside parquet files tells `datasets` of their splits and sizes."""

import json
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from datasets.data_files import sanitize_patterns
from datasets.utils.metadata import MetadataConfigs
from fsspec.utils import glob_translate
from huggingface_hub.repocard import metadata_load, metadata_save
from yaml import YAMLError

from elixir.data.io import replacing
from elixir.data.paths import escape
from elixir.errors import ElixirError, explaining

CARD = "README.md"
INFOS = "dataset_infos.json"
"""Where old versions of `datasets` kept the figures that are in the card today."""

_FIGURES = ("download_size", "dataset_size", "size_in_bytes")
_MEND = "mend it, or give the parquet files with a pattern"


class Card:
    """The facts at the head of a README.md; none where there is none, or `datasets` could not read it either."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.facts: dict[str, Any] = {}
        if file.is_file():
            try:
                self.facts = metadata_load(str(file)) or {}
            except (OSError, ValueError, YAMLError, RecursionError):
                return

    def configurations(self) -> dict[str, dict[str, Any]]:
        """What `configs` says of each, by name. Raises: ElixirError: it is not of the form that `datasets` reads."""
        with explaining((ValueError, TypeError, AttributeError), f"{self._shown} has configs of no valid form", _MEND):
            given = self.facts.get("configs") or []
            plain = [{key: value for key, value in each.items() if key != "features"} for each in given]
            return dict(MetadataConfigs.from_dataset_card_data({"configs": plain}))  # type: ignore[arg-type]

    def files_of(self, name: str, paths: list[str]) -> dict[str, list[str]] | None:
        """Which of some paths belong to each split of a configuration; None where the card does not say.

        Raises: ElixirError: a split has no files among them, a file is of two, or a pattern leads elsewhere.
        """
        patterns = self.configurations()[name].get("data_files")
        if not patterns:
            return None
        splits: dict[str, list[str]] = {}
        with explaining((ValueError, TypeError, re.error), f"{self._shown} has data_files of no valid form", _MEND):
            for split, each in sanitize_patterns(patterns).items():
                matches = [self._matching(f"{self.folder_of(name)}/{pattern}") for pattern in each]
                splits[split] = [path for path in paths if any(match(path) for match in matches)]
                if not splits[split]:
                    found = f"{self._shown} gives the split {split!r} the files {', '.join(map(str, each))}"
                    raise ElixirError(f"{found}, but there is no such parquet file; {_MEND}")
        every = [path for found in splits.values() for path in found]
        if len(set(every)) < len(every):
            twice = next(path for path in every if every.count(path) > 1)
            raise ElixirError(f"{self._shown} has {escape(twice)} in two splits; {_MEND}")
        return splits

    def folder_of(self, name: str) -> str:
        """The folder that a configuration is confined to, relative to that of the card."""
        return str(self.configurations()[name].get("data_dir") or ".")

    def tells(self, files: dict[str, list[str]]) -> bool | None:
        """Whether the only configuration has just these files of each split; None if it does not say."""
        for name in self.configurations():
            with suppress(ElixirError):
                told = self.files_of(name, [path for paths in files.values() for path in paths])
                return None if told is None else told == files
            return False
        return None

    def corrected(self, split: str, rows: int | None, patterns: dict[str, list[str]] | None) -> dict[str, Any]:
        """The facts where a split has so many `rows` now, and `patterns` match the files of each split; None: as ever.

        Sizes in bytes are left out then.
        """
        facts = dict(self.facts)
        if rows is not None and "dataset_info" in facts:
            facts["dataset_info"] = self._infos_with_rows(facts["dataset_info"], split, rows)
        if patterns is not None:
            given = facts.get("configs") or [{"config_name": "default"}]
            files = [{"split": name, "path": each} for name, each in patterns.items()]
            kept = {key: value for key, value in given[0].items() if key not in ("data_files", "data_dir")}
            facts["configs"] = [{**kept, "data_files": files}]
        return facts

    def write(self, facts: dict[str, Any], path: Path) -> None:
        """Write a copy with other facts and the same text."""
        with replacing(path, path.with_name(f"{CARD}.partial")) as partial:
            if self.file.is_file():
                shutil.copyfile(self.file, partial)
            metadata_save(str(partial), facts)

    def _infos_with_rows(self, infos: Any, split: str, rows: int) -> Any:
        """One description, or the only one of a list, or that of this configuration among several."""
        if not isinstance(infos, list):
            return _with_rows(infos, split, rows)
        name = next(iter(self.configurations()), "default")
        return [
            _with_rows(each, split, rows)
            if len(infos) == 1 or (isinstance(each, dict) and each.get("config_name", "default") == name)
            else each
            for each in infos
        ]

    @property
    def _shown(self) -> str:
        return escape(str(self.file))

    def _matching(self, pattern: str) -> Callable[[str], Any]:
        """What a plain pattern of paths below the card matches."""
        parts = pattern.split("/")
        if ".." in parts or "" in parts:  # that of an absolute path or an address
            raise ElixirError(f"{self._shown} names {pattern[2:]!r}, which is no file beside it; {_MEND}")
        return re.compile(glob_translate("/".join(part for part in parts if part != "."))).match


def corrected_infos(content: bytes, split: str, rows: int) -> bytes | None:
    """What `INFOS` holds where a split has so many rows now; None if nothing changes or it is not understood."""
    try:
        infos = json.loads(content)
        changed = {name: _with_rows(info, split, rows) for name, info in infos.items()}
    except (ValueError, AttributeError, RecursionError):
        return None
    return None if changed == infos else json.dumps(changed).encode()


def _with_rows(info: Any, split: str, rows: int) -> Any:
    """A description of a dataset with the rows of a split, and without sizes in bytes."""
    splits = info.get("splits") if isinstance(info, dict) else None
    if not isinstance(splits, dict | list):
        return info
    listed = list(splits.values() if isinstance(splits, dict) else splits)
    if not all(isinstance(each, dict) for each in listed):
        return info
    new = [{key: value for key, value in each.items() if key != "num_bytes"} for each in listed]
    new = [{**each, "num_examples": rows} if each.get("name") == split else each for each in new]
    kept = {key: value for key, value in info.items() if key not in _FIGURES}
    return {**kept, "splits": dict(zip(splits, new, strict=True)) if isinstance(splits, dict) else new}
