"""First stage: decode and hash every sample; what cannot be read is noted and set aside, never fatal."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from elixir.data.columns import Columns
from elixir.data.image import decode_small, shape
from elixir.data.parallel import in_order
from elixir.data.source import Source
from elixir.engine.run import Run
from elixir.engine.stage import MapStage
from elixir.errors import ElixirError, UnreadableSample
from elixir.settings import Count, Range

SOURCE_COLUMNS = ("source_usable", "source_problem", "source_sha256", "source_shape")


@dataclass
class IndexStage(MapStage):
    """Decodes each image once and keeps it at the working size in the run's pixel cache.

    Args:
        size: working height and width in pixels at which the networks look, a multiple of 4; 0 takes the median side of
            the images, within `smallest` and `largest`. A trigger that vanishes in this resize cannot be seen.
        smallest: working size that 0 chooses at least.
        largest: working size that 0 chooses at most.
        sampled: images that the median is taken of, about.
        max_pixels: larger images are set aside as unreadable.
    """

    name = "index"
    provides = (*SOURCE_COLUMNS, "pixels", "working_size", "max_pixels")
    size: Annotated[int, Range(least=0, most=512)] = 0
    smallest: Annotated[int, Range(least=16, most=512)] = 32
    largest: Annotated[int, Range(least=16, most=512)] = 64
    sampled: Count = 256
    max_pixels: Count = 50_000_000

    def check(self) -> None:
        if self.size and (self.size < 16 or self.size % 4):
            raise ElixirError(f"index.size = {self.size} must be 0 (choose) or a multiple of 4 from 16 to 512 pixels")
        if self.smallest > self.largest:
            raise ElixirError(f"index.smallest = {self.smallest} must not be above index.largest = {self.largest}")

    def indices(self, run: Run) -> np.ndarray:
        return np.arange(len(run.source.samples))

    def prepare(self, run: Run) -> None:
        run.facts["working_size"] = self.size or self._median_side(run)
        run.facts["max_pixels"] = self.max_pixels

    def _median_side(self, run: Run) -> int:
        rows = self.indices(run)
        sides: list[float] = []
        for row in rows[:: max(1, len(rows) // self.sampled)]:
            try:
                height, width = shape(run.source.read(int(row)), self.max_pixels)
                sides.append((height * width) ** 0.5)
            except UnreadableSample:
                continue
        median = float(np.median(sides or [self.smallest]))
        return int(np.clip(8 * round(median / 8), self.smallest, self.largest))

    def process(self, run: Run, indices: np.ndarray) -> Columns:
        size, workers = int(run.facts["working_size"]), run.workers
        columns, pixels = read_samples(run.source, indices, size, self.max_pixels, workers)
        run.source_pixels.write(indices, pixels)
        return columns


def hexadecimal(digest: np.ndarray) -> str:
    """A digest of `source_sha256`, uint8 (32,), as text; "" for what could not be read, which has none."""
    return digest.tobytes().hex() if digest.any() else ""


def read_samples(
    source: Source, rows: np.ndarray, size: int, max_pixels: int, workers: int, labelled: bool = True
) -> tuple[Columns, np.ndarray]:
    """Decode some samples of a source: `SOURCE_COLUMNS` about them, and their images, uint8 (n, 3, size, size).

    What cannot be read is black, and its digest 0; so is what has no label, if `labelled`.
    """
    pixels = np.zeros((len(rows), 3, size, size), np.uint8)
    problems = np.full(len(rows), "", object)
    digests = np.zeros((len(rows), 32), np.uint8)
    shapes = np.zeros((len(rows), 2), np.int32)

    def read() -> Iterator[tuple[int, int, bytes]]:
        for place, row in enumerate(rows.tolist()):
            sample = source.samples[row]
            try:
                if sample.problem:
                    raise UnreadableSample(sample.problem)
                data = source.read(row)
            except UnreadableSample as error:
                problems[place] = error.reason
            else:
                yield place, sample.label, data

    def examine(item: tuple[int, int, bytes]) -> None:
        place, label, data = item
        digests[place] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
        try:
            if labelled and label < 0:
                raise UnreadableSample("has no label")
            rgb, shapes[place] = decode_small(data, size, max_pixels)
        except UnreadableSample as error:
            problems[place] = error.reason
        else:
            pixels[place] = rgb.transpose(2, 0, 1)

    in_order(examine, read(), workers)
    return dict(zip(SOURCE_COLUMNS, (problems == "", problems, digests, shapes), strict=True)), pixels
