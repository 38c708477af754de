"""What lies beside images and names them, in an output where some have moved or gone: rewritten or set aside."""

import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from elixir.data.files.folder import FileSource
from elixir.data.files.image_list import NO_FILE, Files, ImageList, as_text, without_ending
from elixir.data.files.layout import split_of
from elixir.data.files.lists import Row
from elixir.data.files.tree import in_junk, looks_like_image
from elixir.data.io import RUN_FOLDER, replacing
from elixir.data.paths import escape, printable, unescape
from elixir.errors import ElixirError

LARGEST_TEXT = 64 << 20  # bytes; a larger file is not searched for names of images
NAMED = 5  # files that a note names

_WORD = re.compile(r"[^\s\"'<>,;:|=/()\[\]{}]+")
_TELLING = re.compile(r"0\d{2,}|\d{5,}|(?=.*\d)(?=.*\D).{4,}", re.DOTALL)  # a name without ending, unlike other words


@dataclass(frozen=True)
class Fate:
    """What has become of an image: its path, None where it is not in the output, and label there."""

    path: str | None
    label: int
    relabelled: bool = False

    def leaves(self, path: str) -> bool:
        """Whether what goes with the image by its name without ending does so no longer, or may tell its old label."""
        return self.relabelled or self.path is None or without_ending(self.path) != without_ending(path)


@dataclass
class Beside:
    """The files of a source that are no samples, after all decisions.

    Args:
        fates: what has become of the samples that are not as they were, by their paths.

    Attributes:
        set_aside: escaped paths of those that are not to be copied to the output.
        notes: sentences for people.
    """

    source: FileSource
    fates: Mapping[str, Fate]
    set_aside: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        samples = self.source.samples
        self._missing = {unescape(samples.id(row)) for row, why in samples.problems.items() if why == NO_FILE}

    def write(self, folder: Path) -> None:
        """Write the lists that change to an output, and find out what is to be set aside."""
        if not self.fates:
            return
        groups: dict[str, list[ImageList]] = defaultdict(list)
        for listed in self.source.lists:
            groups[posixpath.basename(listed.place)].append(listed)
        for group in groups.values():
            self._rewrite(group, folder)
        self._set_texts_aside({escape(listed.place) for listed in self.source.lists})

    def _rewrite(self, group: list[ImageList], folder: Path) -> None:
        """Lists of one name, each about its folder: all of them or, where one cannot be, none."""
        try:
            changes = _Changes(group, self.fates)
            if any(changes.listed_by_name(listed) for listed in group):
                images = [*self._images()]
                for listed in group:
                    changes.check(listed, images, self.source.split)
        except _Unclear as error:
            places = sorted(escape(listed.place) for listed in group)
            self.set_aside += places
            verb = "is" if len(places) == 1 else "are"
            self.notes.append(f"{_some(places)} {verb} in {RUN_FOLDER}/originals and not here: {error}")
            return
        for listed in group:
            changed, gone = changes.changed[listed.place], changes.gone[listed.place]
            if changed or gone:
                target = folder / listed.place
                with replacing(target, folder / RUN_FOLDER / "partial") as partial:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    partial.write_bytes(listed.file.with_rows(row for row, _ in changes.rows[listed.place]))
                self.set_aside.append(escape(listed.place))
                what = f"{changed} rows of {listed.file.place} are changed and {gone} taken out"
                self.notes.append(f"{what}, as their images are; the list as it was is in {RUN_FOLDER}/originals")

    def _images(self) -> Iterable[str]:
        """Paths of all images in the output."""
        for path in chain(self.source.samples.ids, filter(looks_like_image, self.source.others)):
            there = self.fates.get(unescape(path), Fate(unescape(path), -1)).path
            if there is not None:
                yield there

    def _set_texts_aside(self, known: set[str]) -> None:
        moved = {path: fate for path, fate in self.fates.items() if path not in self._missing}
        mentions = _Mentions(moved)
        candidates = [path for path in self.source.others if path not in known and self._may_tell(unescape(path))]
        alike = {without_ending(unescape(path)) for path in candidates}
        stems = alike.intersection(without_ending(unescape(id)) for id in self.source.samples.ids)
        left = {without_ending(path) for path, fate in moved.items() if fate.leaves(path)}
        found = []
        for path in candidates:
            stem = without_ending(unescape(path))
            if stem in left or (stem not in stems and self._names(path, mentions)):
                found.append(path)
        if found:
            self.set_aside += found
            verbs, are = ("names or goes", "it is") if len(found) == 1 else ("name or go", "they are")
            what = f"{_some(found)} {verbs} with images that have moved, changed their label or gone"
            self.notes.append(f"{what}: {are} in {RUN_FOLDER}/originals and not here")

    def _may_tell(self, path: str) -> bool:
        """Whether a file may tell of images: it is none, in no hidden folder, and not of another split."""
        *folders, name = path.split("/")
        split = self.source.split and split_of(unescape(self.source.split))
        told = {split_of(part) for part in (*folders, without_ending(name))} - {None}
        return not (looks_like_image(path) or in_junk(path) or (split and told and split not in told))

    def _names(self, path: str, mentions: "_Mentions") -> bool:
        file = self.source.root / unescape(path)
        try:
            if not file.is_file():
                return False
            with file.open("rb") as stream:
                data = stream.read(LARGEST_TEXT + 1)
        except OSError:
            return False  # the backup says so
        if b"\0" in data:
            return False
        if len(data) > LARGEST_TEXT:
            self.notes.append(f"{printable(path)} is too large to be searched for names of images that have changed")
            return False
        return mentions.any_in(data.decode("utf-8", "surrogateescape"))


class _Unclear(Exception):
    """Why lists cannot be rewritten."""


class _Changes:
    """The rows of lists of one name after all decisions.

    Attributes:
        rows: of each list, by its place, with the file that each means in the output, None where it means none.
        changed, gone: how many are not as they were, and are not there.
    """

    def __init__(self, group: list[ImageList], fates: Mapping[str, Fate]) -> None:
        self.rows: dict[str, list[tuple[Row, str | None]]] = {listed.place: [] for listed in group}
        self.changed, self.gone = (dict.fromkeys(self.rows, 0) for _ in range(2))
        self._group = group
        self._arrived: dict[str, list[tuple[Row, str | None]]] = {listed.place: [] for listed in group}
        for listed in group:
            for row, file in zip(listed.file.rows, listed.meaning.files, strict=True):
                fate = None if file is None else fates.get(file)
                if file is None or fate is None:
                    self.rows[listed.place].append((row, file))
                elif fate.path is None:
                    self.gone[listed.place] += 1
                else:
                    self._change(listed, row, file, fate.path, fate)
        for listed in group:
            self.rows[listed.place] += self._arrived[listed.place]

    def listed_by_name(self, listed: ImageList) -> bool:
        return listed.meaning.how != "path" and bool(self.changed[listed.place])

    def check(self, listed: ImageList, images: list[str], split: str | None) -> None:
        """Make sure that names without folders still mean one file of the output each."""
        texts = [as_text(row.values.get(listed.path)) for row, _ in self.rows[listed.place]]
        wanted = [file for _, file in self.rows[listed.place]]
        try:
            found = Files(images).meant(texts, listed.place, f"{unescape(split)}/" if split else "").files
        except ElixirError as error:
            raise _Unclear("its names would stand for several images") from error
        if any(file is not None and file != there for file, there in zip(wanted, found, strict=True)):
            raise _Unclear("its names would stand for several images")

    def _change(self, listed: ImageList, row: Row, file: str, new: str, fate: Fate) -> None:
        home = self._home(listed, file, new)
        values = self._labels(home, row, file, fate)
        if new != file:
            text = as_text(row.values.get(listed.path)) or ""
            values[listed.path] = _new_text(home, text, file, new)
            if home is not listed:
                moved = Row("", row.text, row.line, row.values | values)
                self._arrived[home.place].append((home.file.adopted(moved), new))
                self.gone[listed.place] += 1
                self.changed[home.place] += 1
                return
        if all(row.values.get(column) == value for column, value in values.items()):
            self.rows[listed.place].append((row, new))
            return
        self.rows[listed.place].append((listed.file.changed(row, values), new))
        self.changed[listed.place] += 1

    def _labels(self, listed: ImageList, row: Row, file: str, fate: Fate) -> dict[str, object]:
        values: dict[str, object] = {}
        if not fate.relabelled:
            return values
        if listed.label is not None:
            if fate.label not in listed.values:
                raise _Unclear(f"column {listed.label!r} does not tell what it calls the new label of {escape(file)}")
            values[listed.label] = listed.values[fate.label]
        for column, known in listed.dependent.items():
            if fate.label in known and column in row.values:
                values[column] = known[fate.label]
        return values

    def _home(self, listed: ImageList, old: str, new: str) -> ImageList:
        """The list of a file that has moved: the same, or the one of its new folder."""
        own = _folder(listed)
        if listed.meaning.how != "path" or new.startswith(own) or not old.startswith(own):
            return listed
        near = [other for other in self._group if new.startswith(_folder(other)) and _alike(other, listed)]
        if not near:
            raise _Unclear(f"no list is there for the new folder of {printable(escape(old))}")
        return max(near, key=lambda other: len(other.place))


def _alike(one: ImageList, other: ImageList) -> bool:
    columns = set(one.file.columns) == set(other.file.columns)
    return columns and (type(one.file), one.path, one.label) == (type(other.file), other.path, other.label)


def _folder(listed: ImageList) -> str:
    folder = posixpath.dirname(listed.place)
    return folder and f"{folder}/"


def _new_text(listed: ImageList, text: str, old: str, new: str) -> str:
    """What a list calls a file that had the name `text` in it."""
    if listed.meaning.how == "path":
        parts = posixpath.relpath(new, posixpath.dirname(listed.place) or ".").split("/")
    else:
        named = posixpath.normpath(text.replace("\\", "/")).split("/")
        parts, more = new.split("/"), len(named) - len(old.split("/"))
        parts = named[:more] + parts if more >= 0 else parts[-len(named) :]
        if listed.meaning.how == "stem":
            parts[-1] = without_ending(parts[-1])
    return ("\\" if "\\" in text and "/" not in text else "/").join(parts)


def _some(paths: list[str]) -> str:
    shown = ", ".join(map(printable, paths[:NAMED]))
    return shown + (f" and {len(paths) - NAMED} more files" if len(paths) > NAMED else "")


class _Mentions:
    """Finds the names of some images in text: with their endings anywhere, or a telling one without as a word."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._folders: dict[str, list[list[str]]] = defaultdict(list)
        for path in paths:
            *folders, name = _plain(path).split("/")
            self._folders[name].append(folders)
        stems = {without_ending(name) for name in self._folders}
        self._words = {stem for stem in stems if _TELLING.fullmatch(stem)}
        endings = {name.removeprefix(without_ending(name)) for name in self._folders} - {""}
        self._endings = re.compile("|".join(map(re.escape, sorted(endings, key=len, reverse=True))) or r"(?!)")
        self._lengths = sorted({len(name) for name in self._folders})

    def any_in(self, text: str) -> bool:
        text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
        text = _plain(re.sub(r"\\+/?", "/", text))
        if not self._words.isdisjoint(_WORD.findall(text)):
            return True
        return any(self._named_before(text, match.end()) for match in self._endings.finditer(text))

    def _named_before(self, text: str, end: int) -> bool:
        for length in self._lengths:
            start = end - length
            folders = self._folders.get(text[max(start, 0) : end]) if start >= 0 else None
            if not folders or (start and re.match(r"[\w-]", text[start - 1])):
                continue
            if any(_agrees(text, start, list(parents)) for parents in folders):
                return True
        return False


def _agrees(text: str, start: int, folders: list[str]) -> bool:
    """Whether the folders that stand before a position in the text are those of an image, as far as both go."""
    while folders and start > 1 and text[start - 1] == "/":
        folder = folders.pop()
        if text[start - 2] == "." or text[start - 2 : start - 1].isspace():
            return True
        if text[max(start - 1 - len(folder), 0) : start - 1] != folder:
            return False
        start -= len(folder) + 1
    return True


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text)
