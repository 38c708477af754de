"""What was decided in every scenario: kept compressed, and compared with what the code at hand decides."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from golden import scenarios_disagreement, scenarios_files, scenarios_paper, scenarios_transfer
from golden.scenario import Outcome, Scenario

SCENARIOS: list[Scenario] = [
    *scenarios_transfer.ALL,
    *scenarios_disagreement.ALL,
    *scenarios_files.ALL,
    *scenarios_paper.ALL,
]
FOLDER = Path(__file__).with_name("recorded")
LEFT_OUT = ("sha256_in", "sha256_out", "class", "new_class")  # of encoded files, and what follows from the rest
TOLERANCE = 1e-4  # sums run in another order on another processor, and half precision rounds what they give
DIGITS = 6


def keep(scenario: Scenario, outcome: Outcome) -> None:
    """Write what was decided; the same bytes every time."""
    text = json.dumps(_rounded(_kept(outcome)), separators=(",", ":"), sort_keys=True)
    path = FOLDER / f"{scenario.name}.json.gz"
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def recorded(scenario: Scenario) -> Outcome:
    """What was decided."""
    return Outcome(**json.loads(gzip.decompress((FOLDER / f"{scenario.name}.json.gz").read_bytes())))


def differences(recording: Outcome, outcome: Outcome) -> list[str]:
    """Where an outcome is another than the recorded one; numbers may differ by `TOLERANCE`."""
    return list(_different("", asdict(recording), _rounded(_kept(outcome))))


def _kept(outcome: Outcome) -> dict[str, Any]:
    kept = asdict(outcome)
    for name in LEFT_OUT:
        kept["manifest"].pop(name, None)
    return kept


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, DIGITS)
    if isinstance(value, dict):
        return {str(key): _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    return value


def _different(place: str, before: Any, now: Any) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        found = [f"{place}: {sorted(set(before) ^ set(now))} only once"] if set(before) != set(now) else []
        return found + [
            line for key in before if key in now for line in _different(f"{place}/{key}", before[key], now[key])
        ]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [
            line for at, pair in enumerate(zip(before, now, strict=True)) for line in _different(f"{place}/{at}", *pair)
        ]
    return [] if _equal(before, now) else [f"{place}: {before!r} was, {now!r} is"]


def _equal(before: Any, now: Any) -> bool:
    """Whether two values are the same, or two numbers nearly."""
    if float in (type(before), type(now)) and None not in (before, now):
        return math.isclose(before, now, rel_tol=0, abs_tol=TOLERANCE)
    return before == now
