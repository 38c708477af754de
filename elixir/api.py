"""Everything that the command line does, as typed functions; what they do not explain are options of `elixir.options`.

All raise an ElixirError where something is unusable; nothing has been written to `dst` then.
"""

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

from elixir.certification.certify import Settings as CertificationSettings
from elixir.certification.certify import certify_dataset
from elixir.data.decisions import HumanDecision
from elixir.data.exchange.export import export
from elixir.data.files.placing import Link
from elixir.data.io import RUN_FOLDER, read_json, writing
from elixir.data.open import open_source
from elixir.data.overlap import refuse_overlap
from elixir.data.restore import restore
from elixir.data.source import Source, find_class
from elixir.data.workdir import locked
from elixir.errors import ElixirError
from elixir.evaluation.denoising import Denoising, compare_denoisers
from elixir.evaluation.outcome import Outcome, train_and_attack
from elixir.evaluation.poisoning import UNATTACKED, pipelines, poisonings
from elixir.evaluation.results import Row, read_rows, write_page
from elixir.evaluation.trial import Experiment
from elixir.evaluation.truth import Recovery, attack_of, attacked_classes, read_truth, recovery
from elixir.models.device import choose_device
from elixir.models.perceptual import load_perceptual
from elixir.models.weights import sha256_of
from elixir.new_data.against import judge_new_data
from elixir.new_data.outcome import NewData
from elixir.options import RunOptions, SourceOptions
from elixir.pages.card import dataset_card
from elixir.pipeline import Pipeline
from elixir.purify import PurifiedImages, purify_images
from elixir.registry import find
from elixir.result import Result, output_options, read_result
from elixir.rewrite import decide
from elixir.robustness.measure import Settings as RobustnessSettings
from elixir.robustness.measure import measure_robustness

__all__ = [
    "HumanDecision",
    "card",
    "certify",
    "decide",
    "denoise",
    "evaluate",
    "export",
    "poison",
    "purify",
    "restore",
    "robustness",
    "sanitize",
    "scan",
    "scan_against",
    "score",
]

AttackSettings = Mapping[str, object]  # parameters of an attack, by name


def sanitize(
    src: Any,
    dst: str | Path,
    *,
    pipeline: str | Path | Pipeline = "dataelixir",
    settings: Mapping[str, object] | None = None,
    policy: str = "relabel",
    to: str | None = None,
    link: Link | None = None,
    labels_only: bool = False,
    decisions: str | Path | Iterable[HumanDecision] = (),
    **options: Unpack[RunOptions],
) -> Result:
    """Find poisoned samples, repair them and write the cleaned dataset to `dst`.

    Args:
        src: class-per-folder tree, Hugging Face dataset (folder, parquet, hf:NAME, object or stream), torch dataset,
            or images and labels as arrays or in an .npz file (see `elixir.data.open.open_source`).
        dst: folder to make; must not exist or be empty, unless `overwrite`.
        pipeline: recipe name, TOML file or a `Pipeline`.
        settings: "stage.key" or "thresholds.key" -> value, over the recipe's own; not together with a `Pipeline`.
        policy: what becomes of poisoned samples: "relabel", "drop" or "quarantine".
        to: "folder", "list", "hf", "parquet" or "webdataset"; the kind of `src` by default.
        link: "hard" or "symbolic": of a folder or list into one, untouched files become such links to `src` in place of
            copies. Where the file system can clone files, "hard" makes clones, which do not change with `src`.
        labels_only: write no images but `labels.csv` with a row for each sample: id, label, new_label (empty where it
            should be left out), action. Poisoned samples of which the label is right are left out, as nothing is
            repaired.
        decisions: of people about samples, or a file of them (see `decide`); those about an earlier output at `dst`
            hold too.

    Example:
        result = sanitize("poisoned/", "clean/")
        result.attacked, result.counts, result.dataset(), result.model
    """
    chosen = _pipeline(pipeline, settings)
    chosen = chosen.without_dataset(labels=True) if labels_only else chosen
    return chosen.run(src, dst, policy=policy, to=to, link=link, decisions=decisions, **options)


def scan(
    src: Any,
    dst: str | Path | None = None,
    *,
    pipeline: str | Path | Pipeline = "dataelixir",
    settings: Mapping[str, object] | None = None,
    **options: Unpack[RunOptions],
) -> Result:
    """Find poisoned samples and write no dataset, but the findings to `dst`; without it they are only returned."""
    chosen = _pipeline(pipeline, settings).without_dataset()
    if dst is None and options.get("resume"):
        raise ElixirError("without a folder for the findings nothing is kept to go on with; name one with -o")
    if dst is not None:
        return chosen.run(src, dst, **options)
    with tempfile.TemporaryDirectory(prefix="elixir-scan-") as folder:
        return replace(chosen.run(src, Path(folder) / "scan", **options), path=None)


def scan_against(
    src: Any,
    against: str | Path,
    dst: str | Path | None = None,
    *,
    labelled: bool = True,
    false_alarms: float = 0.001,
    device: str = "auto",
    overwrite: bool = False,
    quiet: bool = True,
    **table: Unpack[SourceOptions],
) -> NewData:
    """Judge new images by the models and triggers of a finished run: which carry a known trigger or a denied label.

    Nothing is trained, so a new attack is not found: for that, scan old and new images as one set.

    Args:
        src: any dataset, whose classes are those of the run by name.
        against: what `sanitize` or `scan` has written.
        dst: folder to make for the findings; without it they are only returned.
        labelled: False makes any folder with images in it do; without labels only triggers are looked for.
        false_alarms: share of clean images that each of the two tests may name. Where the run has too few samples to
            state it (fewer than 1 / false_alarms - 1 that were not flagged, of the label for the second test), it is
            the least that they can.

    Example:
        found = scan_against("new/", "clean/")
        found.outcome, found.flagged, found.table
    """
    source = open_source(src, labelled=labelled, quiet=quiet, **table)
    return judge_new_data(source, against, dst, false_alarms, choose_device(device), overwrite, quiet)


def card(dst: str | Path) -> str:
    """What `sanitize` has changed, as a section in Markdown for the card of the dataset; also in `.elixir/card.md`."""
    return dataset_card(read_result(Path(dst)))


def purify(
    src: Any,
    dst: str | Path,
    *,
    purifier: str = "impure",
    sigma: float | None = None,
    prior: str | None = None,
    device: str = "auto",
    seed: int = 0,
    resume: bool = False,
    quiet: bool = True,
    **table: Unpack[SourceOptions],
) -> PurifiedImages:
    """Clean plain images of adversarial perturbations, as a classifier meets them; PNGs of the same names in `dst`.

    Args:
        src: any folder of images, or a dataset.
        dst: folder to make.
        purifier: registered name.
        sigma: noise in [0,1] pixel units; by default none for purifiers that can do without, 0.1 for others.
    """
    source = open_source(src, labelled=False, **table)
    loaded = find("purifiers", purifier)(prior, choose_device(device))
    settings: dict[str, object] = {"purifier": purifier, "prior": prior, "prior_sha256": sha256_of(prior)}
    return purify_images(source, Path(dst), loaded, sigma, seed, settings, resume, quiet)


def poison(
    src: Any,
    dst: str | Path,
    attack: str,
    target: str | None = None,
    *,
    all_to_all: bool = False,
    rate: float = 0.1,
    rate_of: str | None = None,
    select: str | None = None,
    settings: AttackSettings | None = None,
    seed: int = 0,
    quiet: bool = True,
    **table: Unpack[SourceOptions],
) -> Any:
    """Write a poisoned copy of a dataset to `dst`, the truth beside it; returns an `elixir.attacks.poison.Poisoned`.

    Args:
        src: as for `sanitize`.
        dst: folder to make; a dataset of the kind of `src` is written there.
        attack: registered name.
        target: class that the trigger is to stand for, by name or number.
        all_to_all: instead of a target: every class becomes the next one.
        rate: share of samples to poison, in [0,1].
        rate_of: what the rate is a share of: "dataset" or "class"; by the attack's kind by default.
        select: what may be poisoned: "any", "non_target", "target" or "source"; likewise.
        settings: parameters of the attack.
    """
    _check_target(target, all_to_all)
    made = find("attacks", attack).configure(settings or {})
    source = open_source(src, **table)
    return made.poison_dataset(source, dst, target, rate=rate, rate_of=rate_of, select=select, seed=seed, quiet=quiet)


@dataclass(frozen=True)
class Score:
    """What a cleaned dataset is worth.

    Attributes:
        recovery: what the run did against the truth; None without a truth or a run.
        outcomes: what fresh classifiers have learned from it, one for each seed.
    """

    dataset: str
    recovery: Recovery | None = None
    outcomes: list[Outcome] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        described: dict[str, Any] = {"dataset": self.dataset, **(asdict(self.recovery) if self.recovery else {})}
        return described | ({"outcomes": [asdict(each) for each in self.outcomes]} if self.outcomes else {})


def score(
    dst: str | Path,
    *,
    truth: str | Path | None = None,
    test: str | None = None,
    attack: str | None = None,
    target: str | None = None,
    settings: AttackSettings | None = None,
    seeds: int = 3,
    quiet: bool = True,
) -> Score:
    """Compare a result with the truth, and train fresh classifiers on it.

    Args:
        dst: what `sanitize` has written; any dataset where only classifiers are trained.
        truth: the file that `poison` has written.
        test: clean test set to train for.
        attack: on the test set; that of the truth by default.
        target: class that its trigger stands for, likewise.
        settings: parameters of `attack`.
    """
    if truth is None and test is None:
        raise ElixirError("give --truth to compare with, --test to train for, or both")
    if attack is None and (target is not None or settings):
        raise ElixirError("--target and --set are about the attack that --attack names")
    dst = Path(dst)
    found, outcomes = None, []
    if truth is not None and (test is None or (dst / RUN_FOLDER).is_dir()):
        found = recovery(read_result(dst).table, read_truth(Path(truth)))
    if test is not None:
        train, classes = _open_result(dst), None
        if attack is not None and target is not None:
            target = train.classes[find_class(train, target)]
            made = find("attacks", attack).configure(settings or {})
        elif attack is None and truth is not None:
            made, target = attack_of(Path(truth))
            classes = attacked_classes(Path(truth))
        else:
            raise ElixirError("--test needs --truth, or --attack and --target")
        tests = open_source(test, usual="test")
        outcomes = train_and_attack(train, tests, made, target, list(range(seeds)), quiet=quiet, classes=classes)
    return Score(str(dst), found, outcomes)


def evaluate(
    train: str,
    test: str,
    folder: str | Path,
    *,
    target: str | None = None,
    all_to_all: bool = False,
    attacks: Sequence[tuple[str, AttackSettings]] = (("all", {}),),
    rates: Sequence[float] = (0.1, 0.01),
    clean_label_rates: Sequence[float] = (0.8, 0.2),
    defences: Sequence[str] | None = None,
    settings: Mapping[str, object] | None = None,
    subset: int | None = None,
    seeds: int = 1,
    device: str = "auto",
    seed: int = 0,
    quiet: bool = True,
    on_trial: Callable[[str], None] = lambda name: None,
) -> list[Row]:
    """Poison, clean, train and attack, for every attack, rate and defence; returns all trials of the folder.

    Args:
        train, test: clean sets; the first is poisoned.
        folder: for the results, one JSON file a trial, and a page of all; goes on with what is there.
        target: class that the trigger is to stand for.
        all_to_all: instead of a target: every class becomes the next one.
        attacks: names with parameters; "all" for every attack but those on one source class, "none" for the set as it
            is.
        rates: shares of the dataset.
        clean_label_rates: shares of the target class, for clean-label attacks.
        defences: recipes and baselines, "all-baselines"; "none" and "dataelixir" by default.
        settings: of the recipes, "stage.key" or "thresholds.key" -> value.
        subset: let recipes look at so many samples only, and train nothing on them.
        seeds: fresh classifiers to train on each outcome.
        on_trial: called with the name of each trial before it begins.
    """
    folder, recipe_settings = Path(folder), dict(settings or {})
    if any(name != UNATTACKED for name, _ in attacks):
        _check_target(target, all_to_all)
    named = [(name, dict(parameters)) for name, parameters in attacks]
    attacked = poisonings(named, rates, clean_label_rates, all_to_all)
    chosen = pipelines(defences or (["dataelixir"] if subset else ["none", "dataelixir"]), recipe_settings, subset)
    experiment = Experiment(
        train, test, target, seeds, seed, subset, recipe_settings, choose_device(device), folder, quiet
    )
    for source in (open_source(train), open_source(test, usual="test")):
        refuse_overlap(source, folder, around=True)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for poisoning in attacked:
        for name in chosen:
            on_trial(f"{poisoning.name}, {name}")
            experiment.run(poisoning, name)
            with locked(folder / "work" / "results.lock", wait=True):
                write_page(folder / "results.html", [read_rows(folder)])
    return read_rows(folder)


def certify(
    test: Any,
    folder: str | Path,
    settings: CertificationSettings,
    *,
    device: str = "auto",
    quiet: bool = True,
    **table: Unpack[SourceOptions],
) -> dict[str, Any]:
    """Certify a classifier behind a purifier by randomized smoothing; see `certify_dataset`.

    Args:
        test: clean test set, of any kind that `sanitize` takes.
        folder: for the results; goes on with what is there.
        settings: classifier, purifier, noise levels, draws and seed.
    """
    source = open_source(test, usual="test", **table)
    return certify_dataset(source, Path(folder), settings, choose_device(device), quiet)


def robustness(
    test: Any,
    folder: str | Path,
    settings: RobustnessSettings,
    *,
    device: str = "auto",
    quiet: bool = True,
    **table: Unpack[SourceOptions],
) -> dict[str, Any]:
    """Attack a classifier behind purifiers; see `measure_robustness`.

    Args:
        test: clean test set, of any kind that `sanitize` takes.
        folder: for the results; goes on with what is there.
        settings: classifier, purifiers, attacks, budgets and seed.
    """
    source = open_source(test, usual="test", **table)
    return measure_robustness(source, Path(folder), settings, choose_device(device), quiet)


def denoise(
    src: Any,
    *,
    against: Sequence[str] = (),
    sigmas: Sequence[float] = (0.075, 0.15, 0.26, 0.4),
    count: int = 500,
    purifier: str = "prior",
    prior: str | None = None,
    device: str = "auto",
    seed: int = 0,
    quiet: bool = True,
    **table: Unpack[SourceOptions],
) -> list[Denoising]:
    """Measure how near a purifier leads noisy images to the clean ones, beside classical denoisers.

    Args:
        against: "bm3d", "nlm".
        sigmas: noise levels in [0,1] pixel units.
        count: number of images.
    """
    loaded = find("purifiers", purifier)(prior, choose_device(device))
    perceptual = load_perceptual(None, choose_device("cpu"))
    source = open_source(src, labelled=False, **table)
    return list(compare_denoisers(source, loaded, against, sigmas, count, seed, quiet, perceptual))


def _pipeline(pipeline: str | Path | Pipeline, settings: Mapping[str, object] | None) -> Pipeline:
    if not isinstance(pipeline, Pipeline):
        return Pipeline.from_recipe(pipeline, settings)
    if settings:
        raise ElixirError("settings are for a recipe; a Pipeline has its own: set pipeline[STAGE].KEY")
    return pipeline


def _open_result(dst: Path) -> Source:
    """A dataset; one that `sanitize` has written with the columns, split and class folders that it was told then."""
    settings = dst / RUN_FOLDER / "run.json"
    if not settings.exists():
        return open_source(dst)
    config = read_json(settings, "sanitize again")
    return open_source(f"folder:{dst}" if config.get("to", "folder") == "folder" else dst, **output_options(config))


def _check_target(target: str | None, all_to_all: bool) -> None:
    if (target is None) != all_to_all:
        raise ElixirError("give --target CLASS, or --all-to-all")
