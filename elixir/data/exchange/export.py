"""Samples of a finished run, written for another program."""

from pathlib import Path
from typing import Literal, get_args

import numpy as np

from elixir.data.exchange import fiftyone, label_studio
from elixir.data.exchange.hugging_face import write_hugging_face
from elixir.data.exchange.samples import SELECTIONS, Selection, chosen, exported, save_pictures
from elixir.data.exchange.spreadsheet import write_spreadsheet
from elixir.data.io import RUN_FOLDER, occupied, real_path, writing
from elixir.data.manifest import class_names, read_manifest
from elixir.data.output_images import OutputImages
from elixir.data.paths import escape
from elixir.data.workdir import WorkDir
from elixir.errors import ElixirError, nearest

Program = Literal["label-studio", "fiftyone", "csv", "hf"]
PROGRAMS: tuple[Program, ...] = get_args(Program)


def export(dst: str | Path, out: str | Path, to: Program, only: Selection = "doubtful") -> int:
    """Write samples that a person is to look at; returns how many.

    Args:
        dst: what `sanitize` has written, or for "csv" also what `scan` has.
        out: folder to make, or for "csv" the file; it appears when everything is there.
        to: "label-studio": `tasks.json` and the configuration `labels.xml` of a project; "fiftyone": a
            FiftyOneImageClassificationDataset; "csv": a line for every sample in which to fill in decisions; "hf": a
            dataset for `datasets.load_from_disk`.
        only: "doubtful" samples (see `elixir.data.doubt`), "changed" ones (not as they were in the input), or "all".

    Raises: ElixirError: `dst` is no such output or was changed since, or `out` cannot be used.
    """
    _check(to, PROGRAMS, "--to")
    _check(only, SELECTIONS, "--only")
    dst, out = real_path(dst), real_path(out)
    if out.is_relative_to(dst):
        raise ElixirError(f"{escape(str(out))} is inside {escape(str(dst))}; export to another place")
    table = read_manifest(dst / RUN_FOLDER / "manifest.parquet")
    rows, classes = chosen(table, only), class_names(table)
    if to == "csv":
        if occupied(out) or out.is_dir():
            raise ElixirError(f"{escape(str(out))} exists; give another file with -o")
        with writing(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        return write_spreadsheet(out, exported(table, rows))
    images = OutputImages(dst, table)
    work = WorkDir(out)
    with work.alone():
        work.prepare({})
        try:
            folder, count = work.output, len(rows)
            if to == "hf":
                write_hugging_face(folder, exported(table, np.sort(rows)), images, classes)
            else:
                place = fiftyone.DATA if to == "fiftyone" else label_studio.IMAGES
                pictures = save_pictures(images, rows, folder / place)
                count = len(pictures)
                if to == "fiftyone":
                    fiftyone.write_fiftyone(folder, exported(table, rows), pictures, classes)
                else:
                    label_studio.write_label_studio(folder, out.name, exported(table, rows), pictures, classes)
            work.publish()
        finally:
            work.discard()
    return count


def _check(word: str, known: tuple[str, ...], option: str) -> None:
    if word not in known:
        hint = nearest(word, known, f"possible: {', '.join(known)}")
        raise ElixirError(f"unknown {option} {word!r}; {hint}")
