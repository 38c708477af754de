"""The samples that are handed to another program, with their pictures."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa

from elixir.data.doubt import Doubt
from elixir.data.image import decode, encode, extension
from elixir.data.io import writing
from elixir.data.manifest import where
from elixir.data.output_images import OutputImages
from elixir.errors import UnreadableSample

Selection = Literal["doubtful", "changed", "all"]
SELECTIONS: tuple[Selection, ...] = get_args(Selection)

_SHOWN = (".png", ".jpg", ".webp", ".gif", ".bmp")  # formats that browsers show


@dataclass(frozen=True, slots=True)
class Exported:
    """What a manifest says of one sample, as text for people and numbers.

    Attributes:
        row: of the manifest.
        given_label: name of the class in the input, "" for none.
        new_label: likewise in the output, "" if it is not there.
        poison_score, confidence: as in the manifest, None where that has none.
    """

    row: int
    id: str
    given_label: str
    new_label: str
    action: str
    reason: str
    poison_score: float | None
    confidence: float | None

    def facts(self) -> dict[str, Any]:
        """All but the row."""
        return {name: value for name, value in asdict(self).items() if name != "row"}


def chosen(table: pa.Table, only: Selection) -> np.ndarray:
    """The rows of a manifest that are exported, doubtful ones first, int64 (k,).

    "changed" are those that are not as they were in the input; samples that could not be read are in "all" alone.
    """
    doubt = Doubt.of(table)
    if only == "all":
        return doubt.first(np.arange(table.num_rows))
    changed = ~where(table, "action", "kept") & (table["height"].to_numpy() > 0)
    return doubt.first(np.flatnonzero(doubt.doubtful if only == "doubtful" else changed))


def exported(table: pa.Table, rows: np.ndarray) -> Iterator[Exported]:
    """These rows of a manifest, in this order."""
    for row in rows.tolist():
        (facts,) = table.slice(row, 1).to_pylist()
        score, confidence = (_number(facts[name]) for name in ("poison_score", "confidence"))
        labels = facts["class"], facts["new_class"]
        yield Exported(row, facts["id"], *labels, facts["action"], facts["reason"], score, confidence)


def save_pictures(images: OutputImages, rows: np.ndarray, folder: Path) -> dict[int, str]:
    """Write the pictures as they were in the input to a new folder, in a format that browsers show.

    Returns the name of the file of each row; there is none of a sample that cannot be decoded.
    """
    names = {}
    with writing(folder):
        folder.mkdir(parents=True)
        for row in np.sort(rows).tolist():
            data = images.before(row)
            if data is None:
                continue
            if extension(data) not in _SHOWN:
                try:
                    picture = decode(data)
                except UnreadableSample:  # more pixels than usual
                    continue
                data = encode(picture, picture.rgb)
            names[row] = f"{row:08d}{extension(data)}"
            (folder / names[row]).write_bytes(data)
    return names


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
