"""FiftyOne: a dataset in its own format, `fiftyone.types.FiftyOneImageClassificationDataset`.

Format: https://docs.voxel51.com/user_guide/import_datasets.html#fiftyoneimageclassificationdataset
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from elixir.data.exchange.samples import Exported
from elixir.data.io import replace_text

DATA, LABELS = "data", "labels.json"
RESERVED = {"id": "sample_id", "confidence": "new_label_confidence"}
"""What a `Classification` has names of its own for, or means by them something else."""


def write_fiftyone(folder: Path, samples: Iterable[Exported], pictures: dict[int, str], classes: Sequence[str]) -> None:
    """Write the labels; the pictures are in `DATA` already.

    The label of each sample is the given one, all else that is known are attributes of it; see `write_label_studio`.
    """
    labels = {}
    for sample in samples:
        if sample.row in pictures:
            facts = {RESERVED.get(name, name): value for name, value in sample.facts().items() if value is not None}
            labels[Path(pictures[sample.row]).stem] = {"label": facts.pop("given_label"), "attributes": facts}
    content = {"classes": list(classes), "labels": labels}
    replace_text(folder / LABELS, json.dumps(content, indent=1))
