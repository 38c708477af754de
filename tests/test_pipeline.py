"""Recipes, settings and refusals: everything that is decided before a stage runs."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_world import FAST

from elixir.api import scan
from elixir.data.columns import Columns
from elixir.data.open import TRAIN as SAMPLE
from elixir.data.pixels import PixelStore
from elixir.data.workdir import locked
from elixir.detection.thresholds import Thresholds
from elixir.engine.execution import execute
from elixir.engine.models import CLEAN, REFERENCE, Models
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage, Stage
from elixir.errors import ElixirError
from elixir.models.classifier import SmallResNet, save_classifier
from elixir.pipeline import Pipeline
from elixir.recipe import read_recipe, shipped_recipes
from elixir.registry import find, names, register
from elixir.settings import build, explained
from elixir.stages.paper.clean_model import FIRST


def test_every_shipped_recipe_can_be_built():
    assert {"dataelixir", "dataelixir-paper", "consistency", "impure"} <= set(shipped_recipes())
    for name in shipped_recipes():
        pipeline = Pipeline.from_recipe(name)
        assert pipeline.stages[0].name == "index"
        assert pipeline.stages[-1].name == "write"
        json.dumps(pipeline.describe())


@pytest.mark.slow
def test_a_stage_that_no_later_one_needs_may_be_left_out(shapes: Path, tmp_path: Path):
    """With the consistency model besides, so that every shipped purifier has been through the whole recipe."""
    recipe = tmp_path / "short.toml"
    stages = [stage.name for stage in Pipeline.from_recipe("consistency").stages if stage.name != "repair"]
    recipe.write_text(f"purifier = 'consistency'\nstages = {stages}\n")
    settings = {key: value for key, value in FAST.items() if key not in ("purifier", "repair.sigmas")}
    result = Pipeline.from_recipe(recipe, settings).without_dataset().run(shapes, tmp_path / "out")
    assert result.attacked


MODELS = {REFERENCE: "reference_model", CLEAN: "clean_model", FIRST: "clean_first_model"}
OF_THE_RUN = {"source_usable", "source_shape", "source_sha256", "working_size"}
"""What `Run` itself reads, for the positions, sizes and bytes of samples and for its stores."""


class Recorder:
    """Notes what each stage at work reads and provides, by its name: columns, facts, models, stores, triggers."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.read: dict[str, set[str]] = {}
        self.provided: dict[str, set[str]] = {}
        self._stage = ""
        self._made: dict[str, str] = {}  # model -> the stage that has trained it
        self._patch = patch
        recorder = self

        class Facts(dict[str, Any]):
            def __getitem__(self, name: str) -> Any:
                recorder.reads(name)
                return super().__getitem__(name)

            def get(self, name: str, default: Any = None) -> Any:
                recorder.reads(name)
                return super().get(name, default)

            def __setitem__(self, name: str, value: Any) -> None:
                recorder.provides(name)
                super().__setitem__(name, value)

        def at_work(run: Run, stage: Stage) -> None:
            self._stage, run.facts = stage.name, Facts(run.facts)
            self.read[stage.name], self.provided[stage.name] = set(), set()
            execute(run, stage)
            self._stage, run.facts = "", dict(run.facts)

        patch.setattr("elixir.pipeline.execute", at_work)
        self._before(Run, "__getitem__", lambda run, name: self.reads(name))
        self._before(Run, "write_part", lambda run, stage, part, indices, columns: self.provides(*columns))
        self._before(Run, "keep_triggers", lambda run, triggers: self.provides("triggers"))
        self._before(Run, "keep_calibration", lambda run, columns: self.provides("calibration"))
        self._before(PixelStore, "read", lambda store, rows: self.reads(store.path.stem))
        self._before(PixelStore, "write", lambda store, rows, images: self.provides(store.path.stem))
        self._before(Models, "classify", lambda models, name, images: self.reads_model(name))
        self._before(Models, "label_gradient", lambda models, name, images, labels: self.reads_model(name))
        self._before(Models, "copy", lambda models, name, to: (self.reads_model(name), self.makes_model(to)))
        self._before(Models, "train", self._train)
        triggers = vars(Run)["triggers"].func
        patch.setattr(Run, "triggers", property(lambda run: (self.reads("triggers"), triggers(run))[1]))

    def reads(self, name: str) -> None:
        if self._stage:
            self.read[self._stage].add(name)

    def provides(self, *names: str) -> None:
        self.provided[self._stage].update(names)

    def reads_model(self, name: str) -> None:
        if self._made[name] != self._stage:
            self.reads(MODELS.get(name, name))

    def makes_model(self, name: str) -> None:
        self._made[name] = self._stage
        self.provides(*[MODELS[name]] if name in MODELS else [])

    def _train(
        self,
        models: Models,
        name: str,
        read: Any,
        indices: Any,
        labels: Any,
        settings: Any,
        initial: str | None = None,
        classes: Any = None,
    ) -> None:
        if initial:
            self.reads_model(initial)
        self.makes_model(name)

    def _before(self, owner: type, name: str, note: Callable[..., object]) -> None:
        method = getattr(owner, name)

        def noted(*args: Any, **options: Any) -> Any:
            note(*args, **options)
            return method(*args, **options)

        self._patch.setattr(owner, name, noted)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["dataelixir", "dataelixir-paper"])
def test_stages_name_all_that_they_read(recipe: str, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    known = {stage.name for stage in Pipeline.from_recipe(recipe).stages}
    settings = {key: value for key, value in FAST.items() if key.partition(".")[0] in {"purifier", "training", *known}}
    paper = {"candidates.steps": 12, "candidates.of": 40, "candidates.keep": 6, "candidates.rounds": 2}
    pipeline = Pipeline.from_recipe(recipe, settings | (paper if recipe == "dataelixir-paper" else {}))
    recorder = Recorder(monkeypatch)
    assert pipeline.run(shapes, tmp_path / "out").attacked  # else there is little to read
    assert set(recorder.read) == known > {"reference", "write"}
    for stage in pipeline.stages:
        required, provided = set(stage.requires), set(stage.provides)
        unnamed = recorder.read[stage.name] - OF_THE_RUN - required - provided
        assert not unnamed, f"{stage.name} reads {unnamed}"
        unasked = recorder.provided[stage.name] - required - provided
        assert not unasked, f"{stage.name} provides {unasked}"
        missing = provided - recorder.provided[stage.name]
        assert not missing, f"{stage.name} does not provide {missing}"


def test_settings_reach_their_stage():
    pipeline = Pipeline.from_recipe("dataelixir", {"probe.sigma": 0.5, "repair.sigmas": [0, 0.5], "index.size": 48})
    assert pipeline["probe"].sigma == 0.5
    assert pipeline["repair"].sigmas == (0.0, 0.5)
    assert pipeline["index"].size == 48


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"probe.sigmas": [0.1]}, "no setting 'sigmas'; did you mean 'sigma'"),
        ({"prob.sigma": 0.1}, "did you mean 'probe'"),
        ({"sigma": 0.1}, "STAGE.KEY"),
        ({"thresholds": 0.1}, "thresholds.KEY"),
        ({"training.rate": 8}, "training has no setting 'rate'"),
        ({"training.batch": 1}, "at least 2"),
        ({"training.epochs": 3}, "set STAGE.epochs"),
        ({"thresholds.alarm_rat": 0.1}, "thresholds has no setting 'alarm_rat'; did you mean 'alarm_rate'"),
        ({"probe.sigma": "high"}, "wrong type"),
        ({"probe.carriers": 1.5}, "wrong type"),
        ({"probe.carriers": True}, "wrong type"),
        ({"repair.sigmas": [0.1, "x"]}, "wrong type"),
        ({"probe.sigma": [0.1]}, "wrong type; expected float"),
        ({"probe.sigma": 0}, "above 0 and at most 1"),
        ({"probe.strong_sigma": 1.5}, "above 0 and at most 1"),
        ({"probe.tiles": 0}, "at least 1"),
        ({"training.backbone": 3}, "wrong type"),
        ({"training.backbone": "featurs"}, "'featurs' is no file or folder, no timm model"),
        ({"training.widths": [8, 12]}, 'set training.backbone to "none" as well'),
        ({"index.size": 3}, "from 16 to 512"),
        ({"index.size": 35}, "multiple of 4"),
        ({"repair.sigmas": 0.15}, "expected a list"),
        ({"thresholds.min_group_size": 0}, "at least 1"),
        ({"reference.epochs": 0}, "reference.epochs = 0 is out of range; it must be at least 1"),
        ({"thresholds.min_label_confidence": 7}, "at least 0 and below 1"),
        ({"thresholds.mirror_accuracy": -0.1}, "at least 0 and at most 1"),
        ({"index.max_pixels": 0}, "at least 1"),
        ({"repair.sigmas": [0.15, 1.5]}, r"\[0.15, 1.5\] is out of range"),
        ({"thresholds.seed_threshold": float("nan")}, "out of range"),
        ({"repair.sigmas": [0]}, "above 0"),
        ({"thresholds.negative_threshold": 0.3}, "must not be above thresholds.positive_threshold = 0.2"),
        ({"purifier": "priro"}, "did you mean 'prior'"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ElixirError, match=message):
        Pipeline.from_recipe("dataelixir", settings).check()


def test_a_pipeline_is_as_strict_when_it_is_edited():
    pipeline = Pipeline.from_recipe("dataelixir")
    with pytest.raises(ElixirError, match="no setting 'sgima'; did you mean 'sigma'"):
        pipeline["probe"].sgima = 0.1
    with pytest.raises(ElixirError, match="of the wrong type; expected int"):
        pipeline["probe"].carriers = "many"
    with pytest.raises(ElixirError, match="must be above 0 and at most 1"):
        pipeline["probe"].sigma = 0.0
    with pytest.raises(ElixirError, match="must be at least 0 and at most 1"):
        pipeline["repair"].sigmas = [0.15, 1.5]
    with pytest.raises(ElixirError, match="no stage 'prob'; did you mean 'probe'"):
        pipeline["prob"]
    with pytest.raises(ElixirError, match=r"thresholds\.alarm_rate = 1 is out of range"):
        pipeline.thresholds.alarm_rate = 1
    assert pipeline.describe() == Pipeline.from_recipe("dataelixir").describe()
    pipeline["repair"].sigmas = [0.15, 1]
    assert pipeline["repair"].sigmas == (0.15, 1.0)


def without(name: str) -> Callable[[list[Stage]], list[Stage]]:
    return lambda stages: [stage for stage in stages if stage.name != name]


class Confident(ReduceStage):
    """Provides what the stage flag provides, under a name of its own."""

    name = "confident"
    provides = ("poison_score", "flagged")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda stages: stages[::-1],
            "stage 'write' requires 'source_usable', which no earlier stage provides; "
            "move the stage 'index' before it: the stages of pipeline 'dataelixir'",
        ),
        (
            lambda stages: [*without("probe")(stages), stages[2]],
            "stage 'crossfit' requires 'purified', which no earlier stage provides; move the stage 'probe' before it",
        ),
        (
            without("clean_model"),
            "stage 'estimate_trigger' requires 'clean_model', which no earlier stage provides; "
            "add one that provides 'clean_model' before it: the stages of pipeline 'dataelixir'",
        ),
        (without("relabel"), "stage 'calibrate' requires 'action', .* add one that provides 'action' before it"),
        (without("repair"), "stage 'write' requires 'repaired', .* add one that provides 'repaired' before it"),
        (lambda stages: [stages[0], *stages], "has the stage 'index' twice"),
        (
            lambda stages: [*stages[:-1], Confident(), stages[-1]],
            "stages 'flag' and 'confident' of pipeline 'dataelixir' both provide 'poison_score'; leave one of them out",
        ),
        (lambda stages: stages[:-1], "needs the stage write at its end"),
        (lambda stages: [], "needs the stage write at its end"),
    ],
)
def test_stages_that_do_not_follow_from_each_other(change: Any, message: str):
    pipeline = Pipeline.from_recipe("dataelixir")
    pipeline.stages = change(pipeline.stages)
    with pytest.raises(ElixirError, match=message):
        pipeline.check()


def test_settings_are_not_for_a_pipeline_object(tmp_path: Path):
    with pytest.raises(ElixirError, match="a Pipeline has its own"):
        scan(tmp_path, pipeline=Pipeline.from_recipe("dataelixir"), settings={"probe.carriers": 2})


def test_every_setting_is_explained():
    for recipe in shipped_recipes():
        for stage in Pipeline.from_recipe(recipe).stages:
            for key, text in explained(type(stage)).items():
                assert text[:1] not in ("", "("), f"{stage.name}.{key}"
    assert all(text[:1] not in ("", "(") for text in explained(Thresholds).values())
    assert explained(find("stages", "probe"))["strong_sigma"] == "much noise, likewise. (above 0 and at most 1)"
    assert explained(find("stages", "candidates"))["ssim"].endswith("code computes. (intended or released)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages = [", "not valid TOML"),
        ("", "needs `stages"),
        ('stages = ["index"]\n[indx]\nsize = 32', "unknown entry 'indx'"),
        ('stages = ["indx"]', "did you mean 'index'"),
        ("stages = 5", "needs `stages"),
        ("stages = [[1]]", "needs `stages"),
        ('stages = ["index"]\nindex = 3', r"no table \[index\] of settings but index = 3"),
        ('stages = ["index"]\npurifer = "prior"', "unknown entry 'purifer'"),
        ('stages = ["index"]\nthresholds = 3', r"no table \[thresholds\] of settings but thresholds = 3"),
        ('extends = "dataelixr"', "'mine' extends 'dataelixr', which is no shipped recipe; shipped: .*, dataelixir"),
        ('extends = "mine"', "'mine' extends 'mine', which is no shipped recipe"),
        ('extends = ["dataelixir"]', "which is no shipped recipe"),
        ('extends = "dataelixir"\n[candidates]\nsteps = 5', "unknown entry 'candidates'"),
        ('extends = "dataelixir"\n[probe]\nsigmas = 5', "'probe' has no setting 'sigmas'"),
        ('stages = ["index", "write", "index"]', "lists the stage 'index' twice"),
    ],
)
def test_typos_in_recipes_are_named(tmp_path: Path, text, message):
    recipe = tmp_path / "mine.toml"
    recipe.write_text(text)
    with pytest.raises(ElixirError, match=message):
        Pipeline.from_recipe(recipe)


def test_a_recipe_may_extend_a_shipped_one(tmp_path: Path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("""
        extends = "dataelixir-paper"
        purifier = "consistency"
        [candidates]
        keep = 6
        [reference]
        epochs = 3
        [thresholds]
        alarm_rate = 0.4
    """)
    read, base = read_recipe(recipe), read_recipe("dataelixir-paper")
    assert (read.name, read.description, read.purifier) == ("mine", base.description, "consistency")
    candidates = base.stages["candidates"] | {"keep": 6}
    assert read.stages == base.stages | {"candidates": candidates, "reference": {"epochs": 3}}
    assert read.common == {"thresholds": {"alarm_rate": 0.4}, "training": {}}
    pipeline = Pipeline.from_recipe(recipe, {"candidates.steps": 99, "thresholds.min_group_size": 7})
    candidates, thresholds = pipeline["candidates"], pipeline.thresholds
    assert (candidates.steps, candidates.keep, candidates.rounds) == (99, 6, base.stages["candidates"]["rounds"])
    assert (thresholds.alarm_rate, thresholds.min_group_size) == (0.4, 7)
    assert read_recipe("dataelixir-paper") == base

    shorter = [name for name in Pipeline.from_recipe("dataelixir").describe()["stages"] if name != "repair"]
    recipe.write_text(f'extends = "impure"\ndescription = "Shorter"\nstages = {shorter}\nprobe.carriers = 2')
    read = read_recipe(recipe)
    assert (read.description, read.purifier, list(read.stages)) == ("Shorter", "impure", shorter)
    assert read.stages["probe"] == {"carriers": 2}


def test_a_recipe_does_not_extend_itself(tmp_path: Path):
    recipe = tmp_path / "dataelixir.toml"
    recipe.write_text('extends = "dataelixir"')
    with pytest.raises(ElixirError, match="'dataelixir' extends 'dataelixir', which is no shipped recipe"):
        Pipeline.from_recipe(recipe)


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(ElixirError, match="did you mean 'dataelixir'"):
        Pipeline.from_recipe("dataelixr")


def test_plugins_are_found_by_name():
    @register("stages", "mine")
    class Mine(ReduceStage):
        name = "mine"

    assert "mine" in names("stages")
    assert find("stages", "mine") is Mine
    assert isinstance(build(Mine, {}), Mine)


def pipeline_of_the_readme(settings: dict[str, Any]) -> Pipeline:
    """The default recipe with a stage of one's own, as README.md tells to write it."""
    fences = (Path(__file__).parents[1] / "README.md").read_text("utf-8").split("```python\n")[1:]
    (code,) = [fence.partition("```")[0] for fence in fences if "ReduceStage" in fence]
    seen: dict[str, Any] = {"pipeline": Pipeline.from_recipe("dataelixir", settings)}
    exec(code, seen)
    return seen["pipeline"]


def test_the_stage_of_the_readme_takes_the_place_of_another():
    pipeline = pipeline_of_the_readme({})
    pipeline.check()
    assert "flag" not in pipeline.describe()["stages"]
    assert pipeline.describe()["stages"]["low_confidence"] == {"below": 0.1}
    run = {"reference_logp": np.log([0.99, 0.05])}
    assert pipeline["low_confidence"].reduce(run)["flagged"].tolist() == [False, True]
    with pytest.raises(ElixirError, match=r"low_confidence\.below = 1 is out of range"):
        pipeline["low_confidence"].below = 1


@pytest.mark.slow
def test_the_stage_of_the_readme_decides_what_is_flagged(shapes: Path, tmp_path: Path):
    quick = FAST | {"reference.epochs": 1, "reference.least_steps": 4}  # learns little, and so disagrees
    result = pipeline_of_the_readme(quick).without_dataset().run(shapes, tmp_path / "out")
    score, flagged = (result.table.column(name).to_numpy() for name in ("poison_score", "flagged"))
    assert "low_confidence" in result.costs
    assert flagged.tolist() == (score > 0.9).tolist()
    assert len(np.unique(score)) > 1


def raise_interrupt() -> None:
    raise KeyboardInterrupt


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Runs are interrupted before their first stage; their work folders."""
    folders: list[Path] = []

    def stop(run: Run, stage: Stage) -> None:
        folders.append(run.folder)
        raise KeyboardInterrupt

    monkeypatch.setattr("elixir.pipeline.execute", stop)
    return folders


def refused(src: Any, dst: Path, message: str, **options: Any) -> None:
    with pytest.raises(ElixirError, match=message):
        Pipeline.from_recipe("dataelixir", FAST).run(src, dst, **options)


def test_destination_must_not_touch_the_source(shapes: Path, tmp_path: Path):
    refused(shapes, shapes, "are the same")
    refused(shapes, shapes / "out", "lies inside the source")
    refused(shapes, shapes.parent, "lies inside the destination")
    link = tmp_path / "link"
    link.symlink_to(shapes)
    refused(shapes, link, "are the same")
    refused(link, shapes / "bar" / "out", "lies inside the source")


def test_destination_must_not_touch_the_files_that_are_read(tmp_path: Path):
    folder = tmp_path / "data"
    folder.mkdir()
    images = [{"bytes": b"", "path": None}] * 2
    data = datasets.Dataset.from_dict({"image": images, "label": [0, 1]}).cast_column("image", datasets.Image())
    data.to_parquet(str(folder / "train.parquet"))
    refused(str(folder / "*.parquet"), folder, "lies inside the destination", overwrite=True)
    data.save_to_disk(str(tmp_path / "saved"))
    loaded = datasets.Dataset.load_from_disk(str(tmp_path / "saved"))
    refused(loaded, tmp_path / "saved", "are the same", overwrite=True)
    refused(datasets.DatasetDict({"train": data, "test": loaded}), tmp_path / "saved" / "out", "lies inside the source")
    refused(loaded, tmp_path, "lies inside the destination", overwrite=True)


def test_a_linked_destination_is_where_the_link_leads(shapes: Path, tmp_path: Path, stopped: list[Path]):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "new")
    for name in ("link", "dangling"):
        with pytest.raises(KeyboardInterrupt):
            Pipeline.from_recipe("dataelixir", FAST).run(shapes, tmp_path / name)
    assert [work.name for work in stopped] == [".real.elixir-partial", ".new.elixir-partial"]


def test_the_size_of_shards_is_a_setting_of_the_run(shapes: Path, tmp_path: Path, stopped: list[Path]):
    def run(size: int | str | None, **options: Any) -> None:
        pipeline = Pipeline.from_recipe("dataelixir", FAST)
        pipeline.run(shapes, tmp_path / "out", to="parquet", shard_size=size, **options)

    for size in ("2kB", 2000):
        with pytest.raises(KeyboardInterrupt):
            run(size, resume=bool(stopped))
    for size in (None, "3kB"):
        with pytest.raises(ElixirError, match=r"other settings \(shard_bytes\)"):
            run(size, resume=True)


def test_a_mount_point_is_refused_before_the_work(shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.path.ismount", lambda path: path == tmp_path / "mounted")
    refused(shapes, tmp_path / "mounted", "is a mount point")


def test_what_an_interrupted_removal_leaves_is_not_gone_on_with(
    shapes: Path, tmp_path: Path, stopped: list[Path], monkeypatch: pytest.MonkeyPatch
):
    pipeline = Pipeline.from_recipe("dataelixir", FAST)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(shapes, tmp_path / "out")
    (work,) = stopped
    (work / "done").mkdir(exist_ok=True)
    (work / "done" / "index.json").write_text("{}")
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda _: raise_interrupt())
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(shapes, tmp_path / "out", overwrite=True)
    assert (work / "done" / "index.json").exists()
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(shapes, tmp_path / "out")
    assert not (work / "done" / "index.json").exists()


@dataclass
class Failing(ReduceStage):
    """Raises what it is given."""

    name = "failing"
    error: ClassVar[BaseException]

    def reduce(self, run: Run) -> Columns:
        raise self.error


@dataclass
class First(ReduceStage):
    """Finds nothing."""

    name = "first"

    def reduce(self, run: Run) -> Columns:
        return {}


def caused(by: BaseException) -> ElixirError:
    """An error as `explaining` raises it, of another such error."""
    inner, outer = ElixirError("cannot write"), ElixirError("the stage failed")
    inner.__cause__, outer.__cause__ = by, inner
    return outer


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (ElixirError("too few classes"), False),
        (caused(ValueError("no number")), False),
        (caused(OSError(28, "No space left on device")), True),
        (OSError(5, "Input/output error"), True),
        (KeyboardInterrupt(), True),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_a_refused_run_leaves_nothing_that_blocks_the_next(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, kept: bool, late: bool
):
    """But an interrupted one does, and so does one that has more behind it than reading the images."""
    monkeypatch.setattr(Failing, "error", error, raising=False)
    monkeypatch.setattr(Pipeline, "check", lambda self: None)  # what the last stage needs is not there
    index, *_, write = Pipeline.from_recipe("impure").without_dataset().stages
    stages = [index, First(), Failing(), write] if late else [index, Failing(), write]
    pipeline = Pipeline("short", stages, purifier="blur")
    with pytest.raises(type(error)) as raised:
        pipeline.run(shapes, tmp_path / "out")
    assert raised.value is error
    left = [path.name for path in tmp_path.iterdir()]
    assert left == ([".out.elixir-partial"] if kept or late else [])
    if not left:
        monkeypatch.setattr(Failing, "error", KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):  # and not: an interrupted run was found
            pipeline.run(shapes, tmp_path / "out", seed=1)


def test_resuming_takes_the_same_columns_and_weights(tmp_path: Path, stopped: list[Path]):
    images = [{"bytes": b"", "path": None}] * 2
    data = datasets.Dataset.from_dict({"image": images, "fine": [0, 1], "coarse": [1, 0]})
    data.cast_column("image", datasets.Image()).to_parquet(str(tmp_path / "data.parquet"))
    weights = tmp_path / "weights.safetensors"
    save_classifier(SmallResNet(2), weights, ["0", "1"])
    pipeline = Pipeline.from_recipe("dataelixir", FAST)

    def run(label: str) -> None:
        pipeline.run(
            tmp_path / "data.parquet", tmp_path / "out", label=label, reference=str(weights), resume=bool(stopped)
        )

    for _ in range(2):  # the second goes on
        with pytest.raises(KeyboardInterrupt):
            run("fine")
    with pytest.raises(ElixirError, match=r"other settings \(label\)"):
        run("coarse")
    save_classifier(SmallResNet(2), weights, ["0", "1"])
    with pytest.raises(ElixirError, match=r"other settings \(reference_sha256\)"):
        run("fine")


@pytest.mark.slow
def test_an_interrupted_run_stays_on_its_device_and_a_finished_one_is_read_on_any(shapes: Path, tmp_path: Path):
    def on_another_device(folder: Path) -> None:
        config = json.loads((folder / "run.json").read_text())
        assert config["device"] == "cpu"
        (folder / "run.json").write_text(json.dumps(config | {"device": "cuda"}))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elixir.pipeline.execute", lambda run, stage: raise_interrupt())
        with pytest.raises(KeyboardInterrupt):
            scan(shapes, tmp_path / "out", settings=FAST)
    on_another_device(tmp_path / ".out.elixir-partial")
    with pytest.raises(ElixirError, match=r"other settings \(device\)"):
        scan(shapes, tmp_path / "out", settings=FAST, resume=True)
    result = scan(shapes, tmp_path / "out", settings=FAST, overwrite=True)
    on_another_device(tmp_path / "out" / ".elixir")
    assert scan(shapes, tmp_path / "out", settings=FAST, resume=True).counts == result.counts


@pytest.mark.parametrize("place", ["out/.elixir", ".out.elixir-partial"])
def test_damaged_settings_are_named(shapes: Path, tmp_path: Path, place: str):
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "run.json").write_text("")
    refused(shapes, tmp_path / "out", r"run\.json cannot be read", resume=True)


def test_destination_in_use_is_kept(shapes: Path, tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    refused(shapes, tmp_path, "not empty")
    refused(shapes, tmp_path / "file", "not empty")
    assert (tmp_path / "file").read_text() == "mine"


def test_two_runs_do_not_write_to_one_place(shapes: Path, tmp_path: Path, stopped: list[Path]):
    pipeline = Pipeline.from_recipe("dataelixir", FAST)
    with locked(tmp_path / ".out.elixir-lock"):
        for options in ({}, {"resume": True}, {"overwrite": True}):
            refused(shapes, tmp_path / "out", "another run is at work", **options)
    assert not stopped
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(shapes, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if "lock" in path.name] == []


def test_unusable_options(shapes: Path, tmp_path: Path):
    refused(shapes, tmp_path / "out", "policy 'burn'", policy="burn")
    refused(shapes, tmp_path / "out", "output kind 'zip'", to="zip")
    refused(shapes, tmp_path / "out", "device 'abacus'", device="abacus")
    refused(shapes, tmp_path / "out", "seed -1 must lie in", seed=-1)
    refused(shapes, tmp_path / "out", "seed 4294967296 must lie in", seed=2**32)
    refused(shapes, tmp_path / "out", "batch size 0", batch_size=0)
    refused(shapes, tmp_path / "out", "workers 0", workers=0)
    refused(shapes, tmp_path / "out", "'many' is no size of a file", to="parquet", shard_size="many")
    refused(shapes, tmp_path / "out", "--shard-size is for parquet output", shard_size="5MB")
    refused(shapes, tmp_path / "out", "--shard-size is for parquet output", to="hf", shard_size=5)
    with pytest.raises(ElixirError, match="--shard-size is for parquet output"):
        scan(SAMPLE, tmp_path / "out", shard_size=5)
    refused(tmp_path / "nowhere", tmp_path / "out", "does not exist")
    with pytest.raises(ElixirError, match="name one with -o"):
        scan(shapes, resume=True)
    assert not (tmp_path / "out").exists()


def test_pickles_are_refused_as_models(shapes: Path, tmp_path: Path):
    class Unpickled:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "unpickled"),)

    plain, zipped = tmp_path / "model.pt", tmp_path / "zipped.pt"
    plain.write_bytes(pickle.dumps(Unpickled()))
    torch.save(Unpickled(), zipped)
    for model in (plain, zipped):
        refused(shapes, tmp_path / "out", model.name, reference=str(model))
        with pytest.raises(ElixirError, match="pickle"):
            Pipeline.from_recipe("dataelixir", FAST | {"purifier": "prior"}).run(
                shapes, tmp_path / "out", prior=str(model)
            )
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("wrong", [{"reference": "/nowhere/model.pt"}, {"prior": "/nowhere/prior.safetensors"}])
def test_a_wrong_model_is_found_before_the_work(shapes: Path, tmp_path: Path, wrong: dict[str, str]):
    with pytest.raises(ElixirError, match="there is no"):
        Pipeline.from_recipe("dataelixir", FAST | {"purifier": "prior"}).run(shapes, tmp_path / "out", **wrong)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == []


def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path, stopped: list[Path]):
    columns = {
        "image": [b"", b""],
        "label": [0, 1],
        "notes": pa.array([[("a", 1)]] * 2, pa.map_(pa.string(), pa.int64())),
    }
    pq.write_table(pa.table(columns), tmp_path / "maps.parquet")
    refused(tmp_path / "maps.parquet", tmp_path / "out", "use --to parquet or --to folder", to="hf")
    empty = datasets.Dataset.from_dict({"image": [b"", b""], "label": [0, 1], "meta": [{}, {}]})
    empty.save_to_disk(str(tmp_path / "empty"))
    refused(tmp_path / "empty", tmp_path / "out", "a column that parquet cannot hold")
    assert not stopped
    assert not (tmp_path / ".out.elixir-partial").exists()


def test_a_split_that_is_missing_is_named(tmp_path: Path):
    data = datasets.Dataset.from_dict({"image": [b"", b""], "label": [0, 1]})
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(str(tmp_path / "src"))
    shutil.rmtree(tmp_path / "src" / "test")
    refused(tmp_path / "src", tmp_path / "out", "lists the split 'test', which is not there")


def test_a_single_class_is_refused(tmp_path: Path):
    rows = datasets.Dataset.from_dict({"image": [b"x"] * 3, "label": ["cat", None, "cat"]})
    with pytest.raises(ElixirError, match="has the single class cat; check that its labels are read as they are meant"):
        Pipeline.from_recipe("dataelixir").run(rows, tmp_path / "out")
    assert not list(tmp_path.iterdir())
