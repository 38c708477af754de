"""The commands that measure purifiers, and classifiers behind them."""

from pathlib import Path
from typing import Annotated, Any, Unpack

import typer

import elixir
from elixir.cli import options as opt
from elixir.cli.options import command, out, print_json
from elixir.options import WorkOptions

app = typer.Typer()


@command(app, "elixir certify test.parquet --classifier clean.safetensors --purifier prior -o certified")
def certify(
    test: opt.TestSet,
    classifier: opt.Classifier,
    folder: opt.Results,
    purifier: Annotated[str, typer.Option(help="Registered name: prior, pf-ode, none, ...")] = "prior",
    prior: opt.Prior = None,
    sigmas: Annotated[
        list[float] | None, typer.Option("--sigma", help="Noise in [0,1] pixels; repeatable; .12, .25 and .5.")
    ] = None,
    n0: Annotated[int, typer.Option(min=1, help="Draws that choose the label.")] = 100,
    n: Annotated[int, typer.Option(min=1, help="Draws for the bound.")] = 1000,
    alpha: Annotated[float, typer.Option(help="Probability of a wrong certificate.")] = 0.001,
    count: Annotated[int, typer.Option(min=1, help="Images, evenly spread over TEST.")] = 500,
    adaptive: Annotated[bool, typer.Option("--adaptive", help="Give hopeless images up early.")] = False,
    seed: opt.Seed = 0,
    as_json: opt.Json = False,
    **options: Unpack[WorkOptions],
) -> None:
    """Certify a classifier behind a purifier by randomized smoothing; goes on where it was interrupted."""
    from elixir.certification.certify import Settings

    levels = tuple(sigmas or Settings.sigmas)
    settings = Settings(classifier, purifier, prior, levels, n0, n, alpha, count, seed, adaptive)
    options["quiet"] = as_json or options.get("quiet", False)
    found = elixir.api.certify(test, folder, settings, **options)
    if as_json:
        print_json(found)
    elif not options["quiet"]:
        _certified(found, folder)


@command(app, "elixir robustness test.parquet --classifier clean.safetensors --purifier prior --eps 8/255 -o robust")
def robustness(
    test: opt.TestSet,
    classifier: opt.Classifier,
    folder: opt.Results,
    purifier: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[=MODEL]", help="Registered name; none for no purifier; repeatable."),
    ] = None,
    attacks: Annotated[str, typer.Option(help="all, or names with commas: fgsm,pgd,apgd-ce,cw,deepfool,...")] = "all",
    eps: Annotated[
        list[str] | None, typer.Option(metavar="EPS", help="L-inf budget, 8/255 or .03; repeatable.")
    ] = None,
    adaptive: Annotated[bool, typer.Option("--adaptive", help="Also attack through the purifier.")] = False,
    sigma: Annotated[float, typer.Option(help="Noise of prior, consistency and their kin, in [0,1] pixels.")] = 0.1,
    draws: Annotated[int, typer.Option(min=1, help="Noise draws whose mean gradient an adaptive attack follows.")] = 4,
    count: Annotated[int, typer.Option(min=1, help="Images, evenly spread over TEST.")] = 500,
    seed: opt.Seed = 0,
    as_json: opt.Json = False,
    **options: Unpack[WorkOptions],
) -> None:
    """Attack a classifier behind purifiers with nine attacks; goes on where it was interrupted."""
    from elixir.robustness import attack_names
    from elixir.robustness.measure import Settings

    purifiers, budgets = tuple(purifier or Settings.purifiers), tuple(eps or Settings.eps)
    settings = Settings(classifier, purifiers, attack_names(attacks), budgets, adaptive, sigma, draws, count, seed)
    options["quiet"] = as_json or options.get("quiet", False)
    found = elixir.api.robustness(test, folder, settings, **options)
    if as_json:
        print_json(found)
    elif not options["quiet"]:
        _robust(found, folder)


@command(app, "elixir denoise test.parquet --against bm3d --count 500")
def denoise(
    src: opt.Source,
    sigmas: Annotated[list[float] | None, typer.Option("--sigma", help="Noise level in [0,1]; repeatable.")] = None,
    against: Annotated[list[str] | None, typer.Option(help="bm3d or nlm; may be repeated.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Number of images.")] = 500,
    purifier: Annotated[str, typer.Option(help="Registered name of the purifier.")] = "prior",
    prior: opt.Prior = None,
    seed: opt.Seed = 0,
    **options: Unpack[WorkOptions],
) -> None:
    """Measure how near a purifier leads noisy images of SRC to the clean ones, beside classical denoisers."""
    against, sigmas = against or [], sigmas or [0.075, 0.15, 0.26, 0.4]
    for row in elixir.api.denoise(
        src, against=against, sigmas=sigmas, count=count, purifier=purifier, prior=prior, seed=seed, **options
    ):
        print_json(vars(row))


def _certified(found: dict[str, Any], folder: Path) -> None:
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


def _robust(found: dict[str, Any], folder: Path) -> None:
    from elixir.robustness.report import read_measurement, robustness_tables

    out.print(robustness_tables([read_measurement(folder)]), end="")
    if found["unreadable"]:
        out.print(f"{found['unreadable']} images cannot be read and are left out")
    seconds = sum(each["seconds"] for each in found["timings"]["crafting"])
    out.print(f"\nper cent classified right / residual perturbation; {seconds:.0f} s of attacks; {folder}")
