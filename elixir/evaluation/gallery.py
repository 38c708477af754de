"""A picture of what every attack does to an image."""

from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from elixir.data.image import Picture, decode
from elixir.data.io import replacing
from elixir.data.open import TRAIN, open_source
from elixir.data.source import Source, find_class
from elixir.errors import ElixirError, UnreadableSample
from elixir.progress import Progress
from elixir.registry import find, names

IMAGES = 4  # of each attack
TILE, GAP, LABEL = 96, 6, 130  # widths in pixels: of an image, between images, and of the attack's name
GAIN = 4  # how many times as strong differences are drawn


def draw_gallery(path: Path, src: str | None, target: str, quiet: bool) -> None:
    """Write a PNG with a row for each attack: original, poisoned, and their difference four times as strong.

    Attacks are fitted to the class `target` of `src`, by default the shipped traffic signs; clean-label ones are shown
    on its images, those on one source class on images of this.
    """
    source = open_source(src or TRAIN)
    aimed = find_class(source, target)
    found = names("attacks")
    sheet = Image.new("RGB", (LABEL + 3 * IMAGES * (TILE + GAP), len(found) * (TILE + GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, name in enumerate(found):
        attack = find("attacks", name)().fit(source, aimed, Progress(quiet))
        top = row * (TILE + GAP)
        pen.text((4, top + TILE // 2 - 6), name, fill="black")
        only = aimed if attack.clean_label else attack.source_class(source.classes, aimed)
        for column, (id, picture) in enumerate(_pictures(source, aimed, only)):
            before, after = picture.rgb, attack.on_picture("poison", picture, id)
            difference = np.clip(128 + GAIN * (after.astype(int) - before), 0, 255).astype(np.uint8)
            for part, image in enumerate((before, after, difference)):
                tile = Image.fromarray(image).resize((TILE, TILE), Image.Resampling.NEAREST)
                sheet.paste(tile, (LABEL + (3 * column + part) * (TILE + GAP), top))
    with replacing(path, path.with_name(f".{path.name}.partial")) as partial:
        sheet.save(partial, "PNG")


def _pictures(source: Source, target: int, only: int | None) -> list[tuple[str, Picture]]:
    """At most `IMAGES` images of one class, or of all but the target, with their ids, spread over a sound dataset."""
    labels = source.samples.labels
    rows = np.flatnonzero((labels >= 0) & (labels != target) if only is None else labels == only).tolist()
    step = max(1, len(rows) // IMAGES)
    found: list[tuple[str, Picture]] = []
    for index in [index for first in range(step) for index in rows[first::step]]:
        if len(found) == IMAGES:
            break
        with suppress(UnreadableSample):
            found.append((source.samples[index].id, decode(source.read(index))))
    if not found:
        which = f"classes other than {source.classes[target]!r}" if only is None else f"{source.classes[only]!r}"
        raise ElixirError(f"{source.location} has no readable image of {which}")
    return found
