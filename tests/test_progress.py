"""Bars on the terminal: one for the whole, and under it what is at work."""

import pytest

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
