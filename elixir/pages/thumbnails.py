"""Thumbnails of samples before and after, many of them in one picture."""

import hashlib
import io
import shutil
import tempfile
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from PIL import Image, ImageOps

from elixir.data.image import decode
from elixir.data.io import writing
from elixir.engine.run import Run
from elixir.errors import UnreadableSample

SIDE = 96  # of a thumbnail, in pixels, at most
ACROSS, DOWN = 4, 8  # samples in a contact sheet
INLINE = 400  # samples of which the sheets lie in the page itself

_UPRIGHT = {  # EXIF orientation -> what shows the picture as it was taken
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Pictures(Protocol):
    """The images of samples, by row of the manifest; asked in ascending order, and only for those with a height."""

    def before(self, row: int) -> bytes:
        """Encoded image in the input."""
        ...

    def after(self, row: int) -> bytes | None:
        """Encoded image in the output of a sample that was relabelled or purified; None if it has no other pixels."""
        ...


class RunPictures:
    """The images of a run whose last stage has finished."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def before(self, row: int) -> bytes:
        return self._run.read_source(row)

    def after(self, row: int) -> bytes | None:
        repaired = self._run.repaired_path(int(np.searchsorted(self._run.rows, row)))
        return repaired.read_bytes() if repaired.exists() else None


@dataclass(frozen=True)
class ContactSheets:
    """Pictures of n samples in order, `ACROSS` x `DOWN` samples a sheet: each before, and right of it after.

    Attributes:
        urls: of the sheets, relative to the page or with the sheet in it.
        present: whether each sample has a picture before and one after, bool (n, 2).
    """

    urls: list[str]
    present: np.ndarray


def write_sheets(
    rows: np.ndarray, changed: np.ndarray, shapes: np.ndarray, pictures: Pictures, folder: Path
) -> ContactSheets:
    """Draw the samples of some rows of the manifest.

    Up to `INLINE` samples the sheets are URLs that hold them, so that the page is one file to send to somebody. Beyond,
    that would be a page of many megabytes, all of it read and kept by the browser, so they become files in `folder`,
    which is made anew, and are loaded as one scrolls to them; some dozens of samples a file, as file systems and web
    servers are slow with a hundred thousand small ones. A file is named after its contents: a page that is open while
    it is written anew shows no picture rather than that of another sample.

    The input is read in its own order, as tables and shards have to be. So thumbnails wait in a temporary file, which
    is deleted at the end, and memory holds one sheet.

    Args:
        rows: in the order in which they are shown, int64 (n,).
        changed: whether they may have a picture after, bool (n,).
        shapes: height and width in pixels, int64 (n, 2); 0 for what cannot be read and so has no picture.

    Raises: ElixirError: the disk is full, or an image cannot be read any more.
    """
    side = int(min(SIDE, shapes.max(initial=1)))
    present = np.zeros((len(rows), 2), bool)
    with writing(folder):
        shutil.rmtree(folder, ignore_errors=True)
        with tempfile.TemporaryFile(dir=folder.parent) as spool:
            for place in np.argsort(rows).tolist():
                if shapes[place].all():
                    row, most = int(rows[place]), int(shapes[place].prod())
                    images = (pictures.before(row), pictures.after(row) if changed[place] else None)
                    for number, data in enumerate(images):
                        present[place, number] = data is not None and _keep(spool, 2 * place + number, data, most, side)
            sheets = _sheets(spool, len(rows), side)
            if len(rows) <= INLINE:
                return ContactSheets([data_url(sheet) for sheet in sheets], present)
            folder.mkdir()
            return ContactSheets([_write(folder, sheet) for sheet in sheets], present)


def _keep(spool: BinaryIO, number: int, data: bytes, most_pixels: int, side: int) -> bool:
    """Keep the thumbnail of an image; whether it could be decoded."""
    try:
        picture = decode(data, most_pixels)
    except UnreadableSample:
        return False
    image = Image.fromarray(picture.rgb)
    if picture.orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[picture.orientation])
    spool.seek(number * side * side * 4)
    spool.write(fitted(image, side).tobytes())
    return True


def fitted(image: Image.Image, side: int) -> Image.Image:
    """The whole image in the middle of a transparent square; pixels of a smaller one stay sharp squares."""
    method = Image.Resampling.NEAREST if max(image.size) < side else Image.Resampling.LANCZOS
    return ImageOps.pad(image.convert("RGBA"), (side, side), method)


def _sheets(spool: BinaryIO, samples: int, side: int) -> Iterator[bytes]:
    record = 2 * side * side * 4
    spool.truncate(samples * record)
    spool.seek(0)
    for start in range(0, samples, ACROSS * DOWN):
        count = min(ACROSS * DOWN, samples - start)
        cells = np.zeros((DOWN, ACROSS, 2, side, side, 4), np.uint8)
        cells.reshape(-1)[: count * record] = np.frombuffer(spool.read(count * record), np.uint8)
        yield png(Image.fromarray(cells.transpose(0, 3, 1, 2, 4, 5).reshape(DOWN * side, ACROSS * 2 * side, 4)))


def _write(folder: Path, sheet: bytes) -> str:
    path = folder / f"{hashlib.sha256(sheet).hexdigest()[:24]}.png"
    path.write_bytes(sheet)
    return f"{folder.name}/{path.name}"


def png(image: Image.Image) -> bytes:
    """The image as PNG, without loss, as small differences are what it is about."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def data_url(sheet: bytes) -> str:
    """A URL that holds a PNG."""
    return f"data:image/png;base64,{b64encode(sheet).decode()}"
