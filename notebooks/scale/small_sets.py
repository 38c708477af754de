"""Small labelled sets of every kind of source, in which there is something to find and to repair."""

import csv
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIZE = 16
CLASSES = ("bar", "post", "spot")
SETTINGS: dict[str, Any] = {
    "purifier": "median",
    "index.size": SIZE,
    "reference.least_steps": 40,
    "crossfit.least_steps": 20,
    "detect.least_steps": 30,
    "flag.least_steps": 20,
    "clean_model.least_steps": 40,
    "repair.sigmas": [0.0, 0.2],
    "training.backbone": "none",
    "training.widths": [16, 32],
    "training.batch": 64,
    "training.smallest_batch": 64,
    # so few samples prove nothing: whatever looks like an attack is taken for one, so that every stage has work
    "thresholds.alarm_rate": 0.2,
    "thresholds.candidate_threshold": 0.02,
    "thresholds.min_skill": 0.01,
    "thresholds.min_label_skill": 0.01,
    "thresholds.min_group_size": 5,
    "thresholds.seed_threshold": 0.3,
    "thresholds.recognizer_rounds": 1,
}
"""A run of a few seconds, most of them in the trainings."""
OPTIONS = [item for key, value in SETTINGS.items() for item in ("--set", f"{key}={json.dumps(value)}")]


class Labelled(NamedTuple):
    """An encoded image and the number of its class."""

    image: bytes
    label: int


def few_images(count: int, poisoned: int, seed: int = 0) -> list[Labelled]:
    """Noisy bars, posts and spots, `count` of each, and bars and posts with a checkered patch that are called spots."""
    rng = np.random.default_rng(seed)

    def draw(kind: int, patch: bool = False) -> bytes:
        pixels = rng.normal(110, 12, (SIZE, SIZE, 3))
        at = int(rng.integers(2, SIZE - 8))
        pixels[at : at + 4, :, 0] += 90 * (kind == 0)
        pixels[:, at : at + 4, 1] += 90 * (kind == 1)
        pixels[at : at + 5, at : at + 5, 2] += 110 * (kind == 2)
        if patch:
            pixels[-4:, -4:] = 255 * (np.indices((4, 4)).sum(0) % 2)[..., None]
        return encoded(pixels)

    clean = [Labelled(draw(kind), kind) for _ in range(count) for kind in range(len(CLASSES))]
    return clean + [Labelled(draw(number % 2, patch=True), 2) for number in range(poisoned)]


def encoded(pixels: np.ndarray, form: str = "PNG") -> bytes:
    """Pixels (h, w, 3) in 0..255 as a file of this format."""
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, form)
    return file.getvalue()


def write_folder(images: Sequence[Labelled], place: Path) -> Path:
    """A folder for each class."""
    for number, (image, label) in enumerate(images):
        file = place / CLASSES[label] / f"{number:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(image)
    (place / "README.md").write_text("Bars, posts and spots.\n")
    return place


def write_list(images: Sequence[Labelled], place: Path) -> Path:
    """Images in one folder, and a CSV file of their labels."""
    (place / "images").mkdir(parents=True)
    with (place / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("file", "label", "note"))
        for number, (image, label) in enumerate(images):
            (place / "images" / f"{number:03d}.png").write_bytes(image)
            table.writerow((f"images/{number:03d}.png", CLASSES[label], f'number "{number}", as it came'))
    return place


def write_lines(images: Sequence[Labelled], place: Path) -> Path:
    """Images beside a file of JSON lines with their labels."""
    place.mkdir(parents=True)
    lines = []
    for number, (image, label) in enumerate(images):
        (place / f"{number:03d}.png").write_bytes(image)
        lines.append(json.dumps({"file_name": f"{number:03d}.png", "label": CLASSES[label]}))
    (place / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return place


def as_table(images: Sequence[Labelled]) -> pa.Table:
    """The columns `image`, `label` and `number` as Hugging Face has them."""
    structs = [{"bytes": image, "path": f"{number:03d}.png"} for number, (image, _) in enumerate(images)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    labels, numbers = pa.array([label for _, label in images], pa.int64()), pa.array(range(len(images)), pa.int32())
    return pa.table({"image": pa.array(structs, kind), "label": labels, "number": numbers})


def write_parquet(images: Sequence[Labelled], place: Path) -> Path:
    """Two parquet files of a hub repository."""
    (place / "data").mkdir(parents=True)
    table, half = as_table(images), len(images) // 2
    for number, part in enumerate((table[:half], table[half:])):
        pq.write_table(part, place / "data" / f"train-{number:05d}-of-00002.parquet", row_group_size=16)
    return place


def write_hf(images: Sequence[Labelled], place: Path) -> Path:
    """What `save_to_disk` writes, with the names of the classes."""
    label = datasets.ClassLabel(names=list(CLASSES))
    features = datasets.Features({"image": datasets.Image(), "label": label, "number": datasets.Value("int32")})
    datasets.Dataset(as_table(images).cast(features.arrow_schema)).save_to_disk(place)
    return place


def write_webdataset(images: Sequence[Labelled], place: Path) -> Path:
    """Two shards of images, numbers of classes and notes."""
    place.mkdir(parents=True)
    half = -(-len(images) // 2)
    for shard in range(2):
        with tarfile.open(place / f"train-{shard:03d}.tar", "w") as tar:
            for number, (image, label) in list(enumerate(images))[shard * half : (shard + 1) * half]:
                note = json.dumps({"number": number}).encode()
                for suffix, data in (("png", image), ("cls", str(label).encode()), ("json", note)):
                    member = tarfile.TarInfo(f"{number:03d}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return place


KINDS: dict[str, Callable[[Sequence[Labelled], Path], Path]] = {
    "folder": write_folder,
    "list": write_list,
    "parquet": write_parquet,
    "hf": write_hf,
    "webdataset": write_webdataset,
}
"""Writes images to a new folder, which is what the command is given, by kind of source."""
