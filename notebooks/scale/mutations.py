"""Damages inputs at random: `python notebooks/scale/mutations.py --inputs 1000`; `--case 17` repeats one of them.

Every input goes through the whole pipeline, in a process with a time limit. Either it is refused by an error for
people, which a single bad image must never cause, or every sample is accounted for: what `elixir restore` rebuilds is
the input, the bytes of all samples that were kept are in the output, and images that nobody has damaged are in the
manifest. No input may be changed, and nothing may be written anywhere else.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from campaign import Command, contents, keep, scratch
from damage import WRITERS, damages, write_damaged
from small_sets import OPTIONS, few_images

LIMIT = 90  # seconds, on a busy machine; a run takes two
MEMORY = 3000  # MiB
ESCAPED = Path("/tmp/elixir-escaped.png")
IMAGES = few_images(count=14, poisoned=8)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--inputs", type=int, default=1000)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--case", type=int, help="this one alone, which is kept in ./case")
    given = arguments.parse_args()
    start, cases = time.perf_counter(), []
    with scratch() as folder:
        os.environ["ELIXIR_CACHE"] = str(folder / "cache")  # where zip archives are unpacked
        if given.case is not None:
            print(json.dumps(mutate(given.seed, given.case, Path("case").resolve()), indent=1))
            return
        for number in range(given.inputs):
            case = mutate(given.seed, number, folder / f"{number:04d}")
            shutil.rmtree(folder / f"{number:04d}")
            cases.append(case)
            if case["faults"] or number % 50 == 49:
                print(number, case if case["faults"] else "", flush=True)
    counts = Counter((case["kind"], case["damaged"], case["outcome"], bool(case["faults"])) for case in cases)
    groups = sorted({(kind, damaged) for kind, damaged, _, _ in counts})
    rows = [
        {
            "kind": kind,
            "damaged": damaged,
            "cleaned": sum(counts[kind, damaged, "cleaned", fault] for fault in (False, True)),
            "refused": sum(counts[kind, damaged, "refused", fault] for fault in (False, True)),
            "traceback, crash, hang, or anything lost": sum(
                count for (*group, _, fault), count in counts.items() if fault and (kind, damaged) == tuple(group)
            ),
        }
        for kind, damaged in groups
    ]
    faults = [case for case in cases if case["faults"]]
    facts = {"inputs": len(cases), "with a traceback or anything lost": len(faults), "seed": given.seed}
    facts |= {"longest in seconds": max(case["seconds"] for case in cases)}
    facts |= {"most memory in MiB": max(case["memory"] for case in cases)}
    facts |= {"minutes": round((time.perf_counter() - start) / 60, 1)}
    keep("mutations", "Damaged inputs, and what became of them.", facts, rows, faults)
    print(facts)
    sys.exit(bool(faults))


def mutate(seed: int, number: int, place: Path) -> dict[str, Any]:
    """Damage an input of a random kind in a random way, and clean it; what was wrong with that is in `faults`."""
    rng = np.random.default_rng([seed, number])
    kind = str(rng.choice(list(WRITERS)))
    options = damages(kind)
    damage = options[rng.integers(len(options))]
    place.mkdir()
    src, hit = write_damaged(rng, kind, IMAGES, place / "src", damage)
    before, dst = contents(place / "src"), place / "out"
    command = Command("sanitize", src, "-o", dst, "--quiet", "--device", "cpu", *OPTIONS, said=place / "said.txt")
    ended = command.wait(LIMIT)
    faults = []
    if ended.code == 0:
        intact = [image for row, (image, _) in enumerate(IMAGES) if row not in hit] if damage[0] == "images" else []
        faults += lost(kind, src, dst, intact)
        if damage[0] == "images" and rows_of(dst) != len(IMAGES):
            faults.append(f"the manifest has {rows_of(dst)} rows")
    elif not ended.refused:
        faults.append(f"code {ended.code} after {ended.seconds:.0f} s: {ended.said[-3000:]}")
    elif damage[0] == "images":
        faults.append(f"refused for single images: {ended.said}")
    elif dst.exists():
        faults.append("refused, and yet there is something at DST")
    if not ended.said.replace("\n", "").isprintable():
        faults.append(f"said what a terminal would obey: {ended.said!r}")
    if ended.memory > MEMORY:
        faults.append(f"took {ended.memory} MiB")
    if contents(place / "src") != before:
        faults.append("the input was changed")
    strange = {path.name for path in place.iterdir()} - {"src", "out", "said.txt", "back", "said-too.txt"}
    if strange - {".out.elixir-partial"} or ESCAPED.exists():
        faults.append(f"written elsewhere: {strange}")
    outcome = "cleaned" if ended.code == 0 else "refused" if ended.refused else "failed"
    told = {"case": number, "kind": kind, "damaged": ": ".join(damage), "outcome": outcome, "faults": faults}
    return told | {"seconds": round(ended.seconds, 1), "memory": ended.memory, "said": ended.said[:1000]}


def lost(kind: str, src: Path, dst: Path, intact: list[bytes]) -> Iterator[str]:
    """What of the input is not accounted for in the output."""
    manifest = pq.read_table(dst / ".elixir" / "manifest.parquet").to_pylist()
    unreadable = set(json.loads((dst / ".elixir" / "findings.json").read_text()).get("unreadable_files", ()))
    known = Counter(row["sha256_in"] for row in manifest)
    for digest, count in Counter(map(sha256, intact)).items():
        if known[digest] < count:
            yield f"an intact image is not in the manifest: {digest}"
    given, out = (Counter(map(sha256, every_bytes(folder, kind))) for folder in (src, dst))
    for digest, count in Counter(row["sha256_in"] for row in manifest if row["action"] == "kept").items():
        if given[digest] and out[digest] < count:
            yield f"a sample that was kept is not in the output: {digest}"
    back = dst.with_name("back")
    ended = Command("restore", dst, "-o", back, "--quiet", said=dst.with_name("said-too.txt")).wait(LIMIT)
    if ended.code:
        yield f"restore: code {ended.code}: {ended.said}"
    elif kind in ("parquet", "hf"):
        one, other = values(src), values(back)
        if len(one) != len(manifest):
            yield f"{len(manifest)} rows in the manifest, {len(one)} in the input"
        if one != other:
            yield "the rows that are restored are others"
    elif kind == "arrays":
        if len(values(back)) != len(manifest) or len(np.load(src)["images"]) != len(manifest):
            yield f"{len(manifest)} rows in the manifest, {len(values(back))} are restored"
    elif kind != "zip":
        one, other = contents(src) | followed(src), contents(back)
        for path in sorted(one.keys() | other.keys()):
            if one.get(path) != other.get(path) and path not in unreadable:
                yield f"restored otherwise: {path}"


def followed(src: Path) -> dict[str, bytes | str]:
    """Links to files of the same folder, by their path there: what they lead to, as which they are restored."""
    links = {path: Path(os.path.realpath(path)) for path in src.rglob("*") if path.is_symlink()}
    inside = {path: file for path, file in links.items() if file.is_file() and file.is_relative_to(src.resolve())}
    return {str(path.relative_to(src)): file.read_bytes() for path, file in inside.items()}


def rows_of(dst: Path) -> int:
    return pq.read_metadata(dst / ".elixir" / "manifest.parquet").num_rows


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def every_bytes(folder: Path, kind: str) -> Iterator[bytes]:
    """All files, members of archives or values of tables below a folder, but for the evidence."""
    for path, data in contents(folder).items() if folder.is_dir() else ():
        if path.startswith(".elixir") or isinstance(data, str):
            continue
        if kind == "webdataset" and path.endswith(".tar"):
            with tarfile.open(folder / path, ignore_zeros=True) as tar:
                yield from (tar.extractfile(member).read() for member in tar if member.isfile())  # type: ignore[union-attr]
        elif kind in ("parquet", "hf"):
            yield from (value for row in rows_in(folder / path) for value in row if isinstance(value, bytes))
        else:
            yield data


def rows_in(file: Path) -> list[list[Any]]:
    """The rows of a file of a table, flat: the values and names in any depth of them, numbers as floats, no nulls."""
    if file.suffix == ".parquet":
        table = pq.read_table(file)
    elif file.suffix == ".arrow":
        table = pa.ipc.open_stream(file.read_bytes()).read_all()
    else:
        return []
    columns = {name: column.to_pylist() for name, column in zip(table.column_names, table.columns, strict=True)}
    order = sorted(columns)
    return [[leaf for name in order for leaf in leaves(name, columns[name][row])] for row in range(table.num_rows)]


def leaves(name: str, value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for key in sorted(value):
            yield from leaves(f"{name}.{key}", value[key])
    elif isinstance(value, list | tuple):
        for one in value:
            yield from leaves(f"{name}[]", one)
    elif value is not None:
        yield name
        yield (
            value if isinstance(value, str | bytes) else repr(float(value) if isinstance(value, int | float) else value)
        )


def values(folder: Path) -> list[list[Any]]:
    """All rows of a table, in order."""
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".parquet", ".arrow")]
    return [row for file in files for row in rows_in(file)]


if __name__ == "__main__":
    main()
