"""The command line: parse, call the API, render."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer
from rich.console import Console

import elixir
from elixir.cli import catalog, cleaning, experiments, measuring, reports, training
from elixir.cli.exit_codes import ExitCode
from elixir.data.paths import printable
from elixir.errors import ElixirError

EXIT_CODES = (
    "Exit codes: 0 done; 1 something is unusable, the message says what; 2 no such command or option; 3 done, and what "
    "--fail-on names was found; 130 interrupted."
)
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, epilog=EXIT_CODES)
for group in (cleaning, catalog, experiments, measuring):
    app.add_typer(group.app)
app.add_typer(training.app, name="train")
app.add_typer(reports.app, name="report")

GO_ON = "the same command goes on from here, with --resume where it has that option"


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"elixir {elixir.__version__}\n")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
]


@app.callback()
def about(version: Version = False) -> None:
    """Find and repair backdoor-poisoned samples in labelled image datasets."""


@contextmanager
def _errors_for_people() -> Iterator[None]:
    try:
        yield
    except ElixirError as error:
        _say(str(error))
        sys.exit(ExitCode.FAILED)
    except KeyboardInterrupt:
        _end_interrupted()
    except SystemExit as end:  # newer versions of typer turn an interruption into this, without a word
        if end.code == ExitCode.INTERRUPTED:
            _end_interrupted()
        raise
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        _say(f"{error.strerror or error}{where}; when that is mended, {GO_ON}")
        sys.exit(ExitCode.FAILED)


def _end_interrupted() -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # who is in a hurry and asks again gets no traceback
    _say(f"interrupted; {GO_ON}")
    sys.exit(ExitCode.INTERRUPTED)


def _say(message: str) -> None:
    console = Console(stderr=True, markup=False, emoji=False, highlight=False, soft_wrap=True)
    console.print("elixir: " + "\n".join(map(printable, message.split("\n"))))


def main() -> None:
    """Entry point of the `elixir` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with _errors_for_people():
        app(standalone_mode=True)
