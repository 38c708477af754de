"""The command for people who want a guarantee."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from elixir.cli import options as opt
from elixir.cli.options import out

app = typer.Typer()

MARKS = ("<!-- certified -->", "<!-- end of certified -->")


@app.command()
def certify(
    test: Annotated[str, typer.Argument(metavar="TEST", help="Clean test set, of any kind that SRC can be.")],
    classifier: Annotated[
        str,
        typer.Option(
            "--classifier", metavar="MODEL", help="Elixir's .safetensors, TorchScript, timm name, transformers folder."
        ),
    ],
    folder: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")],
    purifier: Annotated[str, typer.Option(help="Registered name: prior, pf-ode, none, ...")] = "prior",
    prior: opt.Prior = None,
    sigmas: Annotated[
        list[float] | None, typer.Option("--sigma", help="Noise in [0,1] pixels; repeatable; .12, .25 and .5.")
    ] = None,
    n0: Annotated[int, typer.Option("--n0", min=1, help="Draws that choose the label.")] = 100,
    n: Annotated[int, typer.Option("--n", min=1, help="Draws for the bound.")] = 1000,
    alpha: Annotated[float, typer.Option(help="Probability of a wrong certificate.")] = 0.001,
    count: Annotated[int, typer.Option(min=1, help="Images, evenly spread over TEST.")] = 500,
    adaptive: Annotated[bool, typer.Option("--adaptive", help="Give hopeless images up early.")] = False,
    device: opt.Device = "auto",
    seed: opt.Seed = 0,
    image: opt.Image = None,
    label: opt.Label = None,
    split: opt.Split = None,
    quiet: opt.Quiet = False,
    as_json: opt.Json = False,
) -> None:
    """Certify a classifier behind a purifier by randomized smoothing; goes on where it was interrupted."""
    from elixir.certification.certify import Settings, certify_dataset
    from elixir.data.open import open_source
    from elixir.models.device import choose_device

    levels = tuple(sigmas or (0.12, 0.25, 0.5))
    settings = Settings(classifier, purifier, prior, levels, n0, n, alpha, count, seed, adaptive)
    source = open_source(test, image=image, label=label, split=split, usual="test")
    found = certify_dataset(source, folder, settings, choose_device(device), quiet or as_json)
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    elif not quiet:
        _render(found, folder)


@app.command()
def certified(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="What `elixir certify` has written.")],
    into: Annotated[
        Path | None, typer.Option("--into", metavar="FILE.md", help="Put the tables between the marks of this file.")
    ] = None,
) -> None:
    """Render certifications of the same images side by side: Markdown tables on screen or in a file."""
    from elixir.certification.tables import certification_tables, read_certification
    from elixir.measurement.markdown import insert

    tables = certification_tables([read_certification(folder) for folder in folders])
    if into is not None:
        insert(into, tables, MARKS)
    else:
        out.print(tables, end="")


def _render(found: dict[str, Any], folder: Path) -> None:
    """Certified accuracy in per cent: a line for each noise level, and one for the best at each radius."""
    out.print("radius    " + "".join(f"{radius:8g}" for radius in found["radii"]))
    for level in found["sigmas"]:
        shares = "".join(f"{100 * share:8.1f}" for share in level["certified"])
        out.print(f"sigma {level['sigma']:<4g}{shares}   abstained {100 * level['abstained'][0]:.1f} %")
    out.print("best      " + "".join(f"{100 * best['certified']:8.1f}" for best in found["best"]))
    if found["unreadable"]:
        out.print(f"{found['unreadable']} images cannot be read and are left out")
    timings = found["timings"]
    out.print(
        f"average over radii 0 to .75: {100 * found['average']:.2f} % of {found['settings']['images']} images; "
        f"{timings['images_per_minute']:.0f} certificates a minute, "
        f"{100 * timings['network_share']:.0f} % of the time in networks; {folder}"
    )
