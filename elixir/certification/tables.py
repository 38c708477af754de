"""Certifications of the same images with different purifiers, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elixir.certification.accuracy import AVERAGED_RADII, Row, accuracies
from elixir.certification.sampling import Certificate
from elixir.data.io import read_table
from elixir.errors import ElixirError
from elixir.measurement.markdown import table
from elixir.measurement.measurement_folder import hardware, measured_alike, name_of_test_set, read_finished

COMMON = ("test", "classifier_sha256", "sigmas", "n0", "n", "alpha", "seed")
RADII = tuple(f"r = {radius:g}" for radius in AVERAGED_RADII)
HEAD = ("purifier", "NFE a draw", "images", *RADII, "average", "certificates/min")


@dataclass(frozen=True)
class Certification:
    """What `certify_dataset` has left in a folder.

    Attributes:
        name: of the folder, for people.
        rows: of all images at all noise levels.
        settings: of the certification.
        nfe: function evaluations of the purifier's network, mean over the draws.
        per_minute: certificates.
        hardware: that it ran on.
    """

    name: str
    rows: list[Row]
    settings: dict[str, Any]
    nfe: float
    per_minute: float
    hardware: str


def read_certification(folder: Path) -> Certification:
    """Read a finished certification.

    Raises:
        ElixirError: there is none.
    """
    summary, timings = read_finished(folder, "certification", "certify")
    table = read_table(folder / "rows.parquet", "certify again, into another folder")
    if "radius" not in table.column_names:
        raise ElixirError(f"{folder} holds no certification")
    try:
        rows = [Row(row.pop("id"), row.pop("label"), row.pop("sigma"), Certificate(**row)) for row in table.to_pylist()]
        settings = summary["settings"]
        draws = timings["draws"] + len(rows) * settings["n0"]  # with those that chose the labels
        nfe, per_minute = timings["nfe"] / draws, timings["images_per_minute"]
        return Certification(folder.name, rows, settings, nfe, per_minute, hardware(timings))
    except (KeyError, TypeError) as error:
        raise ElixirError(f"{folder} holds no certification by this version of elixir") from error


def certification_tables(certifications: Sequence[Certification]) -> str:
    """Markdown tables: certified accuracy in per cent, of the best noise level at each radius.

    Certifications of different test sets, or made in different ways, are in different tables. Where one line rests on
    fewer images than another, a second table has all of them on the images they share.
    """
    return "\n".join(map(_tables, measured_alike(certifications, COMMON)))


def _tables(alike: list[Certification]) -> str:
    ids = [{row.id for row in each.rows} for each in alike]
    shared = set.intersection(*ids)
    title = name_of_test_set(alike[0].settings)
    text = _table(title, alike, ids)
    if shared and any(len(each) > len(shared) for each in ids):
        text += "\n" + _table(f"{title}, the images that all have", alike, [shared] * len(alike))
    return text


def _table(title: str, alike: list[Certification], ids: list[set[str]]) -> str:
    settings = alike[0].settings
    caption = f"{title}; sigma {', '.join(f'{sigma:g}' for sigma in settings['sigmas'])}; n = {settings['n']}, "
    caption += f"alpha = {settings['alpha']:g}, seed {settings['seed']}; {alike[0].hardware}"
    lines: list[list[str]] = []
    for each, chosen in zip(alike, ids, strict=True):
        rows = [row for row in each.rows if row.id in chosen]
        accuracy = accuracies(rows, settings["sigmas"], AVERAGED_RADII)
        shares = [f"{100 * best['certified']:.1f}" for best in accuracy["best"]]
        average = f"{100 * accuracy['average']:.2f}"
        lines.append([each.name, f"{each.nfe:.0f}", str(len(chosen)), *shares, average, f"{each.per_minute:.0f}"])
    return table(caption, HEAD, lines)
