"""Kills runs at random moments and goes on with them: `python notebooks/scale/kills.py --kills 100`.

Every kill has a stage, drawn so that all get their share, and a random delay in it. A run is killed up to four times,
one in five by Ctrl-C and the others by kill -9, and then finished with --resume. The output must be that of a run that
nobody has killed, byte for byte, and the input must be what it was.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from campaign import MOMENTS, Command, come_to, contents, differences, keep, moment, scratch, undisturbed
from small_sets import KINDS, OPTIONS, few_images

MOST = 4  # kills of one run
INTERRUPTED = 0.2  # share of kills by Ctrl-C
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kills", type=int, default=100, help="in all, the executors taking turns")
    arguments.add_argument("--executors", nargs="+", default=["local", "ray"], choices=["local", "ray"])
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    start = time.perf_counter()
    with scratch() as folder, cluster("ray" in given.executors) as address:
        campaign = Campaign(folder, address, given.seed)
        for number, executor in enumerate(given.executors):
            share = len(range(number, given.kills, len(given.executors)))
            campaign.kill(share, executor)
    kills = campaign.kills
    rows = [
        {"stage": stage}
        | {
            f"{executor}, {how}": sum(
                (kill["stage"], kill["executor"], kill["how"]) == (stage, executor, how) for kill in kills
            )
            for executor in given.executors
            for how in ("kill -9", "Ctrl-C")
        }
        for stage in MOMENTS
    ]
    faults = Counter(fault for run in campaign.runs for fault in run["faults"])
    facts = {
        "kills": len(kills),
        "runs": len(campaign.runs),
        "runs with anything lost or different": sum(bool(run["faults"]) for run in campaign.runs),
        "seed": given.seed,
        "minutes": round((time.perf_counter() - start) / 60, 1),
    }
    keep("kills", "Kills by the stage that was at work, all followed by --resume.", facts, rows, campaign.runs)
    print(facts, dict(faults))
    sys.exit(bool(faults))


class Campaign:
    """Runs on a set of each kind, and what became of them."""

    def __init__(self, folder: Path, address: str, seed: int) -> None:
        self._folder, self._address = folder, address
        self._rng = np.random.default_rng(seed)
        images = few_images(count=30, poisoned=14)
        self._sources = {kind: write(images, folder / kind) for kind, write in KINDS.items()}
        self._inputs = {kind: contents(src) for kind, src in self._sources.items()}
        undisturbed = {kind: self._undisturbed(kind, "local") for kind in KINDS}
        self._takes = {"local": {kind: takes for kind, (takes, _) in undisturbed.items()}}
        self._outputs = {kind: output for kind, (_, output) in undisturbed.items()}
        self.runs: list[dict[str, Any]] = []

    @property
    def kills(self) -> list[dict[str, Any]]:
        return [kill for run in self.runs for kill in run["kills"]]

    def kill(self, count: int, executor: str) -> None:
        """Start and kill runs until there were so many kills."""
        if executor not in self._takes:
            self._takes[executor] = {kind: self._undisturbed(kind, executor)[0] for kind in KINDS}
        planned = [MOMENTS[number % len(MOMENTS)] for number in range(count)]
        planned = [planned[place] for place in self._rng.permutation(count)]
        while planned:
            kind = list(KINDS)[len(self.runs) % len(KINDS)]
            chosen = sorted(planned[: self._rng.integers(1, MOST + 1)], key=MOMENTS.index)
            run = self._disturbed(kind, executor, chosen)
            for kill in run["kills"]:
                planned.remove(kill["planned"])
            self._rng.shuffle(planned)
            self.runs.append(run)
            print(len(self.runs), kind, executor, [kill["stage"] for kill in run["kills"]], run["faults"], flush=True)

    def _start(self, kind: str, executor: str, dst: Path, *more: str) -> Command:
        own = ("--workers", "2")
        if executor == "ray":  # one worker, as a small set is one part: each takes seconds to start
            own = ("--executor", "ray", "--address", self._address, "--workers", "1")
        arguments = ("sanitize", self._sources[kind], "-o", dst, "--quiet", "--device", "cpu", *OPTIONS, *own, *more)
        return Command(*arguments, said=dst.with_name("said.txt"))

    def _undisturbed(self, kind: str, executor: str) -> tuple[dict[str, float], dict[str, Any]]:
        dst = self._folder / f"{kind}-{executor}" / "out"
        dst.parent.mkdir()
        return undisturbed(lambda: self._start(kind, executor, dst), dst)

    def _disturbed(self, kind: str, executor: str, planned: list[str]) -> dict[str, Any]:
        """A run that is killed at some moments, in their order, and then finished."""
        dst = self._folder / f"{len(self.runs):03d}" / "out"
        dst.parent.mkdir()
        kills: list[dict[str, Any]] = []
        faults: list[str] = []
        commands: list[Command] = []
        for name in planned:
            by_hand = self._rng.random() < INTERRUPTED
            command = self._start(kind, executor, dst, "--resume")
            commands.append(command)
            if not come_to(name, self._takes[executor][kind][name], self._rng, command, dst):
                ended = command.wait(0)
                if ended.code:
                    faults.append(f"ended with {ended.code} before it was killed: {ended.said[-2000:]}")
                break
            if by_hand:
                os.killpg(command.pid, signal.SIGINT)
            else:
                os.kill(command.pid, signal.SIGKILL)
            ended = command.wait()
            stage = moment(dst)
            if stage == "done":  # it was over before it was killed
                break
            kills.append({"planned": name, "stage": stage, "how": "Ctrl-C" if by_hand else "kill -9"})
            kills[-1]["executor"] = executor
            if by_hand and (ended.code not in (130, 254) or "Traceback" in ended.said):
                faults.append(f"Ctrl-C: code {ended.code}: {ended.said[-2000:]}")
        commands.append(self._start(kind, executor, dst, "--resume"))
        ended = commands[-1].wait()
        if ended.code:
            faults.append(f"the resumed run ended with {ended.code}: {ended.said[-2000:]}")
        faults += [f"different: {path}" for path in differences(contents(dst), self._outputs[kind])]
        faults += [f"input: {path}" for path in differences(contents(self._sources[kind]), self._inputs[kind])]
        faults += [f"left: {left.name}" for left in dst.parent.iterdir() if left.name not in ("out", "said.txt")]
        faults += ["left a process" for command in commands if command.left_processes()]
        return {"kind": kind, "executor": executor, "kills": kills, "faults": faults}


@contextmanager
def cluster(wanted: bool) -> Iterator[str]:
    """The address of a ray cluster on this machine, which all runs share."""
    if not wanted:
        yield ""
        return
    program = [sys.executable, "-c", CLUSTER]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.communicate()  # the end of its input is what ends it


if __name__ == "__main__":
    main()
