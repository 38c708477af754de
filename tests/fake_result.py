"""Results as a run would leave them, of three labels with names that are no good XML."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from elixir.detection.reports import LabelReport, LabelTest
from elixir.engine.cost import Cost
from elixir.result import AttackedLabel, Result

CLASSES = ["cat", "<dog> & \x1b[31m", "owl\ufffe"]
PASSED = LabelTest("joint", "direct", 2, 0.9, True, {"disagrees": 0.5})


def fake_result(
    attacked: bool = False,
    not_judged: Sequence[str] = ("", "", ""),
    actions: Sequence[str] = ("kept",) * 6,
    unreadable_files: Sequence[str] = (),
    pattern: Sequence[int] = (),
) -> Result:
    """Two samples of each label, with these actions; `attacked`: whether the first label is; the reasons of each.

    `pattern`: samples of the last label that share one.
    """
    labels = [0, 0, 1, 1, 2, 2]
    manifest = pa.table(
        {
            "id": [f"{CLASSES[label]}/{row}.png" for row, label in enumerate(labels)],
            "label": labels,
            "class": [CLASSES[label] for label in labels],
            "action": list(actions),
            "reason": [""] * 6,
            "decision": [""] * 6,
        }
    ).replace_schema_metadata({"classes": json.dumps(CLASSES)})
    reports = [
        LabelReport(label, name, 2, (PASSED,), PASSED if attacked and label == 0 else None, not_judged[label])
        for label, name in enumerate(CLASSES)
    ]
    reports[-1] = replace(reports[-1], pattern=tuple(pattern))
    found = [AttackedLabel(0, "cat", 2, 0.9, "joint", "direct", {"disagrees": 0.5})] if attacked else []
    config = {"source": "pets\x1b"}
    return Result(None, found, reports, manifest, {"probe": Cost(seconds=1.5)}, config, list(unreadable_files))
