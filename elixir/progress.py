"""Progress of a run on the terminal; silent when asked or when nobody watches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

SPEED_OVER = 600  # seconds of the past that the time left is judged by: enough for steps that take minutes


class Progress:
    """Bars on standard error; none if `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        columns = (
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True)
        self._bars = RichProgress(*columns, console=console, speed_estimate_period=SPEED_OVER, disable=quiet)

    def say(self, line: str) -> None:
        """A line for people on standard error, above the bars."""
        if not self.quiet:
            self._bars.console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)

    @contextmanager
    def task(self, name: str, total: float) -> Iterator[Callable[[float], None]]:
        """Show a bar while the enclosed work runs; yields a function that advances it by a number of steps.

        The bar of a task within another task is below that one's, and vanishes with its end.
        """
        outermost = not self._bars.live.is_started
        if outermost:
            self._bars.start()
        bar = self._bars.add_task(name, total=total)
        try:
            yield lambda steps: self._bars.advance(bar, steps)
        finally:
            if outermost:
                self._bars.stop()
            self._bars.remove_task(bar)
