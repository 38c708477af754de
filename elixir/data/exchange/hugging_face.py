"""A Hugging Face dataset of the samples, as `datasets.load_from_disk` reads it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import datasets
import pyarrow as pa

from elixir.data.exchange.samples import Exported
from elixir.data.output_images import OutputImages
from elixir.data.tables.hf import ArrowWriter


def write_hugging_face(folder: Path, samples: Iterable[Exported], images: OutputImages, classes: Sequence[str]) -> None:
    """Write a row for each sample; fastest for ascending rows.

    `image` is null for a sample that could not be read, `new_image` for one of which the picture has not changed or is
    not in the output, `new_label` for one that is not in the output.
    """
    names = datasets.ClassLabel(names=list(classes))
    text, number, image = datasets.Value("string"), datasets.Value("float32"), datasets.Image()
    features = datasets.Features(
        {
            "image": image,
            "label": names,
            "new_image": image,
            "new_label": names,
            "action": text,
            "poison_score": number,
            "confidence": number,
            "reason": text,
            "id": text,
        }
    )
    index = {name: label for label, name in enumerate(classes)}
    writer = ArrowWriter(folder, features.arrow_schema, "train")
    for sample in samples:
        row = sample.facts() | {
            "image": _encoded(images.before(sample.row)),
            "new_image": _encoded(images.after(sample.row)),
            "label": index.get(sample.given_label),
            "new_label": index.get(sample.new_label),
        }
        writer.add(pa.Table.from_pylist([row], features.arrow_schema))
    writer.close()


def _encoded(data: bytes | None) -> dict[str, bytes | None] | None:
    return None if data is None else {"bytes": data, "path": None}
