"""The table at the end, on a terminal."""

import io

from fake_result import fake_result
from rich.console import Console

from elixir.cli.label_table import label_table
from elixir.result import Result


def rows(result: Result, width: int = 80) -> list[list[str]]:
    console = Console(file=io.StringIO(), width=width, markup=False, emoji=False, highlight=False)
    console.print(label_table(result))
    return [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_labels_under_attack_come_first_and_unremarkable_ones_together():
    actions = ("kept", "relabelled", "kept", "kept", "quarantined", "quarantined")
    assert rows(fake_result(attacked=True, actions=actions)) == [
        ["label", "found", "flagged", "kept", "relabelled", "quarantined"],
        ["cat", "under", "attack", "2", "1", "1"],
        [r"owl\ufffe", "2"],
        ["1", "others", "2"],
    ]


def test_a_label_that_was_not_judged_has_a_row():
    assert rows(fake_result(not_judged=("", "few", "")))[1:] == [
        ["<dog>", "&", r"\x1b[31m", "not", "judged", "2"],
        ["2", "others", "4"],
    ]


def test_on_a_narrow_terminal_lines_are_not_longer():
    console = Console(file=io.StringIO(), width=30, markup=False)
    console.print(label_table(fake_result(attacked=True, actions=("relabelled",) * 6)))
    assert max(map(len, console.file.getvalue().splitlines())) <= 30  # type: ignore[attr-defined]
