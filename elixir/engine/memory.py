"""Memory that the process has no more use for."""

import ctypes
from contextlib import suppress

import pyarrow as pa


def give_back() -> None:
    """Let the system have what was freed: glibc and pyarrow keep much of it for later, the more the larger the data."""
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
