"""Progress of a run on the terminal; silent when asked or when nobody watches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

SPEED_OVER = 600  # seconds of the past that the time left is judged by: enough for steps that take minutes


class Progress:
    """One bar for each stage, on standard error; none if `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._console = Console(stderr=True)

    @contextmanager
    def task(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a bar while the enclosed work runs; yields a function that advances it by a number of steps."""
        if self.quiet:
            yield lambda steps: None
            return
        columns = (
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=self._console, speed_estimate_period=SPEED_OVER) as bars:
            bar = bars.add_task(name, total=total)
            yield lambda steps: bars.advance(bar, steps)
