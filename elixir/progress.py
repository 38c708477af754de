"""Progress of a run: bars on a terminal, plain lines elsewhere, nothing when asked."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

SPEED_OVER = 600  # seconds of the past that the time left is judged by: enough for steps that take minutes


class Progress:
    """Bars on standard error, or a line for each task where that is no terminal; neither if `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        console = Console(stderr=True)
        self._draws = console.is_interactive and not quiet
        columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), _TimeLeft())
        self._bars = RichProgress(*columns, console=console, speed_estimate_period=SPEED_OVER, disable=not self._draws)

    def say(self, line: str) -> None:
        """A line for people on standard error, above the bars."""
        if not self.quiet:
            self._bars.console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)

    @contextmanager
    def task(self, name: str, total: float) -> Iterator[Callable[[float], None]]:
        """Show a bar while the enclosed work runs; yields a function that advances it by a number of steps.

        The bar of a task within another task is below that one's, and vanishes with its end.
        """
        if not self._draws:
            self.say(f"{name} ...")
        outermost = not self._bars.live.is_started
        if outermost:
            self._bars.start()
        bar = self._bars.add_task(name, total=total, advanced=time.monotonic())
        try:
            yield lambda steps: self._bars.update(bar, advance=steps, advanced=time.monotonic())
        finally:
            if outermost:
                self._bars.stop()
            self._bars.remove_task(bar)


class _TimeLeft(ProgressColumn):
    """The time left, by the speed so far and the time since the last step; of a finished task the time that it took."""

    max_refresh = 0.5

    def get_table_column(self) -> Column:
        """On a narrow terminal the bars become shorter, and the time stays."""
        return Column(no_wrap=True)

    def render(self, task: Task) -> Text:
        """Hours, minutes and seconds; empty while they cannot be told."""
        if task.finished_time is not None:
            return Text(str(timedelta(seconds=int(task.finished_time))), style="progress.elapsed")
        if task.time_remaining is None:
            return Text()
        left = task.time_remaining - (time.monotonic() - task.fields["advanced"])
        return Text(f"{timedelta(seconds=int(left))} left" if left > 0 else "", style="progress.remaining")
