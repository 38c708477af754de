"""A folder of parquet files, as a dataset on the Hugging Face hub is one: which are read, and what lies beside them."""

import os
import shlex
from glob import escape as plain
from pathlib import Path, PurePosixPath

from elixir.data.files.tree import Tree, in_junk, is_junk, walk
from elixir.data.paths import escape
from elixir.data.tables.card import CARD, Card
from elixir.data.tables.parquet import SPLIT, ParquetFiles
from elixir.errors import ElixirError

NAMED = 5  # files that a note names


def find_parquet(folder: Path, follow_links: bool = False) -> ParquetFiles | None:
    """The parquet files of a folder, at any depth, if there are some, and what lies beside them.

    Raises: ElixirError: there are folders with images too, unseen then, or several configurations of a dataset.
    """
    if not follow_links and not _has_parquet(folder):
        return None
    tree = walk(folder, follow_links)
    files = sorted(path for path in (*tree.images, *tree.others) if _is_parquet(path))
    if not files:
        return None
    _refuse_unseen(tree)
    card = Card(folder / CARD)
    configurations = card.configurations()
    if len(configurations) > 1:
        raise _several(tree, {name: _of_configuration(folder, files, card, name) for name in configurations})
    splits, chosen = None, files
    for name in configurations:
        splits = card.files_of(name, files)
        chosen = [file for file in files if PurePosixPath(file).is_relative_to(card.folder_of(name))]
    if splits is None:
        _refuse_several(tree, folder, chosen, files)
    _refuse_images(tree, folder, files)
    if splits is None:
        found = ParquetFiles.by_name([folder / path for path in chosen], folder)
    else:
        found = ParquetFiles(folder, {split: [folder / path for path in paths] for split, paths in splits.items()})
    _add_others(found, tree)
    return found


def _has_parquet(folder: Path) -> bool:
    """Looked for by name alone, as a tree of images is large."""
    return any(name.lower().endswith(".parquet") for _, _, names in os.walk(folder) for name in names)


def _is_parquet(path: str) -> bool:
    return path.lower().endswith(".parquet") and not in_junk(path)


def _refuse_unseen(tree: Tree) -> None:
    """Raise an ElixirError for folders in which parquet files or images may lie that cannot be seen."""
    for path in sorted({*tree.folders, *tree.linked_folders} & tree.images.keys()):
        raise ElixirError(f"{escape(path)} in {tree.location} cannot be looked into: {tree.images[path]}")
    for path, problem in tree.images.items():
        if _is_parquet(path) and problem and not (tree.root / path).is_file():
            raise ElixirError(f"{escape(path)} in {tree.location} cannot be read: {problem}; remove it or mend it")


def _refuse_images(tree: Tree, folder: Path, files: list[str]) -> None:
    """Raise an ElixirError if there are images in folders, which may be classes."""
    images = [path for path in tree.images if "/" in path and not in_junk(path)]
    folders = sorted({path.split("/")[0] for path in images if path not in files})
    if folders:
        parents = {str(folder / PurePosixPath(path).parent) for path in files}
        pattern = f"{plain(parents.pop())}/*.parquet" if len(parents) == 1 else f"{plain(str(folder))}/**/*.parquet"
        first = PurePosixPath(files[0]).name
        both = f"parquet files ({escape(first)}) and folders that may be classes ({escape(folders[0])})"
        remedy = f"give {escape(pattern)}, or a folder that has the class folders alone"
        raise ElixirError(f"{tree.location} has both {both}; {remedy}")


def _refuse_several(tree: Tree, folder: Path, chosen: list[str], files: list[str]) -> None:
    """Raise an ElixirError if folders that are no splits part the chosen files: they may be configurations."""
    places: dict[str, list[str]] = {}
    for file in chosen:
        parts = PurePosixPath(file).parent.parts
        names = [part for part in parts if part != "data" and not SPLIT.fullmatch(part.lower())]
        places.setdefault("/".join(names) or ".", []).append(file)
    if len(places) > 1:
        raise _several(tree, {name: _commands_for(folder, each, files) for name, each in sorted(places.items())})


def _of_configuration(folder: Path, files: list[str], card: Card, name: str) -> list[str]:
    """What to give to read one configuration that a card describes."""
    if splits := card.files_of(name, files):
        chosen = sorted(path for paths in splits.values() for path in paths)
    else:
        chosen = [file for file in files if PurePosixPath(file).is_relative_to(card.folder_of(name))]
    return _commands_for(folder, chosen, files)


def _commands_for(folder: Path, chosen: list[str], files: list[str]) -> list[str]:
    """What to give to read some of the files: a folder that has no others, or else patterns."""
    parents = sorted({PurePosixPath(file).parent for file in chosen})
    common = PurePosixPath(os.path.commonpath(parents)) if parents else PurePosixPath()
    if common.parts and len(chosen) == sum(PurePosixPath(file).is_relative_to(common) for file in files):
        return [str(folder / common)]
    patterns = []
    for parent in parents:
        mine, there = ([path for path in some if PurePosixPath(path).parent == parent] for some in (chosen, files))
        names = ["*.parquet"] if len(mine) == len(there) else [plain(PurePosixPath(path).name) for path in mine]
        patterns += [f"{plain(str(folder / parent))}/{name}" for name in names]
    return patterns


def _several(tree: Tree, places: dict[str, list[str]]) -> ElixirError:
    what = f"{tree.location} has several configurations ({', '.join(map(escape, places))}), which are not merged"
    commands = [f"elixir sanitize {escape(shlex.quote(place))} -o DST" for each in places.values() for place in each]
    return ElixirError(f"{what}; clean each on its own: {', '.join(commands)}")


def _add_others(found: ParquetFiles, tree: Tree) -> None:
    """Take what lies beside the parquet files as far as it can be copied, and note what nobody looks at."""
    read = {str(file.relative_to(found.root)) for files in found.splits.values() for file in files}
    skipped = sorted(path for path in tree.folders if is_junk(path.split("/")[-1]))
    inside = {path for path in (*tree.images, *tree.others) if in_junk(path.rpartition("/")[0])}
    for path in sorted({*tree.images, *tree.others} - read - inside):
        if problem := tree.images.get(path):
            found.notes.append(f"not in the output: {escape(path)}, {problem}")
        else:
            found.others.append(escape(path))
    if unseen := [path for path in found.others if path not in (CARD, ".gitattributes")]:
        found.notes.append(f"kept beside the parquet files and not looked at: {_some(unseen)}")
    if skipped:
        found.notes.append(f"not looked at and not in the output: {_some(list(map(escape, skipped)))}")


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return ", ".join(paths[:NAMED]) + more
