"""Bars on the terminal: one for the whole, and under it what is at work."""

import re

import pytest

from elixir import progress as progress_module
from elixir.progress import Progress


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Output goes to a terminal that rich can draw on."""
    for name, value in {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "TERM": "xterm", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("terminal")
def test_a_task_within_another_is_shown_below_it_and_vanishes(capfd: pytest.CaptureFixture[str]):
    progress = Progress()
    with progress.task("whole", 3) as advance:
        with progress.task("part", 2) as advance_part:
            advance_part(2)
        advance(3)
    shown = capfd.readouterr()
    assert shown.out == ""
    before, _, last = shown.err.rpartition("whole")
    assert before.index("whole") < before.index("part")
    assert "3/3" in last
    assert "part" not in last


@pytest.mark.usefixtures("terminal")
def test_tasks_one_after_the_other_stay_on_the_screen_once(capfd: pytest.CaptureFixture[str]):
    progress = Progress()
    for name in ("first", "second"):
        with progress.task(name, 1) as advance:
            advance(1)
    shown = capfd.readouterr().err
    assert "first" not in shown[shown.index("second") :]


@pytest.mark.usefixtures("terminal")
def test_quiet_is_silent(capfd: pytest.CaptureFixture[str]):
    with Progress(quiet=True).task("whole", 1) as advance:
        advance(1)
    assert capfd.readouterr() == ("", "")


def test_without_a_terminal_there_are_lines_and_no_bars(capfd: pytest.CaptureFixture[str]):
    progress = Progress()
    with progress.task("whole", 3) as advance, progress.task("part", 2) as advance_part:
        advance_part(2)
        advance(3)
    assert capfd.readouterr() == ("", "whole ...\npart ...\n")


def last_frame(told: str) -> str:
    """What stands on the screen at the end of a task, without colours."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", told).splitlines()[-1]


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("columns", [40, 80])
def test_the_time_left_is_named_and_counts_down(columns: int, monkeypatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setenv("COLUMNS", str(columns))
    clock = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: clock[0])
    progress = Progress()
    progress._bars.get_time = lambda: clock[0]
    shown = []
    with progress.task("all stages", 99) as advance:
        for clock[0] in (0.0, 10.0, 20.0):  # 2 steps a second; 39 are left
            advance(20)
        for clock[0] in (20.0, 24.0, 60.0):
            progress._bars.refresh()
            shown.append(last_frame(capfd.readouterr().err))
    ends = [line[line.index("60/99") :].strip() for line in shown]
    assert ends == ["60/99 0:00:20 left", "60/99 0:00:16 left", "60/99"]
    assert max(map(len, shown)) <= columns


@pytest.mark.usefixtures("terminal")
def test_without_colour_nothing_is_coloured(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    monkeypatch.setenv("NO_COLOR", "1")
    with Progress().task("whole", 1) as advance:
        advance(1)
    told = capfd.readouterr().err
    assert "whole" in told
    assert not re.search(r"\x1b\[[34]\d", told)
