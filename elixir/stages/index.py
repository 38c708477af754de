"""First stage: decode and hash every sample; what cannot be read is noted and set aside, never fatal."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from elixir.data.columns import Columns
from elixir.data.image import decode, resize
from elixir.engine.run import Run
from elixir.engine.stage import MapStage
from elixir.errors import ElixirError, UnreadableSample
from elixir.settings import Count, Range

LOOKED_AT = 256


@dataclass
class IndexStage(MapStage):
    """Decodes each image once and keeps it at the working size in the run's pixel cache.

    Args:
        size: working height and width in pixels at which the networks look, a multiple of 4; 0 takes the median side of
            the images, but at least 32 and at most 64. A trigger that vanishes in this resize cannot be seen.
        max_pixels: larger images are set aside as unreadable.
    """

    name = "index"
    size: Annotated[int, Range(least=0, most=512)] = 0
    max_pixels: Count = 50_000_000

    def check(self) -> None:
        if self.size and (self.size < 16 or self.size % 4):
            raise ElixirError(f"index.size = {self.size} must be 0 (choose) or a multiple of 4 from 16 to 512 pixels")

    def rows(self, run: Run) -> np.ndarray:
        return np.arange(len(run.source.samples))

    def open(self, run: Run) -> None:
        run.findings["working_size"] = self.size or self._median_side(run)
        run.findings["max_pixels"] = self.max_pixels

    def _median_side(self, run: Run) -> int:
        rows = self.rows(run)
        sides: list[float] = []
        for row in rows[:: max(1, len(rows) // LOOKED_AT)]:
            try:
                height, width = decode(run.source.read(int(row)), self.max_pixels).rgb.shape[:2]
                sides.append((height * width) ** 0.5)
            except UnreadableSample:
                continue
        return int(np.clip(8 * round(float(np.median(sides or [32])) / 8), 32, 64))

    def process(self, run: Run, rows: np.ndarray) -> Columns:
        size = int(run.findings["working_size"])
        pixels = np.zeros((len(rows), 3, size, size), np.uint8)
        problems = np.full(len(rows), "", object)
        digests = np.full(len(rows), "", object)
        shape = np.zeros((len(rows), 2), np.int32)
        for index, row in enumerate(rows):
            sample = run.source.samples[int(row)]
            try:
                if sample.problem:
                    raise UnreadableSample(sample.problem)
                data = run.source.read(int(row))
                digests[index] = hashlib.sha256(data).hexdigest()
                if sample.label < 0:
                    raise UnreadableSample("has no label")
                rgb = decode(data, self.max_pixels).rgb
                shape[index] = rgb.shape[:2]
                pixels[index] = resize(rgb, size).transpose(2, 0, 1)
            except UnreadableSample as error:
                problems[index] = error.reason
        run.pixels.write(rows, pixels)
        return {"readable": problems == "", "problem": problems, "sha256": digests, "shape": shape}
