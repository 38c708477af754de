"""Samples of all kinds of source: made when they are asked for, the same as those before."""

from pathlib import Path

import datasets
import numpy as np
import pytest

from elixir.data.open import open_source
from elixir.data.source import Sample, SomeSamples, Source

from .conftest import image_bytes, make_tree


def folder(place: Path) -> Source:
    files = {f"{name}/sub/{row}.png": image_bytes(row) for row, name in enumerate(("cat", "dog", "dog", "b\udcff"))}
    tree = make_tree(place, files)
    (place / "loose.png").symlink_to("/nowhere")
    return open_source(tree)


def listed(place: Path) -> Source:
    make_tree(place, {f"{row}.png": image_bytes(row) for row in range(3)})
    (place / "labels.csv").write_text("file,label\n2.png,b\n0.png,a\n1.png,\ngone.png,a\n")
    return open_source(place)


def table(place: Path) -> Source:
    images = [{"bytes": image_bytes(row), "path": f"{row % 3}.png"} for row in range(4)]
    columns = {"image": images, "label": [0, 1, None, 0]}
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["a", "b"]))
    return open_source(datasets.Dataset.from_dict(columns, features))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            folder,
            [
                Sample("loose.png", -1, "loose.png", "no such file or directory"),
                Sample(r"b\xff/sub/3.png", 0, "sub/3.png"),
                Sample("cat/sub/0.png", 1, "sub/0.png"),
                Sample("dog/sub/1.png", 2, "sub/1.png"),
                Sample("dog/sub/2.png", 2, "sub/2.png"),
            ],
        ),
        (
            listed,
            [
                Sample("2.png", 1, "2.png"),
                Sample("0.png", 0, "0.png"),
                Sample("1.png", -1, "1.png"),
                Sample("gone.png", 0, "gone.png", "no such file"),
            ],
        ),
        (
            table,
            [
                Sample("train/00000000", 0, "00000000"),
                Sample("train/00000001", 1, "1.png"),
                Sample("train/00000002", -1, "2.png"),
                Sample("train/00000003", 0, "00000003"),
            ],
        ),
    ],
)
def test_samples_are_what_they_are(tmp_path: Path, make, expected: list[Sample]):
    samples = make(tmp_path / "src").samples
    assert list(samples) == expected
    assert list(samples.ids) == [sample.id for sample in expected]
    assert (samples.labels.tolist(), samples.labels.dtype) == ([sample.label for sample in expected], np.int32)
    assert samples[-1] == samples[len(expected) - 1] == samples[1:][-1]
    assert not samples.labels.flags.writeable
    with pytest.raises(IndexError):
        samples[len(expected)]
    assert list(SomeSamples(samples, np.array([2, 0]))) == [expected[2], expected[0]]
