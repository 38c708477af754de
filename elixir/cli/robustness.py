"""The commands for people who want to know what a purifier is worth against adversarial images."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from elixir.cli import options as opt
from elixir.cli.options import out

app = typer.Typer()

MARKS = ("<!-- robustness -->", "<!-- end of robustness -->")


@app.command()
def robustness(
    test: Annotated[str, typer.Argument(metavar="TEST", help="Clean test set, of any kind that SRC can be.")],
    classifier: Annotated[
        str,
        typer.Option(
            "--classifier", metavar="MODEL", help="Elixir's .safetensors, TorchScript, timm name, transformers folder."
        ),
    ],
    folder: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")],
    purifier: Annotated[
        list[str] | None,
        typer.Option("--purifier", metavar="NAME[=MODEL]", help="Registered name; none for no purifier; repeatable."),
    ] = None,
    attacks: Annotated[str, typer.Option(help="all, or names with commas: fgsm,pgd,apgd-ce,cw,deepfool,...")] = "all",
    eps: Annotated[
        list[str] | None, typer.Option("--eps", metavar="EPS", help="L-inf budget, 8/255 or .03; repeatable.")
    ] = None,
    adaptive: Annotated[bool, typer.Option("--adaptive", help="Also attack through the purifier.")] = False,
    sigma: Annotated[float, typer.Option(help="Noise of prior, consistency and their kin, in [0,1] pixels.")] = 0.1,
    draws: Annotated[int, typer.Option(min=1, help="Noise draws whose mean gradient an adaptive attack follows.")] = 4,
    count: Annotated[int, typer.Option(min=1, help="Images, evenly spread over TEST.")] = 500,
    device: opt.Device = "auto",
    seed: opt.Seed = 0,
    image: opt.Image = None,
    label: opt.Label = None,
    split: opt.Split = None,
    quiet: opt.Quiet = False,
    as_json: opt.Json = False,
) -> None:
    """Attack a classifier behind purifiers with nine attacks; goes on where it was interrupted."""
    from elixir.data.open import open_source
    from elixir.models.device import choose_device
    from elixir.robustness import attack_names
    from elixir.robustness.measure import Settings, measure_robustness

    settings = Settings(
        classifier,
        tuple(purifier or Settings.purifiers),
        attack_names(attacks),
        tuple(eps or Settings.eps),
        adaptive,
        sigma,
        draws,
        count,
        seed,
    )
    source = open_source(test, image=image, label=label, split=split, usual="test")
    found = measure_robustness(source, folder, settings, choose_device(device), quiet or as_json)
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    elif not quiet:
        _render(found, folder)


@app.command()
def robust(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="What `elixir robustness` has written.")],
    eps: Annotated[
        list[str] | None, typer.Option("--eps", metavar="EPS", help="Only these budgets; repeatable.")
    ] = None,
    into: Annotated[
        Path | None, typer.Option("--into", metavar="FILE.md", help="Put the tables between the marks of this file.")
    ] = None,
) -> None:
    """Render measurements of robustness, of the same images side by side: Markdown tables on screen or in a file."""
    from elixir.measurement.markdown import insert
    from elixir.robustness.report import read_measurement, robustness_tables

    tables = robustness_tables([read_measurement(folder) for folder in folders], eps)
    if into is not None:
        insert(into, tables, MARKS)
    else:
        out.print(tables, end="")


def _render(found: dict[str, Any], folder: Path) -> None:
    from elixir.robustness.report import read_measurement, robustness_tables

    out.print(robustness_tables([read_measurement(folder)]), end="")
    if found["unreadable"]:
        out.print(f"{found['unreadable']} images cannot be read and are left out")
    seconds = sum(each["seconds"] for each in found["timings"]["crafting"])
    out.print(f"\nper cent classified right / residual perturbation; {seconds:.0f} s of attacks; {folder}")
