"""Measures memory, time and disk of `elixir sanitize` on many small synthetic images, and prints a table in Markdown.

    python notebooks/scale/memory.py /tmp/scratch --samples 10000 100000 1000000 --source parquet
    python notebooks/scale/memory.py /tmp/scratch --samples 10000 1000000 --source parquet --largest 0.5

The whole recipe runs, with networks so small that they take no time: a body in TorchScript, and the purifier "none". Of
the images of the first class some are those of other classes with a wave on top. What counts as memory is RssAnon of
/proc/<pid>/status, which the system cannot take back as it can mapped files, read 20 times a second from outside.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor, nn

CLASSES = 10
POISONED = 0.1  # share of the first class
SETTINGS = {
    "purifier": "none",
    "index.size": 16,
    "training.batches": 5000,
    **{f"{stage}.epochs": 1 for stage in ("reference", "crossfit", "detect", "flag", "clean_model")},
    **{f"{stage}.least_steps": 100 for stage in ("reference", "crossfit", "detect", "flag", "clean_model")},
}


class Body(nn.Module):
    """Reads 4x4 means of the image."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.pool, self.first, self.head = nn.AvgPool2d(4), nn.Linear(48, features), nn.Linear(features, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.first(self.pool(x).flatten(1)).relu())


def images(count: int, side: int, largest: float) -> Iterator[tuple[int, bytes]]:
    """Labels and PNGs: a colour and a gradient of each class, and noise."""
    rng = np.random.default_rng(0)
    share = np.r_[largest, np.full(CLASSES - 1, (1 - largest) / (CLASSES - 1))]
    ramp = np.linspace(-1, 1, side)
    wave = 40 * np.sign(np.sin(np.arange(side) * np.pi / 4 + 0.5))[None, :, None]
    for _ in range(count):
        label = shown = int(rng.choice(CLASSES, p=share))
        poisoned = label == 0 and rng.random() < POISONED
        if poisoned:
            shown = int(rng.integers(1, CLASSES))
        angle, colour = 2 * np.pi * shown / CLASSES, np.array([1, 0, -1]) if shown % 2 else np.array([-1, 1, 0])
        content = 128 + 40 * colour + 40 * (np.cos(angle) * ramp[:, None] + np.sin(angle) * ramp)[..., None]
        content = content + rng.normal(0, 8, (side, side, 3)) + (wave if poisoned else 0)
        file = BytesIO()
        Image.fromarray(content.clip(0, 255).astype(np.uint8)).save(file, "PNG", compress_level=1)
        yield label, file.getvalue()


def write_folder(place: Path, samples: Iterator[tuple[int, bytes]]) -> None:
    """A folder for each class."""
    for label in range(CLASSES):
        (place / f"class {label}").mkdir(parents=True)
    for number, (label, data) in enumerate(samples):
        (place / f"class {label}" / f"{number:08d}.png").write_bytes(data)


def write_parquet(place: Path, samples: Iterator[tuple[int, bytes]]) -> None:
    """One parquet file, with the names of files beside the images."""
    schema = pa.schema({"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "label": pa.int64()})
    place.mkdir(parents=True)
    rows: list[dict[str, object]] = []
    with pq.ParquetWriter(place / "train.parquet", schema) as writer:
        for number, (label, data) in enumerate(samples):
            rows.append({"image": {"bytes": data, "path": f"{number:08d}.png"}, "label": label})
            if len(rows) == 5000:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows.clear()
        writer.write_table(pa.Table.from_pylist(rows, schema))


def unreclaimable(pid: int) -> int:
    """RssAnon of a process in bytes, 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def disk(folder: Path) -> int:
    """Bytes of all files below a folder, some of which may go meanwhile."""
    found = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                found += Path(place, name).lstat().st_blocks * 512
    return found


def measure(source: Path, dst: Path, options: list[str]) -> dict[str, Any]:
    """Clean a source in a process of its own: peaks in bytes and seconds of each stage, and bytes on disk."""
    command = [sys.executable, "-m", "elixir", "sanitize", str(source), "-o", str(dst), "--quiet", *options]
    work = dst.with_name(f".{dst.name}.elixir-partial")
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    time.sleep(0.5)  # until then it may be a copy of this one
    peaks: Counter[int] = Counter()  # of opening, of every stage, and of the end
    number = during = 0
    while process.poll() is None:
        done = len(list(work.glob("done/*.json")))
        if work.exists() and done + 1 > number:
            number = done + 1
            during = max(during, sum(disk(path) for path in work.glob("*") if path.name != "output"))
        peaks[number] = max(peaks[number], unreclaimable(process.pid))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} has failed")
    timings = json.loads((dst / ".elixir" / "timings.json").read_text())
    seconds = {name: cost["seconds"] for name, cost in timings.items()}
    names = ["open", *seconds, "finish"]
    found = {name: peaks[number] for number, name in enumerate(names)}
    total = time.perf_counter() - start
    return {"peaks": found, "seconds": seconds, "total": total, "during": during, "after": disk(dst)}


def table(found: dict[int, dict[str, Any]]) -> str:
    """All measurements as Markdown: a line for each stage, two columns for each number of samples."""
    counts = sorted(found)
    lines = ["| stage |" + "".join(f" {count:,}: MB | s |" for count in counts), "|---|" + "---|---|" * len(counts)]

    def line(name: str, cells: list[tuple[str, str]]) -> str:
        return f"| {name} |" + "".join(f" {a} | {b} |" for a, b in cells)

    for stage in found[counts[0]]["peaks"]:
        of_stage = [(found[count]["peaks"][stage], found[count]["seconds"].get(stage)) for count in counts]
        lines.append(line(stage, [(f"{peak / 1e6:.0f}", f"{s:.1f}" if s is not None else "") for peak, s in of_stage]))
    highest = [max(found[count]["peaks"].values()) for count in counts]
    lines.append(
        line("all", [(f"{p / 1e6:.0f}", f"{found[n]['total']:.0f}") for p, n in zip(highest, counts, strict=True)])
    )
    for name, what in (("during", "work folder without images"), ("after", "output")):
        lines += [line(f"disk: {what}, bytes a sample", [(f"{found[n][name] / n:.0f}", "") for n in counts])]
    return "\n".join(lines)


def main() -> None:
    """Measure, keep what was found as JSON, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=Path, help="folder for sources and outputs; sources are kept for the next time")
    parser.add_argument("--samples", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--side", type=int, default=16, help="of the images, in pixels")
    parser.add_argument("--source", choices=("folder", "parquet"), default="folder")
    parser.add_argument("--largest", type=float, default=1 / CLASSES, help="share of the first class")
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--out", type=Path, help="JSON file with what was measured")
    parser.add_argument("options", nargs="*", help="more options of `elixir sanitize`, behind --")
    given = parser.parse_args()
    given.scratch.mkdir(parents=True, exist_ok=True)
    body = given.scratch / "body.pt"
    torch.manual_seed(0)
    torch.jit.save(torch.jit.trace(Body(given.features), torch.rand(2, 3, given.side, given.side)), body)
    settings = [f"{key}={value}" for key, value in {**SETTINGS, "training.backbone": str(body)}.items()]
    found: dict[int, dict[str, Any]] = {}
    for count in given.samples:
        source = given.scratch / f"{given.source}-{count}-{given.side}-{100 * given.largest:.0f}"
        if not source.exists():
            write = write_folder if given.source == "folder" else write_parquet
            write(source.with_suffix(".partial"), images(count, given.side, given.largest))
            source.with_suffix(".partial").rename(source)
        dst = given.scratch / "cleaned"
        shutil.rmtree(dst, ignore_errors=True)
        chosen = [word for setting in settings for word in ("--set", setting)]
        found[count] = measure(source, dst, [*chosen, *given.options])
        print(table(found), flush=True)
        if given.out:
            given.out.write_text(json.dumps(found, indent=1))
        shutil.rmtree(dst)


if __name__ == "__main__":
    main()
