"""What a stage that takes a label for attacked says about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def accusation(
    classes: Sequence[str],
    label: int,
    score: float,
    suspects: int,
    witness: str,
    evidence: Mapping[str, float],
) -> dict[str, Any]:
    """An entry of the finding "targets" (see `elixir.result.Target`), as plain values.

    Args:
        classes: names of the labels.
        label: which is under attack.
        score: in [0,1].
        suspects: number of samples.
        witness: what has convicted the label.
        evidence: what the score rests on, by name.
    """
    return {
        "label": label,
        "name": classes[label],
        "score": round(float(score), 4),
        "suspects": int(suspects),
        "witness": witness,
        "evidence": {key: round(float(value), 4) for key, value in evidence.items()},
    }
