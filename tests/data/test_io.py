"""What went wrong while a file was written is said in few words."""

import errno
from pathlib import Path

import pytest

from elixir.data.io import writing
from elixir.errors import ElixirError


def test_what_pyarrow_says_of_a_full_disk_is_said_as_of_any_file(tmp_path: Path):
    said = "Error writing bytes to file. Detail: [errno 28] No space left on device"
    wanted = r"cannot write .*/columns: no space left on device; check free space"
    with pytest.raises(ElixirError, match=wanted), writing(tmp_path / "columns"):
        raise OSError(errno.ENOSPC, said)
