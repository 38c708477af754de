"""A table of what became of the samples of each label, for a terminal."""

from collections import Counter
from typing import get_args

from rich.table import Table

from elixir.data.paths import printable
from elixir.data.sink import Action
from elixir.result import Result

ROWS = 20  # labels with a row of their own


def label_table(result: Result) -> Table:
    """A row for each label of which something is to be said, those under attack first, and one for all others."""
    attacked = {label.name: label for label in result.attacked}
    not_judged = {report.name for report in result.not_judged}
    patterned = {report.name for report in result.patterns}
    counts = result.counts_by_class
    said = [
        name for name in counts if name in attacked or name in not_judged | patterned or counts[name].keys() - {"kept"}
    ]
    said.sort(key=lambda name: (name not in attacked, -(counts[name].total() - counts[name]["kept"]), name))
    actions = [action for action in get_args(Action) if result.counts.get(action)]

    table = Table("label", "found", "flagged", *actions, box=None)
    for column in table.columns[2:]:
        column.justify = "right"

    def add(name: str, found: str, flagged: str, count: Counter[str]) -> None:
        table.add_row(name, found, flagged, *(str(count[action] or "") for action in actions))

    for name in said[:ROWS]:
        label = attacked.get(name)
        found = "a pattern" if name in patterned else "not judged" if name in not_judged else ""
        found = "under attack" if label else found
        add(printable(name) or "(none)", found, str(label.flagged) if label else "", counts[name])
    others = sum((counts[name] for name in counts if name not in said[:ROWS]), Counter[str]())
    if others:
        add(f"{len(counts.keys() - set(said[:ROWS]))} others", "", "", others)
    return table
