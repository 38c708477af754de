"""`elixir report`: tables of what `evaluate`, `certify` and `robustness` have written."""

from pathlib import Path
from typing import Annotated

import typer

from elixir.cli.options import command, out

app = typer.Typer(no_args_is_help=True, help="Render results side by side: Markdown tables on screen or in a file.")

Folders = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders with results.")]
Into = Annotated[Path | None, typer.Option(metavar="FILE.md", help="Put the tables between the marks of this file.")]


@command(app, "elixir report results results/ --page results.html")
def results(
    folders: Folders,
    page: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Write a page.")] = None,
    into: Into = None,
    brief: Annotated[
        Path | None, typer.Option("--overview", metavar="FILE.md", help="The same with one line for each attack.")
    ] = None,
) -> None:
    """Results of `elixir evaluate`."""
    from elixir.evaluation.results import MARKS, OVERVIEW_MARKS, markdown, overview, read_rows, write_page
    from elixir.measurement.tables_and_charts import insert

    experiments = [read_rows(folder) for folder in folders]
    if page is not None:
        write_page(page, experiments)
    if into is not None:
        insert(into, markdown(experiments), MARKS)
    if brief is not None:
        insert(brief, overview(experiments), OVERVIEW_MARKS)
    if page is None and into is None and brief is None:
        out.print(markdown(experiments), end="")


@command(app, "elixir report certified certified/*")
def certified(folders: Folders, into: Into = None) -> None:
    """Certifications of the same images by `elixir certify`."""
    from elixir.certification.report import certification_tables, read_certification

    _show(certification_tables([read_certification(folder) for folder in folders]), into, "certified")


@command(app, "elixir report robust robust/* --eps 8/255")
def robust(
    folders: Folders,
    eps: Annotated[list[str] | None, typer.Option(metavar="EPS", help="Only these budgets; repeatable.")] = None,
    into: Into = None,
) -> None:
    """Measurements of the same images by `elixir robustness`."""
    from elixir.robustness.report import read_measurement, robustness_tables

    _show(robustness_tables([read_measurement(folder) for folder in folders], eps), into, "robustness")


def _show(tables: str, into: Path | None, mark: str) -> None:
    from elixir.measurement.tables_and_charts import insert

    if into is None:
        out.print(tables, end="")
    else:
        insert(into, tables, (f"<!-- {mark} -->", f"<!-- end of {mark} -->"))
