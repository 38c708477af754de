"""Which samples of a run a person should look at first, from the manifest alone."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from elixir.data.manifest import SHARES_PATTERN, begins, where

SURE = 0.8  # confidence of the clean model from which on a new label is not doubtful
NEAR = 0.1  # share of the least poison score flagged in a label, from which on others of it were nearly flagged


@dataclass(frozen=True)
class Doubt:
    """How much each row of a manifest asks to be looked at.

    | group | doubtful | first |
    |---|---|---|
    | 0 | set aside as poisoned: what it shows, or whether the trigger is gone, is uncertain | least confident |
    | 1 | flagged, but kept | highest poison score |
    | 2 | changed or taken out, though the clean model is not `SURE` of the label | least confident |
    | 3 | nearly flagged, `NEAR` times the least score flagged in its label or more; or with a pattern | highest score |

    Behind them come all other flagged samples (4), the least confident first, and then the rest (5), the highest poison
    score first. Nothing is doubtful that could not be read, or that a person has decided about.

    Attributes:
        group: int8 (n,).
        within: rank in the group, the least first, (n,).
    """

    group: np.ndarray
    within: np.ndarray

    @classmethod
    def of(cls, manifest: pa.Table) -> Self:
        """That of all rows."""
        label, flagged = (manifest[name].to_numpy() for name in ("label", "flagged"))
        score = np.nan_to_num(manifest["poison_score"].to_numpy())
        confidence = np.nan_to_num(manifest["confidence"].to_numpy(), nan=1.0)
        kept = where(manifest, "action", "kept")
        uncertain = begins(manifest, "reason", "poisoned, ") & (manifest["new_label"].to_numpy() < 0)
        is_open = (manifest["height"].to_numpy() > 0) & where(manifest, "decision", "")
        least = np.full(label.max(initial=0) + 1, np.inf, score.dtype)  # score flagged in each label
        np.minimum.at(least, label[flagged], score[flagged])
        near = ~flagged & (label >= 0) & (score >= NEAR * least[label])
        near |= ~flagged & where(manifest, "reason", SHARES_PATTERN)
        conditions = [flagged & uncertain, flagged & kept, flagged & (confidence < SURE), near]
        conditions = [is_open & condition for condition in conditions]
        group = np.select([*conditions, flagged], np.arange(5, dtype=np.int8), np.int8(5))
        return cls(group, np.where(np.isin(group, (0, 2, 4)), confidence, -score))

    @property
    def doubtful(self) -> np.ndarray:
        """Which rows are, bool (n,)."""
        return self.group < 4

    def first(self, rows: np.ndarray) -> np.ndarray:
        """Some rows, int64 (m,) ascending, in the order in which to look at them."""
        return rows[np.lexsort((self.within[rows], self.group[rows]))]
