"""Which samples of a run a person should look at first, from the manifest alone."""

import numpy as np
import pyarrow as pa

from elixir.data.manifest import begins, where

SURE = 0.8  # confidence of the clean model from which on a new label is not doubtful
NEAR = 0.1  # share of the least poison score flagged in a label, from which on others of it were nearly flagged


def doubtful_first(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a manifest in the order in which to look at them, int64 (n,), and which are doubtful, bool (n,).

    | order | doubtful | first |
    |---|---|---|
    | 1 | set aside as poisoned: what it shows, or whether the trigger is gone, is uncertain | least confident |
    | 2 | flagged, but kept | highest poison score |
    | 3 | changed or taken out, though the clean model is not `SURE` of the label | least confident |
    | 4 | nearly flagged: a score of at least `NEAR` times the least one flagged in its label | highest poison score |

    Behind them come all other flagged samples, the least confident first, and then the rest, the highest poison score
    first. Nothing is doubtful that could not be read, or that a person has decided about.

    Args:
        table: see `elixir.data.manifest.read_manifest`.
    """
    label, flagged = (table[name].to_numpy() for name in ("label", "flagged"))
    score = np.nan_to_num(table["poison_score"].to_numpy())
    confidence = np.nan_to_num(table["confidence"].to_numpy(), nan=1.0)
    kept = where(table, "action", "kept")
    uncertain = begins(table, "reason", "poisoned, ") & (table["new_label"].to_numpy() < 0)
    is_open = (table["height"].to_numpy() > 0) & where(table, "decision", "")
    least = np.full(label.max(initial=0) + 1, np.inf)  # score flagged in each label
    np.minimum.at(least, label[flagged], score[flagged])
    near = ~flagged & (label >= 0) & (score >= NEAR * least[label])
    conditions = [flagged & uncertain, flagged & kept, flagged & (confidence < SURE), near]
    group = np.select([is_open & condition for condition in conditions] + [flagged], np.arange(5, dtype=np.int8), 5)
    within = np.where(np.isin(group, (0, 2, 4)), confidence, -score)
    return np.lexsort((within, group)), group < len(conditions)
