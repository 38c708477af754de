"""Records of one shape and type, one after another in a single file: written at their places, read by mapping it."""

from __future__ import annotations

import mmap
import os
import weakref
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import DTypeLike

from elixir.data.io import writing


class Records:
    """A file of records, which is made when missing.

    Records may be written in any order and again, by several processes at once if they write different ones. Reading
    maps the file, so that the system may take the memory back; writing does not, because a full disk would then end
    the process.

    Args:
        shape: of one record.
        dtype: of its values.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.path = path
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._record = int(np.prod(shape)) * self.dtype.itemsize
        with writing(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self._closed = weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        """Records up to the last one written."""
        return os.fstat(self._file).st_size // self._record

    def write(self, indices: np.ndarray, values: np.ndarray) -> None:
        """Write records (n, *shape) at int64 indices (n,); what is never written reads as 0."""
        if values.dtype != self.dtype or values.shape[1:] != self.shape:
            raise ValueError(f"records must be {self.dtype} {self.shape}, not {values.dtype} {values.shape[1:]}")
        wanted = np.asarray(indices, np.int64)
        breaks = np.flatnonzero(np.diff(wanted) != 1) + 1  # neighbours are written in one go
        with writing(self.path):
            for numbers, records in zip(np.split(wanted, breaks), np.split(values, breaks), strict=True):
                rest = np.ascontiguousarray(records).reshape(-1).view(np.uint8).data
                offset = int(numbers[0]) * self._record if len(numbers) else 0
                while rest:
                    written = os.pwrite(self._file, rest, offset)
                    rest, offset = rest[written:], offset + written

    def mapped(self) -> np.ndarray:
        """All records, (n, *shape), read-only; they are read from the file where they are looked at."""
        count = len(self)
        if not count:
            return np.empty((0, *self.shape), self.dtype)
        mapped = mmap.mmap(self._file, 0, access=mmap.ACCESS_READ)
        return np.frombuffer(mapped, self.dtype, count * self._record // self.dtype.itemsize).reshape(-1, *self.shape)

    def close(self) -> None:
        """Close the file, which happens by itself when it is not needed any more; what is mapped stays."""
        self._closed()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
