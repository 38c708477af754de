"""A section for the card of a dataset (README.md) that says what was changed."""

import re

import pyarrow.compute as pc

from elixir.data.manifest import where
from elixir.data.paths import printable
from elixir.errors import ElixirError
from elixir.result import Result

CARD = "card.md"
FLOWS = 50  # lines of the table of labels


def dataset_card(result: Result) -> str:
    """The section in Markdown, with the text of strangers escaped; the same bytes for the same run.

    Raises: ElixirError: the run has written no dataset.
    """
    config, table = result.config, result.table
    if not result.has_dataset:
        what = "only labels were written" if result.labels_only else "a scan has changed nothing"
        raise ElixirError(f"{what} that a card could tell of; give a dataset that `elixir sanitize` has written")
    decisions = int((~where(table, "decision", "")).sum())
    version = literal(config["version"])
    counts = ", ".join(f"{count} {action}" for action, count in sorted(result.counts.items()))
    policy = "" if config.get("policy") is None else f", policy {literal(config['policy'])}"
    lines = [
        "## Cleaned with Elixir",
        "",
        f"This dataset was searched for backdoor poisoning and cleaned with dataset-elixir {version}.",
        "",
        f"- Samples of the input: {table.num_rows}; {counts}",
        f"- {literal(result.described_classes())}",
        *(f"- {literal(line)}" for line in result.findings()),
        *(f"- Note: {literal(note)}" for note in result.notes),
        *([f"- Decided by people: {decisions}"] if decisions else []),
        f"- Recipe {literal(config['pipeline'])}{policy}, seed {config['seed']}; all settings: `.elixir/run.json`",
    ]
    flows = (
        table.filter(pc.field("action") != "kept")
        .group_by(["class", "action", "new_class"])
        .aggregate([([], "count_all")])
        .sort_by(
            [("count_all", "descending"), ("class", "ascending"), ("action", "ascending"), ("new_class", "ascending")]
        )
        .to_pylist()
    )
    if flows:
        lines += ["", "| given label | became | label now | samples |", "|---|---|---|---|"]
        for flow in flows[:FLOWS]:
            cells = (literal(flow["class"]), flow["action"], literal(flow["new_class"]), str(flow["count_all"]))
            lines.append(f"| {' | '.join(cells)} |")
        if len(flows) > FLOWS:
            lines += ["", f"and {len(flows) - FLOWS} more."]
    lines += [
        "",
        "`.elixir/manifest.parquet` says of every sample what became of it and why. With the folder `.elixir` beside "
        "the data, `elixir restore DATASET -o ORIGINAL` rebuilds the input.",
    ]
    return "\n".join(lines) + "\n"


def literal(text: object) -> str:
    """Any text as Markdown that shows it as it is, on one line: nothing in it is markup, HTML or a link."""
    return re.sub(r"([\\`*_\[\]<>#|~&:@.!$+=-])", r"\\\1", printable(str(text)))
