"""Fills the disk at ten moments of a run: `python notebooks/scale/full_disk.py`, as root, on Linux.

DST lies on a small file system in memory. At a random time of a drawn stage a file takes all room that there is, and
whatever becomes free, until the run has ended. The error must be one for people, nothing may be at DST, the input must
be what it was, and when there is room again --resume must give the output of a run that always had it, byte for byte.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from campaign import MOMENTS, Command, come_to, contents, differences, keep, moment, scratch, undisturbed
from small_sets import KINDS, OPTIONS, few_images

ROOM = 8 << 20  # bytes: more than any run needs
TRIES = 10


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--disks", type=int, default=10)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    if not hasattr(os, "geteuid") or os.geteuid():
        sys.exit("full_disk: mounting a small disk takes root on Linux; run this as root, in a container for example")
    begin, rng = time.perf_counter(), np.random.default_rng(given.seed)
    every = MOMENTS[1:-1]  # before and after there is nothing to write
    chosen = [every[number % len(every)] for number in rng.permutation(max(given.disks, len(every)))[: given.disks]]
    cases: list[dict[str, Any]] = []
    with scratch() as folder:
        images = few_images(count=30, poisoned=14)
        whole = {}
        for kind, write in KINDS.items():
            src, disk = write(images, folder / kind), folder / f"{kind}-whole"
            with mounted(disk):
                whole[kind] = (src, *undisturbed(lambda: start(src, disk), disk / "out"))  # noqa: B023
        for number, name in enumerate(sorted(chosen, key=MOMENTS.index)):
            kind = list(KINDS)[number % len(KINDS)]
            src, takes, output = whole[kind]
            for again in range(TRIES):
                disk = folder / f"{number:02d}-{again}"
                with mounted(disk):
                    case = fill(src, disk, name, takes[name], rng, output)
                if case["failed in"] != "done":  # else there was nothing left to write
                    break
            cases.append({"filled in": name, "kind": kind} | case)
            print(cases[-1], flush=True)
    faults = sum(bool(case["faults"]) for case in cases)
    facts = {"disks": len(cases), "with anything lost or different": faults, "seed": given.seed}
    facts["minutes"] = round((time.perf_counter() - begin) / 60, 1)
    rows = [{key: value for key, value in case.items() if key != "faults"} for case in cases]
    keep("full_disk", "Disks that were full, and what a run said; all went on with --resume.", facts, rows, cases)
    print(facts)
    sys.exit(bool(faults))


def start(src: Path, disk: Path, *more: str) -> Command:
    said = disk.with_name(f"{disk.name}.txt")
    return Command("sanitize", src, "-o", disk / "out", "--quiet", "--device", "cpu", *OPTIONS, *more, said=said)


def fill(
    src: Path, disk: Path, name: str, takes: float, rng: np.random.Generator, output: dict[str, Any]
) -> dict[str, Any]:
    """Run on a disk that is full from some time of a moment on, then again with room."""
    dst, before, faults = disk / "out", contents(src), []
    command = start(src, disk)
    come_to(name, takes, rng, command, dst)
    with (disk / "filler").open("wb") as filler:
        while not command.poll():
            take_all_room(filler.fileno())
    ended, where = command.wait(), moment(dst)
    if not ended.refused or "no space left" not in ended.said:
        faults.append(f"code {ended.code}: {ended.said}")
    if dst.exists():
        faults.append("there is something at DST")
    (disk / "filler").unlink()
    again = start(src, disk, "--resume").wait()
    if again.code:
        faults.append(f"resumed: code {again.code}: {again.said}")
    faults += [f"different: {path}" for path in differences(contents(dst), output)]
    faults += [f"left: {left.name}" for left in disk.iterdir() if left != dst]
    faults += [f"input: {path}" for path in differences(contents(src), before)]
    return {"failed in": where, "said": ended.said.strip().replace(str(disk), "DISK"), "faults": faults}


def take_all_room(file: int) -> None:
    """Let an open file grow by all that is free on its disk."""
    of = os.fstatvfs(file)
    if free := of.f_bfree * of.f_frsize:
        with suppress(OSError):  # the run was faster
            os.posix_fallocate(file, os.fstat(file).st_size, free)
    time.sleep(0.0002)


@contextmanager
def mounted(disk: Path) -> Iterator[None]:
    """A small file system in memory."""
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", disk], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", disk], check=True)


if __name__ == "__main__":
    main()
