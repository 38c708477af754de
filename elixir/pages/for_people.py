"""What a result tells people beside its dataset: a summary, a card and a report."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from elixir.data.io import RUN_FOLDER, replace_text
from elixir.pages.card import CARD, dataset_card
from elixir.pages.report import write_report
from elixir.pages.thumbnails import Pictures
from elixir.result import Result


def write_for_people(result: Result, folder: Path, pictures: Pictures, triggers: Mapping[int, Tensor]) -> None:
    """Write all of it into the run folder of the output `folder`, a card only with a dataset; see `write_report`."""
    place = folder / RUN_FOLDER
    replace_text(place / "summary.txt", result.summary(times=False))
    if result.has_dataset:
        replace_text(place / CARD, dataset_card(result))
    write_report(result, folder, pictures, triggers)
