"""Sources that have been read, sent to another process as ray does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from elixir.data.open import open_source
from elixir.data.source import Source
from elixir.errors import UnreadableSample

from .conftest import emit, image_bytes, make_tree, table

cloudpickle = pytest.importorskip("ray.cloudpickle")
FILES = {f"{name}/{number}.png": image_bytes(number) for name in ("cat", "dog") for number in range(4)}


def read(source: Source) -> list[bytes | str]:
    """The bytes of every sample, or why there are none."""
    found: list[bytes | str] = []
    for row in range(len(source.samples)):
        try:
            found.append(source.read(row))
        except UnreadableSample as error:
            found.append(error.reason)
    return found


@pytest.mark.parametrize(
    "kind", ["folder", "list", "hf", "parquet", "webdataset", "npz", "dataset", "stream", "arrays", "pairs"]
)
def test_a_source_is_read_in_another_process_as_in_this_one(kind: Any, tmp_path: Path) -> None:
    images, labels = np.arange(6 * 75, dtype=np.uint16).reshape(6, 5, 5, 3) % 251, np.arange(6) % 2
    images = images.astype(np.uint8)
    np.savez(tmp_path / "some.npz", images=images, labels=labels)
    given: dict[str, Any] = {
        "npz": tmp_path / "some.npz",
        "dataset": table(),
        "stream": table().to_iterable_dataset(),
        "arrays": (images, labels),
        "pairs": [(image, int(label)) for image, label in zip(images, labels, strict=True)],
    }
    if kind == "list":
        rows = "\n".join(["file,label", *(f"{name},{name[:3]}" for name in FILES)])
        given["list"] = make_tree(tmp_path / "listed", FILES | {"labels.csv": rows.encode()})
    if kind not in given:
        emit(open_source(make_tree(tmp_path / "tree", FILES)), kind, tmp_path / "out")
    source = open_source(given.get(kind, tmp_path / "out"))
    expected = read(source)
    sent = cloudpickle.loads(cloudpickle.dumps(source))
    assert read(sent) == expected
    assert [sample.id for sample in sent.samples] == [sample.id for sample in source.samples]
    assert (sent.fingerprint(), sent.classes) == (source.fingerprint(), source.classes)
