"""Lists of images: which column names files, which one labels, and which file of a tree each row means."""

import math
import posixpath
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from elixir.data.files.layout import split_of
from elixir.data.files.lists import ListFile, read_list, shown
from elixir.data.paths import escape, printable
from elixir.data.tables.find_columns import LABEL_NAMES
from elixir.errors import ElixirError

FILE_NAMES = (
    *("file_name", "filename", "file", "path", "filepath", "file_path", "filepaths"),
    *("image", "image_path", "image_file", "image_filename", "image_name", "imagename", "img", "img_path", "img_name"),
    *("image_id", "img_id", "imageid", "id", "name"),
)
"""Columns that are taken for the paths of images, first of all, where several are possible; in lower case."""
LABELS = (
    *LABEL_NAMES,
    *("label_name", "class_name", "class_label", "label_id", "class_id", "category_name"),
    *("species", "breed", "dx", "diagnosis", "emotion"),
)
"""Columns that are taken for the labels, first of all, likewise."""
MOST = 0.5  # share of the rows that must name files, from which on a column is one of paths
LOOKED_AT = 1000  # rows from which columns are told

NO_FILE = "no such file"
OUTSIDE = "the path leaves the folder of the list"

How = Literal["path", "name", "stem"]
"""What a list calls a file: path from its own folder, name (perhaps with folders above), or that without ending."""
HOWS: tuple[How, ...] = ("path", "name", "stem")


@dataclass
class Meaning:
    """Which file each row means: its path, None where there is none, and then why; both None for a row without text."""

    how: How
    files: list[str | None]
    problems: list[str | None]

    @property
    def found(self) -> int:
        return sum(file is not None for file in self.files)


class Files:
    """The files of a tree by what a list may call them.

    Args:
        images: paths of all images.
        others: those of other files, which only count where a list has their whole path.
    """

    def __init__(self, images: Iterable[str], others: Iterable[str] = ()) -> None:
        self.images = list(images)
        self._paths = {_plain(path): path for path in others} | {_plain(path): path for path in self.images}
        self._names: dict[str, list[str]] = defaultdict(list)
        self._stems: dict[str, list[str]] = defaultdict(list)
        for path in self.images:
            self._names[_plain(_name(path))].append(path)
            self._stems[_plain(_name(without_ending(path)))].append(path)

    def meant(self, values: Sequence[str | None], place: str, within: str = "") -> Meaning:
        """The file that each value of the list at `place` means, all in the way in which most of them mean one.

        Of several files with one name that counts which lies `within` a folder ("train/", say), or where a folder tells
        the same split as the name of the list.
        """
        folder = place.rpartition("/")[0]
        ways: list[tuple[How, list[list[str]]]] = []
        for how in HOWS:
            ways.append((how, [self._candidates(how, value, folder) for value in values]))
            if sum(map(bool, ways[-1][1])) > MOST * len(values):
                break
        how, found = max(ways, key=lambda way: sum(map(bool, way[1])))
        split = split_of(PurePosixPath(place).stem)
        files: list[str | None] = []
        problems: list[str | None] = []
        for value, candidates in zip(values, found, strict=True):
            candidates = _narrowed(candidates, within, split)
            files.append(candidates[0] if len(candidates) == 1 else None)
            problems.append(None if len(candidates) == 1 or value is None else _problem(value, candidates, folder))
        self._refuse_unclear(found, files, place)
        return Meaning(how, files, problems)

    def _candidates(self, how: How, value: str | None, folder: str) -> list[str]:
        if value is None or _leaves(value, folder):
            return []
        for text in dict.fromkeys((value, value.replace("\\", "/"))):
            if how == "path":
                path = self._paths.get(_plain(posixpath.normpath(posixpath.join(folder, text))))
                found = [] if path is None else [path]
            elif how == "name":
                found = [path for path in self._names.get(_plain(_name(text)), ()) if _agree(path, text)]
            else:
                stems = self._stems.get(_plain(_name(text)), ())
                found = [path for path in stems if _agree(without_ending(path), text)]
            if found:
                return found
        return []

    def _refuse_unclear(self, found: list[list[str]], files: list[str | None], place: str) -> None:
        unclear = [paths for paths, file in zip(found, files, strict=True) if len(paths) > 1 and file is None]
        if len(unclear) > MOST * len(files):
            some = " or ".join(printable(escape(path)) for path in sorted(unclear[0])[:3])
            what = f"{escape(place)} names files that are there more than once ({some})"
            raise ElixirError(f"{what}; write the folder into its column, before the name")


def _narrowed(paths: list[str], within: str, split: str | None) -> list[str]:
    if len(paths) > 1:
        paths = [path for path in paths if path.startswith(within)] or paths
    if len(paths) > 1 and split:
        paths = [path for path in paths if any(split_of(part) == split for part in path.split("/")[:-1])] or paths
    return paths


def _problem(value: str, candidates: list[str], folder: str) -> str:
    if candidates:
        return f"several files of this name ({', '.join(printable(escape(path)) for path in candidates[:3])})"
    return OUTSIDE if _leaves(value, folder) else NO_FILE


def _leaves(value: str, folder: str) -> bool:
    text = value.replace("\\", "/")
    absolute = text.startswith("/") or "://" in text or re.match(r"[A-Za-z]:/", text)
    return bool(absolute) or posixpath.normpath(posixpath.join(folder, text)).startswith("..")


def _agree(path: str, value: str) -> bool:
    """Whether one is the end of the other."""
    one, other = _plain(path).split("/"), _plain(posixpath.normpath(value)).split("/")
    length = min(len(one), len(other))
    return one[-length:] == other[-length:]


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", path)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def without_ending(path: str) -> str:
    """A path without what stands behind the last dot of its name."""
    folder, slash, name = path.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)


@dataclass
class ImageList:
    """A list whose rows mean files of a tree.

    Attributes:
        place: its path relative to the root of the tree.
        file: its rows.
        path, label: columns; no label column where there is none.
        meaning: the file of each row.
        values: what the label column holds for each label.
        dependent: other columns that say the same as the label, and what they hold for each.
    """

    place: str
    file: ListFile
    path: str
    label: str | None
    meaning: Meaning
    values: dict[int, Any] = field(default_factory=dict)
    dependent: dict[str, dict[int, Any]] = field(default_factory=dict)

    def texts(self, column: str) -> list[str | None]:
        """A column as text, None where it is empty."""
        return [as_text(row.values.get(column)) for row in self.file.rows]

    def where(self, row: int) -> str:
        return f"{self.file.place}, line {self.file.rows[row].line}"

    def find_dependent(self, labels: Sequence[int]) -> None:
        """Fill `dependent`, from the label of each row, -1 for none; see `table.label_dependent_columns`."""
        known = [label for label in labels if label >= 0]
        if len(known) < 2 * len(set(known)):
            return
        for column in self.file.columns:
            values: dict[int, Any] = {}
            for row, label in zip(self.file.rows, labels, strict=True):
                value = row.values.get(column)
                if label >= 0 and (isinstance(value, dict | list) or values.setdefault(label, value) != value):
                    break
            else:
                if column not in ("", self.path, self.label):
                    self.dependent[column] = values


def read_image_list(
    root: Path, place: str, files: Files, image: str | None = None, label: str | None = None, within: str = ""
) -> ImageList:
    """Read a list and find its columns, of which some may be named.

    Raises: ElixirError: it is none, no column or several may be the one of paths, or a named one is not there.
    """
    file = read_list(root / place, printable(escape(place)))
    if not file.rows:
        raise ElixirError(f"{file.place} has no rows below its header")
    for given, option in ((image, "--image"), (label, "--label")):
        if given and given not in file.columns:
            raise ElixirError(f"{file.place} has no column {given!r}, which {option} names; {shown(file.columns)}")
    path = image or _path_column(file, files, place, within)
    if not path:
        what = f"no column of {file.place} has the paths of images in its folder"
        raise ElixirError(f"{what} in more than half of its rows; name it with --image; {shown(file.columns)}")
    if _column_name(path) not in FILE_NAMES and files.meant([path], place, within).found:
        what = f"the first line of {file.place} names a file, where its columns should be named"
        raise ElixirError(f"{what}; put a line with their names before it (path,label, say)")
    meaning = files.meant([as_text(row.values.get(path)) for row in file.rows], place, within)
    label = label or _label_column(file, path)
    return ImageList(place, file, path, label, meaning)


def _path_column(file: ListFile, files: Files, place: str, within: str) -> str | None:
    """The column that names files most plainly, and of several such the one with the likeliest name."""
    some = file.rows[:: math.ceil(len(file.rows) / LOOKED_AT)]
    found: dict[str, tuple[int, int]] = {}
    unclear: list[ElixirError] = []
    for column in file.columns:
        name = _column_name(column)
        if not column or name in LABELS:
            continue
        usual = FILE_NAMES.index(name) if name in FILE_NAMES else len(FILE_NAMES)
        try:
            meaning = files.meant([as_text(row.values.get(column)) for row in some], place, within)
        except ElixirError as error:
            unclear += [error] if name in FILE_NAMES else []
            continue
        different = len({path for path in meaning.files if path is not None})
        if meaning.found > MOST * len(some) and (name in FILE_NAMES or different > MOST * len(some)):
            found[column] = (HOWS.index(meaning.how), usual)
    if not found and unclear:
        raise unclear[0]
    best = [column for column, rank in found.items() if rank == min(found.values())]
    if len(best) > 1:
        which = ", ".join(map(printable, best))
        raise ElixirError(f"several columns of {file.place} name images ({which}); name one with --image")
    return best[0] if best else None


def _label_column(file: ListFile, path: str) -> str | None:
    columns = {_column_name(column): column for column in reversed(file.columns) if column and column != path}
    return next((columns[name] for name in LABELS if name in columns), None)


def _column_name(column: str) -> str:
    return re.sub(r"[\s-]+", "_", column.strip().lower())


def as_text(value: Any) -> str | None:
    """The text of a value in a list, None for an empty one and for what is neither text nor number."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, str | bool | int | float):
        return str(value).strip() or None
    return None


def read_labels(listed: ImageList) -> tuple[list[str], list[Any], list[int]]:
    """Class names in order, what stands for each in the list, and the label of each row, -1 for none.

    Raises: ElixirError: there is no label column, or it does not hold classes.
    """
    file, column = listed.file, listed.label
    if column is None:
        what = f"cannot tell which column of {file.place} has the labels"
        raise ElixirError(f"{what}; name it with --label; {shown(file.columns)}")
    where = f"column {column!r} of {file.place}"
    if any(isinstance(row.values.get(column), dict | list) for row in file.rows):
        raise ElixirError(f"{where} holds lists or objects; name a column with one label for each image with --label")
    texts = listed.texts(column)
    known = {text for text in texts if text is not None}
    if all(re.fullmatch(r"-?\d+(\.0*)?", text, re.ASCII) for text in known):
        known = {text for text in known if float(text) != -1}
        names = sorted(known, key=lambda text: (float(text), text))
    elif all(re.fullmatch(r"[-+]?\d*\.?\d+(e[-+]?\d+)?", text, re.IGNORECASE | re.ASCII) for text in known):
        raise ElixirError(
            f"{where} holds numbers that are no classes (such as {min(known)}); name another with --label"
        )
    else:
        names = sorted(known)
    if not names:
        raise ElixirError(f"{where} holds no labels; name another with --label")
    order = {name: label for label, name in enumerate(names)}
    labels = [order.get(text, -1) if text is not None else -1 for text in texts]
    raw = {
        label: row.values[column]
        for label, row in zip(reversed(labels), reversed(file.rows), strict=True)
        if label >= 0
    }
    return [escape(name) for name in names], [raw[label] for label in range(len(names))], labels


def compare_labels(
    listed: ImageList, labels: Sequence[int], classes: Sequence[str], usual: dict[int, str]
) -> str | None:
    """Fill `values` of a list beside class folders, from the class of the file of each row, -1 for none.

    What it calls each class is added to `usual`, where lists of the same name may have left theirs. Returns where label
    column and folders contradict each other, if they do: a value must stand for one class, and a class have one.
    """
    if listed.label is None:
        return None
    pairs = [
        (label, text, row)
        for row, (label, text) in enumerate(zip(labels, listed.texts(listed.label), strict=True))
        if label >= 0 and text is not None and (text != "-1" or classes[label] == "-1")
    ]
    for (label, text), _ in Counter((label, text) for label, text, _ in pairs).most_common():
        usual.setdefault(label, text)
    owner: dict[str, int] = {}
    for label, text in usual.items():
        owner.setdefault(text, label)
    for label, text, row in pairs:
        there = (
            f"{listed.where(row)}, column {listed.label!r}, says {printable(text)[:80]!r} of {_shown_file(listed, row)}"
        )
        if text != usual[label]:
            return f"{there}, and {printable(usual[label])[:80]!r} of other images in {classes[label]}"
        if owner[text] != label:
            return f"{there}, and the same of images in {classes[owner[text]]}"
        listed.values.setdefault(label, listed.file.rows[row].values[listed.label])
    return None


def _shown_file(listed: ImageList, row: int) -> str:
    return printable(escape(listed.meaning.files[row] or ""))
