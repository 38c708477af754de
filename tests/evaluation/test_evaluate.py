"""Whole experiments in the small world, and what is made of their results."""

import json
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import beta
from small_world import FAST, png

from elixir.cli.experiments import _attack
from elixir.data.image import decode
from elixir.data.open import open_source
from elixir.data.pixels import PixelStore
from elixir.data.workdir import locked
from elixir.errors import ElixirError
from elixir.evaluation import outcome, trial
from elixir.evaluation.baselines import Case
from elixir.evaluation.defences import Cleaned, defend, described
from elixir.evaluation.outcome import train_and_attack
from elixir.evaluation.poisoning import Poisoning, pipelines, poisonings
from elixir.evaluation.results import MARKS, Share, defence_effectiveness, markdown, overview, read_rows, write_page
from elixir.evaluation.trial import Experiment
from elixir.measurement.machine import machine
from elixir.measurement.tables_and_charts import insert
from elixir.pipeline import Pipeline
from elixir.registry import find, names

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
BADNETS = Poisoning("badnets", {"pattern": "white"}, 0.15)


RESULT = {
    "train": "signs.parquet",
    "target": "spot",
    "attack": "badnets",
    "rate": 0.15,
    "pipeline": "dataelixir",
    "seed": 0,
    "samples": 180,
    "trigger": {"psnr": 20.0},
    "detection": {"poisoned": 27, "clean": 153, "tpr": 1.0, "fpr": 0.0, "relabel_accuracy": 1.0, "auc": 1.0},
    "repair": {"repaired": 0, "trigger_residual": 0.0},
    "cost": {},
    "outcomes": [],
    "machine": {"cpu": "abacus", "gpu": None},
}
"""What a result needs, to be shown."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BadNets on the shapes, with no defence, the oracle, both detectors, and the default recipe."""
    from small_world import make_shapes

    folder = tmp_path_factory.mktemp("results")
    train = make_shapes(folder / "train", count=60, poisoned=0)
    test = make_shapes(folder / "test", count=30, poisoned=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcome, "FRESH", replace(outcome.FRESH, epochs=1, least_steps=60, backbone="none"))
        settings = FAST | {"clean_model.least_steps": 60, "training.widths": [96, 192]}
        experiment = Experiment(str(train), str(test), "spot", 2, 0, None, settings, CPU, folder / "out", True)
        (folder / "out").mkdir()
        for name in ("none", "unpoisoned", "oracle", "activation-clustering", "spectral-signatures", "dataelixir"):
            experiment.run(BADNETS, name)
        experiment.run(Poisoning("none"), "none")
        looked = replace(experiment, subset=100)
        assert looked.run(BADNETS, "dataelixir") == looked.run(BADNETS, "dataelixir")
    return folder / "out"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """An experiment whose classifiers learn nothing."""
    from small_world import make_shapes

    monkeypatch.setattr(
        outcome, "FRESH", replace(outcome.FRESH, epochs=1, least_steps=1, backbone="none", widths=(8, 12))
    )
    train = make_shapes(tmp_path / "train", count=12, poisoned=0)
    test = make_shapes(tmp_path / "test", count=4, poisoned=0)
    (tmp_path / "out").mkdir()
    return Experiment(str(train), str(test), "spot", 1, 0, None, {}, CPU, tmp_path / "out", True)


@pytest.mark.slow
def test_trials_hold_what_was_measured(results: Path):
    trials = {path.stem: json.loads(path.read_text()) for path in results.glob("*.json")}
    assert len(trials) == 8
    subset = trials.pop("badnets-white-15%-dataelixir-100")
    assert subset["detection"]["poisoned"] + subset["detection"]["clean"] == 100
    assert subset["detection"]["auc"] > 0.9
    assert subset["outcomes"] == []
    assert subset["cost"]["config"]["reference"] == "fresh-0.safetensors"
    none, oracle = trials["badnets-white-15%-none"], trials["badnets-white-15%-oracle"]
    assert none["detection"]["poisoned"] == oracle["detection"]["poisoned"] == 27
    assert (none["detection"]["tpr"], oracle["detection"]["tpr"], oracle["detection"]["fpr"]) == (0, 1, 0)
    asr = {
        name: np.mean([seed["asr"] for seed in result["outcomes"]]) for name, result in trials.items() if result["rate"]
    }
    assert asr["badnets-white-15%-none"] > 0.9
    assert asr["badnets-white-15%-oracle"] < 0.1
    assert asr["badnets-white-15%-unpoisoned"] < 0.1
    trained = [trials[name]["outcomes"][0]["accuracy"] for name in ("none-none", "badnets-white-15%-unpoisoned")]
    assert trained[0] == trained[1]  # it is the same classifier
    cleaned = trials["badnets-white-15%-dataelixir"]
    assert list(cleaned["cost"]["attacked"]) == ["spot"]
    assert cleaned["detection"]["tpr"] > 0.9
    assert asr["badnets-white-15%-dataelixir"] < 0.1
    detected = cleaned["detection"]
    assert cleaned["repair"]["repaired"] == round(27 * (detected["tpr"] - detected["removed"]))
    assert none["trigger"]["images"] == 27
    assert 15 < none["trigger"]["psnr"] < 40
    assert [seed["seed"] for seed in none["outcomes"]] == [0, 1]
    assert none["outcomes"][0]["triggered"] == 60
    clean = trials["none-none"]["outcomes"][0]
    assert (clean["asr"], clean["triggered"]) == (None, 0)
    assert clean["accuracy"] > 0.9


@pytest.mark.slow
def test_a_finished_trial_is_read_and_a_foreign_one_refused(results: Path):
    result = json.loads((results / "none-none.json").read_text())
    folder = results.parent
    assert (result["train"], result["test"]) == ("train", "test")  # no path of the machine is on record
    experiment = Experiment(
        str(folder / "train"), str(folder / "test"), "spot", 1, 0, None, result["settings"], CPU, results, True
    )
    before = (results / "none-none.json").stat().st_mtime_ns
    with pytest.raises(ElixirError, match="classifiers trained in another way"):
        experiment.run(Poisoning("none"), "none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcome, "FRESH", replace(outcome.FRESH, epochs=1, least_steps=60, backbone="none"))
        assert experiment.run(Poisoning("none"), "none") == result
        assert (results / "none-none.json").stat().st_mtime_ns == before
        more = replace(experiment, seeds=3).run(Poisoning("none"), "none")
    assert more["outcomes"][:2] == result["outcomes"]
    assert [seed["seed"] for seed in more["outcomes"]] == [0, 1, 2]
    with pytest.raises(ElixirError, match="another experiment"):
        replace(experiment, target="bar").run(Poisoning("none"), "none")


def test_the_toolbox_of_the_detectors_is_on_record(monkeypatch: pytest.MonkeyPatch):
    toolbox = "adversarial-robustness-toolbox"
    assert machine(CPU)["versions"][toolbox] == version(toolbox)  # type: ignore[index]
    monkeypatch.setattr("elixir.measurement.machine.LIBRARIES", ("torch", "not-installed"))
    assert machine(CPU)["versions"] == {"torch": version("torch")}


def test_a_poisoned_set_of_another_experiment_is_refused(tiny: Experiment):
    tiny.run(BADNETS, "none")
    for other in (replace(tiny, target="bar"), replace(tiny, seed=7)):
        with pytest.raises(ElixirError, match=r"poisoned\.json belongs to another experiment"):
            other.run(BADNETS, "oracle")
    (tiny.folder / "work" / BADNETS.name / "poisoned.json").unlink()
    with pytest.raises(ElixirError, match="does not exist"):
        tiny.run(BADNETS, "oracle")


def test_what_was_made_of_other_images_is_refused(tiny: Experiment):
    tiny.run(BADNETS, "unpoisoned")
    (Path(tiny.train) / "bar" / "000.png").unlink()
    with pytest.raises(ElixirError, match=r"white-15%/poisoned\.json belongs to another experiment"):
        tiny.run(BADNETS, "none")
    with pytest.raises(ElixirError, match=r"none/poisoned\.json belongs to another experiment"):
        tiny.run(replace(BADNETS, rate=0.2), "unpoisoned")


@pytest.mark.parametrize("changed", ["train", "test"])
def test_a_trial_of_other_images_is_refused(tiny: Experiment, changed: str):
    outcomes = tiny.run(BADNETS, "none")["outcomes"]
    assert tiny.run(BADNETS, "none")["outcomes"] == outcomes
    (Path(getattr(tiny, changed)) / "bar" / "000.png").unlink()
    with pytest.raises(ElixirError, match=rf"none\.json belongs to another experiment \({changed}_sha256\)"):
        tiny.run(BADNETS, "none")


def test_a_copy_of_the_dataset_has_the_same_results(tiny: Experiment):
    result = tiny.run(BADNETS, "none")
    for folder in (tiny.train, tiny.test):
        for path in Path(folder).rglob("*.png"):
            os.utime(path, (0, 0))
    assert tiny.run(BADNETS, "none")["outcomes"] == result["outcomes"]
    assert tiny.run(BADNETS, "oracle")["poisoned_sha256"] == result["poisoned_sha256"]


def test_two_experiments_in_one_folder_poison_once(tiny: Experiment):
    """The second waits for the first, which has only begun."""
    home = tiny.folder / "work" / BADNETS.name
    with ThreadPoolExecutor() as pool:
        with locked(home.with_name(f"{home.name}.lock")):
            (home / "half").mkdir(parents=True)
            second = pool.submit(tiny.run, BADNETS, "oracle")
            sleep(0.5)
            assert (home / "half").exists()
        assert second.result()["detection"]["tpr"] == 1
    assert not (home / "half").exists()


def test_a_trial_of_a_recipe_that_was_edited_is_refused(tiny: Experiment, tmp_path: Path):
    recipe = tmp_path / "mine.toml"
    stages = [stage.name for stage in Pipeline.from_recipe("dataelixir").stages]
    recipe.write_text(f"stages = {stages}\n[thresholds]\nalarm_rate = 0.4\n")
    result = tiny.run(BADNETS, "none") | {"pipeline": str(recipe)}
    result["cost"] = {"config": Pipeline.from_recipe(recipe).describe() | {"seed": 0}}
    tiny.result_path(BADNETS, str(recipe)).write_text(json.dumps(result))
    assert tiny.run(BADNETS, str(recipe))["outcomes"] == result["outcomes"]
    recipe.write_text(recipe.read_text().replace("0.4", "0.5"))
    with pytest.raises(ElixirError, match=r"mine\.json is of another version of .*mine\.toml"):
        tiny.run(BADNETS, str(recipe))


def test_settings_of_recipes_do_not_concern_baselines(tiny: Experiment):
    result = tiny.run(BADNETS, "none")
    assert replace(tiny, settings={"thresholds.flag_threshold": 0.6}).run(BADNETS, "none") == result
    assert result["settings"] == {}


def test_a_dataset_may_be_named_in_another_way(tiny: Experiment, monkeypatch: pytest.MonkeyPatch):
    result = tiny.run(BADNETS, "none")
    monkeypatch.chdir(Path(tiny.train).parent)
    assert replace(tiny, train="train", test="./test").run(BADNETS, "none") == result
    assert replace(tiny, train="train").run(BADNETS, "oracle")["poisoned_sha256"] == result["poisoned_sha256"]


@pytest.mark.slow
def test_classifiers_of_another_cleaning_are_not_taken_for_new_ones(tiny: Experiment, monkeypatch: pytest.MonkeyPatch):
    """A recipe was interrupted after its first classifier, and is repeated with other settings."""

    def cleaned(name: str, case: Case, settings: dict[str, object], subset: int | None) -> Cleaned:
        return replace(defend("none", case, {}), cost={"config": described(name, settings) | {"seed": 0}})

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trial, "defend", cleaned)
    with monkeypatch.context() as patch:
        patch.setattr(trial, "repair_quality", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tiny.run(BADNETS, "dataelixir")
    other = replace(tiny, settings={"thresholds.flag_threshold": 0.6})
    with pytest.raises(ElixirError, match=r"defence\.json belongs to another experiment \(recipe\)"):
        other.run(BADNETS, "dataelixir")
    monkeypatch.setattr(outcome, "FRESH", replace(outcome.FRESH, epochs=2, backbone="none"))
    with pytest.raises(ElixirError, match=r"\(training\)"):
        tiny.run(BADNETS, "dataelixir")
    shutil.rmtree(tiny.folder / "work" / BADNETS.name / "dataelixir")
    assert tiny.run(BADNETS, "dataelixir")["training"]["epochs"] == 2


def test_mistakes_are_found_before_the_work(tiny: Experiment, monkeypatch: pytest.MonkeyPatch):
    for name, settings, subset, message in (
        ("dataelixir", {"thresholds.flag_treshold": 0.6}, None, "no setting 'flag_treshold'"),
        ("dataelixir", {"thresholds.flag_threshold": 6}, None, "thresholds.flag_threshold = 6 is out of range"),
        ("none", {}, 10, "none is no recipe"),
        ("datelixir", {}, None, "did you mean 'dataelixir'"),
        ("dataelixir", {}, 1000, "a subset of 1000 samples is more than the 36 there are"),
    ):
        with pytest.raises(ElixirError, match=message):
            replace(tiny, settings=settings, subset=subset).run(BADNETS, name)
    monkeypatch.setattr("elixir.evaluation.defences.find_spec", lambda name: None)
    with pytest.raises(ElixirError, match=r"pip install 'dataset-elixir\[benchmark\]'"):
        tiny.run(BADNETS, "spectral-signatures")
    assert not list(tiny.folder.rglob("fresh-*"))


@pytest.mark.slow
def test_two_detectors_at_once_share_a_classifier(tiny: Experiment, monkeypatch: pytest.MonkeyPatch):
    trained: list[Path] = []
    train = outcome.train_classifier

    def slowly(*arguments: Any) -> Any:
        trained.append(arguments[5])
        sleep(0.3)
        return train(*arguments)

    monkeypatch.setattr(outcome, "train_classifier", slowly)
    with ThreadPoolExecutor() as pool:
        for result in pool.map(lambda name: tiny.run(BADNETS, name), ["activation-clustering", "spectral-signatures"]):
            assert result["outcomes"]
    assert len([path for path in trained if path.parent.name == "none"]) == 1


def test_a_target_may_be_a_number(tiny: Experiment):
    result = replace(tiny, target="2").run(BADNETS, "none")
    assert result["target"] == "spot"
    assert result["outcomes"][0]["triggered"] == 8
    assert tiny.run(BADNETS, "none")["outcomes"] == result["outcomes"]
    with pytest.raises(ElixirError, match="did you mean 'spot'"):
        replace(tiny, target="spott").run(BADNETS, "none")


def test_an_interrupted_poisoning_starts_again(tiny: Experiment):
    home = tiny.folder / "work" / BADNETS.name
    home.mkdir(parents=True)
    (home / "poisoned.truth.parquet").touch()
    assert tiny.run(BADNETS, "oracle")["detection"]["tpr"] == 1


@pytest.mark.slow
def test_a_finished_recipe_of_other_settings_is_refused(results: Path, tmp_path: Path):
    result = json.loads((results / f"{BADNETS.name}-dataelixir.json").read_text())
    home = results / "work" / BADNETS.name
    truth, model = np.empty(0, object), Path()
    poisoned = home / "poisoned"
    case = Case(str(poisoned), open_source(poisoned), truth, model, home / "dataelixir", 0, CPU, True)
    assert defend("dataelixir", case, result["settings"]).cost["config"] == result["cost"]["config"]
    with pytest.raises(ElixirError, match="clean exists"):
        defend("dataelixir", case, result["settings"] | {"thresholds.flag_threshold": 0.6})
    recipe = tmp_path / "dataelixir.toml"
    recipe.write_text(
        (files("elixir.pipelines") / "dataelixir.toml").read_text() + "\n[thresholds]\nalarm_rate = 0.4\n"
    )
    with pytest.raises(ElixirError, match="clean exists"):
        defend(str(recipe), case, result["settings"])


def test_grey_test_images_carry_the_trigger_of_grey_training_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    image = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    for path in (tmp_path / "train" / "bar" / "0.png", tmp_path / "train" / "spot" / "1.png"):
        path.parent.mkdir(parents=True)
        path.write_bytes(png(image))
    train = open_source(tmp_path / "train")
    attack = find("attacks", "low_frequency")()
    attack.poison_dataset(train, tmp_path / "poisoned", "spot", rate=0.5)
    shown: list[np.ndarray] = []
    write = PixelStore.write
    monkeypatch.setattr(PixelStore, "write", lambda *args: (shown.append(args[2][0]), write(*args)))
    monkeypatch.setattr(
        outcome, "FRESH", replace(outcome.FRESH, epochs=1, least_steps=1, backbone="none", widths=(8, 12))
    )
    train_and_attack(train, train, attack, "spot", [0])
    poisoned = next(path for path in (tmp_path / "poisoned" / "spot").iterdir() if path.name != "1.png")
    assert np.array_equal(shown[-1], decode(poisoned.read_bytes()).rgb.transpose(2, 0, 1))


@pytest.mark.slow
def test_markdown_and_page(results: Path, tmp_path: Path):
    rows = read_rows(results)
    assert [row.pipeline for row in rows][-1] == "none"  # the set as it is comes last
    table = markdown([rows])
    assert table.count("\n") == 4 + len(rows)
    assert markdown([rows, rows]) == f"{table}\n{table}"
    der = {row.pipeline: row.der or 0 for row in rows if row.asr}
    assert der["none"] == 0.5
    assert der["oracle"] > 0.9
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    insert(readme, markdown([rows]), MARKS)
    insert(readme, markdown([rows]), MARKS)
    assert readme.read_text() == f"before\n{MARKS[0]}\n{table}{MARKS[1]}\nafter\n"
    strange = rows[0].trial | {"target": "\x1b]0;<!-- end -->", "train": "a\udcff.parquet"}
    hostile = [[replace(rows[0], poisoning="<script>alert(1)</script>|", pipeline="a&b", trial=strange)]]
    write_page(tmp_path / "page.html", hostile)
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "a&amp;b" in page
    text = markdown(hostile)
    assert "alert(1)&lt;/script>\\|" in text
    assert text.startswith(r"a\udcff, 180 samples, target" + r' "\x1b]0;&lt;!-- end -->"')


@pytest.mark.slow
def test_trials_tell_which_set_they_are_about(tiny: Experiment, tmp_path: Path):
    digests = [tiny.run(BADNETS, name)["poisoned_sha256"] for name in ("none", "oracle", "unpoisoned")]
    clean = tiny.run(Poisoning("none"), "none")["poisoned_sha256"]
    shutil.copytree(tiny.train, tmp_path / "moved")
    moved = replace(tiny, train=str(tmp_path / "moved"), folder=tmp_path / "again")
    assert digests == 3 * [moved.run(BADNETS, "none")["poisoned_sha256"]]
    assert clean == moved.run(Poisoning("none"), "none")["poisoned_sha256"] != digests[0]
    image = Path(moved.train) / "bar" / "000.png"
    data = bytearray(image.read_bytes())
    data[-1] ^= 1
    image.write_bytes(data)
    assert replace(moved, folder=tmp_path / "third").run(Poisoning("none"), "none")["poisoned_sha256"] != clean


@pytest.mark.parametrize(
    ("before", "after", "der"),
    [
        ({"poisoned_sha256": "a"}, {"poisoned_sha256": "a"}, 0.95),
        ({"poisoned_sha256": "a"}, {"poisoned_sha256": "b"}, None),
        ({}, {"poisoned_sha256": "b"}, 0.95),  # older trials tell less
        ({"training": {"epochs": 10}}, {"training": {"epochs": 10, "widths": [96, 192]}}, 0.95),
        ({"training": {"epochs": 10}}, {"training": {"epochs": 1}}, None),
    ],
)
def test_der_is_of_one_poisoned_set_and_training(tiny: Experiment, before: dict, after: dict, der: float | None):
    for name, facts, asr in (("none", before, 0.9), ("dataelixir", after, 0.0)):
        outcome = {"accuracy": 0.9, "asr": asr, "robust_accuracy": 0.1, "tested": 100, "triggered": 60}
        result = RESULT | {"pipeline": name, "outcomes": [outcome]} | facts
        tiny.result_path(BADNETS, name).write_text(json.dumps(result))
    assert read_rows(tiny.folder)[0].der == pytest.approx(der)


def test_the_overview_has_a_line_for_each_attack(tiny: Experiment):
    def learned(accuracy: float, asr: float | None) -> list[dict]:
        return [{"accuracy": accuracy, "asr": asr, "robust_accuracy": asr, "tested": 100, "triggered": 50}]

    attacked = {"none": (0.9, 0.8), "dataelixir": (0.88, 0.02), "oracle": (0.91, 0.0), "impure": (0.5, 0.5)}
    for name, (accuracy, asr) in attacked.items():
        result = RESULT | {"pipeline": name, "outcomes": learned(accuracy, asr)}
        tiny.result_path(BADNETS, name).write_text(json.dumps(result))
    untouched = {"attack": "none", "rate": 0.0, "pipeline": "none", "trigger": None, "outcomes": learned(0.93, None)}
    tiny.result_path(Poisoning("none"), "none").write_text(json.dumps(RESULT | untouched))
    high = 100 * beta.ppf(0.975, 2, 49)
    low = 100 * beta.ppf(0.025, 1, 50)
    assert overview([read_rows(tiny.folder)]).splitlines()[2:] == [
        "| attack, share | TPR | FPR | relabel accuracy | none | dataelixir | oracle |",
        "|---|---|---|---|---|---|---|",
        f"| badnets-white-15% | 100.00 | 0.00 | 100.00 | 80.00 / 90.00 | 2.00 ({low:.2f} to {high:.2f}) / 88.00 "
        "| 0.00 / 91.00 |",
        "| none |  |  |  | 93.00 |  |  |",
    ]


@pytest.mark.parametrize(
    ("repair", "shown"),
    [
        ({"repaired": 3, "trigger_residual": 0.25, "trigger_residual_median": 0.125}, "0.12"),
        ({"repaired": 3, "trigger_residual": 0.25}, "0.25"),
        ({"repaired": 0, "trigger_residual": 0.0}, ""),
        ({"repaired": 3, "trigger_residual": None, "trigger_residual_median": None}, ""),
        (None, ""),
    ],
)
def test_residuals_in_the_tables(tiny: Experiment, repair: dict | None, shown: str):
    path = tiny.result_path(BADNETS, "dataelixir")
    path.write_text(json.dumps(RESULT | {"repair": repair}))
    rows = read_rows(tiny.folder)
    head, _, line = (line.split(" | ") for line in markdown([rows]).splitlines()[2:])
    assert line[head.index("residual")] == shown
    write_page(tiny.folder / "page.html", [rows])
    page = (tiny.folder / "page.html").read_text()
    assert "<th>residual</th>" in page
    assert re.findall("<td>(.*?)</td>", page, re.DOTALL)[head.index("residual")] == shown


def test_wrong_folders_and_files(tmp_path: Path):
    with pytest.raises(ElixirError, match="holds no results"):
        read_rows(tmp_path)
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(ElixirError, match="is no result of"):
        read_rows(tmp_path)
    (tmp_path / "plain.md").write_text("no marks")
    with pytest.raises(ElixirError, match="has no lines"):
        insert(tmp_path / "plain.md", "", MARKS)


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (3, 10), (10, 10), (1, 12630)])
def test_intervals_are_clopper_and_pearsons(hits: int, trials: int):
    share = Share.of(hits / trials, trials)
    low = beta.ppf(0.025, hits, trials - hits + 1) if hits else 0
    high = beta.ppf(0.975, hits + 1, trials - hits) if hits < trials else 1
    assert (share.low, share.high) == pytest.approx((low, high), abs=1e-9)


def test_defence_effectiveness_by_hand():
    assert defence_effectiveness((0.9, 0.1), (0.95, 0.93)) == pytest.approx(0.89)
    assert defence_effectiveness((0.1, 0.9), (0.9, 0.95)) == 0.5
    assert defence_effectiveness((1.0, 0.0), (0.9, 0.9)) == 1.0


def test_the_grid():
    found = poisonings([("badnets", {"pattern": "white"}), ("sig", {}), ("none", {})], [0.1, 0.01], [0.8])
    assert [poisoning.name for poisoning in found] == ["badnets-white-10%", "badnets-white-1%", "sig-80%", "none"]
    settings = [{"grid": 3}, {"strength": 3}, {"truncate": True}]
    assert [poisoning.name for poisoning in poisonings([("wanet", chosen) for chosen in settings], [0.1], [])] == [
        "wanet-grid=3-10%",
        "wanet-strength=3-10%",
        "wanet-truncate=True-10%",
    ]
    assert len(poisonings([("all", {})], [0.1], [0.8, 0.2])) >= 7 + 2 * 2
    with pytest.raises(ElixirError, match="give --clean-label-rate"):
        poisonings([("sig", {})], [0.1], [])
    everywhere = poisonings([("all", {})], [0.1], [0.8], all_to_all=True)
    one_target = {"bpp_clean", "sig", "label_consistent", "narcissus", "input_aware", "tact"}
    assert [poisoning.attack for poisoning in everywhere] == [
        name for name in names("attacks") if name not in one_target
    ]
    assert "tact" not in {poisoning.attack for poisoning in poisonings([("all", {})], [0.1], [0.8])}
    assert [each.name for each in poisonings([("tact", {"source": 2}), ("tact", {})], [0.003], [])] == [
        "tact-source=2-0.3%",
        "tact-0.3%",
    ]
    with pytest.raises(ElixirError, match="input_aware needs one target class"):
        poisonings([("input_aware", {})], [0.1], [], all_to_all=True)
    with pytest.raises(ElixirError, match="no setting 'patern'"):
        poisonings([("badnets", {"patern": "white"})], [0.1], [])
    assert pipelines(["none", "all-baselines", "dataelixir"], {})[:3] == ["none", "unpoisoned", "oracle"]
    assert _attack("badnets:pattern=white,seed=3") == ("badnets", {"pattern": "white", "seed": 3})
