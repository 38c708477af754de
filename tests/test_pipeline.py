"""Recipes, settings and refusals: everything that is decided before a stage runs."""

import json
import os
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_world import FAST

from elixir.api import scan
from elixir.data.open import open_source
from elixir.data.workdir import locked
from elixir.engine.run import Run
from elixir.engine.stage import ReduceStage, Stage, build_stage
from elixir.errors import ElixirError
from elixir.models.classifier import SmallResNet, save_classifier
from elixir.pipeline import Pipeline
from elixir.purifiers.classical import Identity
from elixir.recipe import shipped_recipes
from elixir.registry import find, names, register
from elixir.settings import explained


def test_every_shipped_recipe_can_be_built():
    assert {"dataelixir", "dataelixir-paper", "consistency", "impure"} <= set(shipped_recipes())
    for name in shipped_recipes():
        pipeline = Pipeline.from_recipe(name)
        assert pipeline.stages[0].name == "index"
        assert pipeline.stages[-1].name == "emit"
        json.dumps(pipeline.describe())


@pytest.mark.slow
def test_a_stage_between_target_and_refine_may_be_left_out(shapes: Path, tmp_path: Path):
    """With the consistency model besides, so that every shipped purifier has been through the whole recipe."""
    recipe = tmp_path / "short.toml"
    stages = [stage.name for stage in Pipeline.from_recipe("consistency").stages if stage.name != "retrial"]
    recipe.write_text(f"purifier = 'consistency'\nstages = {stages}\n")
    settings = {key: value for key, value in FAST.items() if key != "purifier"}
    result = Pipeline.from_recipe(recipe, settings).without_dataset().run(shapes, tmp_path / "out")
    assert result.targets


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["dataelixir", "dataelixir-paper"])
def test_stages_name_all_that_they_read(recipe: str, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    read: dict[str, set[str]] = {}
    made: dict[str, str] = {}  # models -> the stage that has trained them

    def recording(name: str) -> None:
        method = getattr(Run, name)

        def record(run: Run, stage_or_model: str, *args: Any, **options: Any) -> Any:
            mine = read.setdefault(run._stage, set())
            if name == "train":
                made[stage_or_model] = run._stage
                mine.update(made[initial] for initial in [options.get("initial")] if initial)
            else:
                mine.add(made.get(stage_or_model, stage_or_model))
            if name == "copy_model":
                made[args[0]] = run._stage
            return method(run, stage_or_model, *args, **options)

        monkeypatch.setattr(Run, name, record)

    for name in ("column", "columns", "classify", "copy_model", "train"):
        recording(name)
    known = {stage.name for stage in Pipeline.from_recipe(recipe).stages}
    settings = {key: value for key, value in FAST.items() if key.partition(".")[0] in {"purifier", *known}}
    paper = {"candidates.steps": 12, "candidates.of": 40, "candidates.keep": 6, "candidates.rounds": 2}
    pipeline = Pipeline.from_recipe(recipe, settings | (paper if recipe == "dataelixir-paper" else {}))
    pipeline.run(shapes, tmp_path / "out")
    assert set(read) > {"reference", "emit"}
    read["emit"].discard("select")  # which a recipe may lack
    for stage in pipeline.stages:
        unnamed = read.get(stage.name, set()) - {"index", stage.name, *stage.needs()}
        assert not unnamed, f"{stage.name} reads {unnamed}"


def test_settings_reach_their_stage():
    pipeline = Pipeline.from_recipe("dataelixir", {"probe.sigmas": [0.15, 0.5], "index.size": 48})
    assert pipeline["probe"].sigmas == (0.15, 0.5)
    assert pipeline["index"].size == 48


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"probe.sigma": [0.1]}, "no setting 'sigma'"),
        ({"prob.sigmas": [0.1]}, "did you mean 'probe'"),
        ({"sigmas": [0.1]}, "STAGE.KEY"),
        ({"probe.sigmas": "high"}, "wrong type"),
        ({"probe.hosts": 1.5}, "wrong type"),
        ({"probe.hosts": True}, "wrong type"),
        ({"probe.sigmas": [0.1, "x"]}, "wrong type"),
        ({"probe.sigmas": [0.1]}, "must be one of probe.sigmas"),
        ({"index.size": 3}, "from 16 to 512"),
        ({"index.size": 35}, "multiple of 4"),
        ({"probe.sigmas": [0.4, 0.15]}, "must ascend"),
        ({"probe.sigmas": 0.15}, "expected a list"),
        ({"target.smallest": 0}, "at least 1"),
        ({"reference.epochs": 0}, "reference.epochs = 0 is out of range; it must be at least 1"),
        ({"relabel.confidence": 7}, "at least 0 and below 1"),
        ({"benign.mirror_from": -0.1}, "at least 0 and at most 1"),
        ({"index.max_pixels": 0}, "at least 1"),
        ({"probe.sigmas": [0.15, 1.5]}, r"\[0.15, 1.5\] is out of range"),
        ({"target.mark": float("nan")}, "out of range"),
        ({"select.sigmas": [0]}, "above 0"),
        ({"emit.verdicts": "relable"}, "'emit' of pipeline 'dataelixir' needs the stage 'relable' before it"),
        ({"purifier": "priro"}, "did you mean 'prior'"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ElixirError, match=message):
        Pipeline.from_recipe("dataelixir", settings).check()


def test_a_pipeline_is_as_strict_when_it_is_edited():
    pipeline = Pipeline.from_recipe("dataelixir")
    with pytest.raises(ElixirError, match="no setting 'sgimas'; did you mean 'sigmas'"):
        pipeline["probe"].sgimas = (0.1,)
    with pytest.raises(ElixirError, match="of the wrong type; expected int"):
        pipeline["probe"].hosts = "many"
    with pytest.raises(ElixirError, match="must be above 0 and at most 1"):
        pipeline["probe"].sigmas = [0.0, 0.15]
    with pytest.raises(ElixirError, match="no stage 'prob'; did you mean 'probe'"):
        pipeline["prob"]
    assert pipeline.describe() == Pipeline.from_recipe("dataelixir").describe()
    pipeline["probe"].sigmas = [0.15, 1]
    assert pipeline["probe"].sigmas == (0.15, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda stages: stages[::-1], "'emit' of pipeline 'dataelixir' needs the stage 'index' before it"),
        (lambda stages: [stage for stage in stages if stage.name != "benign"], "'trigger'.* needs the stage 'benign'"),
        (lambda stages: [stages[0], *stages], "has the stage 'index' twice"),
        (lambda stages: stages[:-1], "needs the stage emit at its end"),
        (lambda stages: [], "needs the stage emit at its end"),
    ],
)
def test_stages_that_do_not_follow_from_each_other(change: Any, message: str):
    pipeline = Pipeline.from_recipe("dataelixir")
    pipeline.stages = change(pipeline.stages)
    with pytest.raises(ElixirError, match=message):
        pipeline.check()


def test_settings_are_not_for_a_pipeline_object(tmp_path: Path):
    with pytest.raises(ElixirError, match="a Pipeline has its own"):
        scan(tmp_path, pipeline=Pipeline.from_recipe("dataelixir"), settings={"probe.hosts": 2})


def test_every_setting_is_explained():
    for recipe in shipped_recipes():
        for stage in Pipeline.from_recipe(recipe).stages:
            for key, text in explained(type(stage)).items():
                assert text[:1] not in ("", "("), f"{stage.name}.{key}"
    assert explained(find("stages", "probe"))["sigmas"] == "noise levels in [0,1] pixel units. (above 0 and at most 1)"
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
        ('stages = ["index", "emit", "index"]', "lists the stage 'index' twice"),
    ],
)
def test_typos_in_recipes_are_named(tmp_path: Path, text, message):
    recipe = tmp_path / "mine.toml"
    recipe.write_text(text)
    with pytest.raises(ElixirError, match=message):
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
    assert isinstance(build_stage(Mine, {}), Mine)


def test_the_stage_of_the_readme_takes_the_place_of_another():
    fences = (Path(__file__).parents[1] / "README.md").read_text("utf-8").split("```python\n")[1:]
    (code,) = [fence.partition("```")[0] for fence in fences if "ReduceStage" in fence]
    seen: dict[str, Any] = {"pipeline": Pipeline.from_recipe("dataelixir")}
    exec(code, seen)
    seen["pipeline"].check()
    assert seen["pipeline"].describe()["stages"]["refine"] == {"below": 0.1}
    run = SimpleNamespace(column=lambda stage, name: np.log([0.99, 0.05]))
    assert seen["pipeline"]["refine"].reduce(run)["suspect"].tolist() == [False, True]
    with pytest.raises(ElixirError, match=r"refine\.below = 1 is out of range"):
        seen["pipeline"]["refine"].below = 1


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


def test_resuming_takes_the_same_columns_and_weights(tmp_path: Path, stopped: list[Path]):
    images = [{"bytes": b"", "path": None}] * 2
    data = datasets.Dataset.from_dict({"image": images, "fine": [0, 1], "coarse": [0, 0]})
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


def test_damaged_columns_are_named(shapes: Path, tmp_path: Path):
    run = Run(tmp_path / "run", open_source(shapes), Identity())
    run.write_part("index", 0, np.arange(9), {"readable": np.ones(9, bool)})
    (part,) = (tmp_path / "run" / "columns" / "index").iterdir()
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(ElixirError, match=r"000000\.parquet cannot be read: .* add --overwrite without --resume"):
        run.column("index", "readable")


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
