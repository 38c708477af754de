"""The one rule of what a person should look at first."""

import numpy as np
import pyarrow as pa

from elixir.data.doubt import Doubt
from elixir.data.manifest import SHARES_PATTERN, ManifestRow

NAN = float("nan")


def rows(*facts: tuple[int, str, str, float, bool, float]) -> pa.Table:
    """A manifest of label, action, reason, poison score, whether flagged, confidence."""
    told = [
        dict.fromkeys(ManifestRow.__annotations__, "")
        | dict(zip(("label", "action", "reason", "poison_score", "flagged", "confidence"), each, strict=True))
        | {"new_label": each[0] if each[1] in ("kept", "relabelled", "purified") else -1, "height": 6}
        for each in facts
    ]
    return pa.Table.from_pylist(told)


TABLE = rows(
    (0, "kept", "", 0.0001, False, NAN),
    (0, "relabelled", "poisoned", 1.0, True, 0.99),  # all clear
    (0, "relabelled", "poisoned; purified at sigma 0.1", 1.0, True, 0.55),
    (0, "quarantined", "poisoned, label uncertain", 0.9, True, 0.4),
    (0, "quarantined", "poisoned, and the trigger could not be taken out", 0.9, True, 0.3),
    (0, "kept", "flagged, but the clean model confirms its label", 0.01, True, 0.9),
    (0, "kept", "flagged, but the clean model confirms its label", 0.02, True, 0.9),
    (0, "kept", "", 0.002, False, NAN),  # nearly flagged: the least score flagged is 0.01
    (0, "kept", "", 0.003, False, NAN),
    (1, "kept", "", 0.003, False, NAN),  # of a label that is not under attack
    (0, "dropped", "poisoned", 0.9, True, 0.5),
    (0, "quarantined", "poisoned", 0.9, True, 0.95),
    (0, "purified", "poisoned, its label is right; only the trigger is taken out", 1.0, True, 0.97),
    (-1, "quarantined", "no label", NAN, False, NAN),
    (1, "kept", SHARES_PATTERN, 0.0, False, NAN),
)
EXPECTED = [4, 3, 6, 5, 10, 2, 8, 7, 14]


def _looked_at(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """All rows in order, and which of them are doubtful."""
    doubt = Doubt.of(table)
    return doubt.first(np.arange(table.num_rows)), doubt.doubtful


def test_doubtful_ones_come_first() -> None:
    order, doubtful = _looked_at(TABLE)
    assert order.tolist() == [*EXPECTED, 11, 12, 1, 9, 0, 13]
    assert np.flatnonzero(doubtful).tolist() == sorted(EXPECTED)


def test_what_is_decided_or_could_not_be_read_is_not_doubtful() -> None:
    decisions = [["keep" if row == 3 else "" for row in range(len(TABLE))]]
    decided = TABLE.set_column(TABLE.schema.get_field_index("decision"), "decision", decisions)
    heights = [0 if row == 4 else 6 for row in range(len(TABLE))]
    at = decided.schema.get_field_index("height")
    order, doubtful = _looked_at(decided.set_column(at, "height", [heights]))
    assert order.tolist()[:7] == EXPECTED[2:]
    assert not doubtful[[3, 4]].any()


def test_a_set_without_any() -> None:
    order, doubtful = _looked_at(TABLE.slice(0, 1))
    assert (order.tolist(), doubtful.tolist()) == ([0], [False])
    assert _looked_at(TABLE.slice(0, 0))[0].size == 0
    assert not _looked_at(TABLE.slice(13, 1))[1].any()
