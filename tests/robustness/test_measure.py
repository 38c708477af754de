"""A whole measurement: its files, going on after an interruption, tables, and mistakes."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from small_world import Blur, elixir

from elixir.data.image import decode
from elixir.data.open import open_source
from elixir.errors import ElixirError
from elixir.models.classifier import SmallResNet, save_classifier
from elixir.robustness import ATTACKS, measure
from elixir.robustness.defended import Defended
from elixir.robustness.measure import Settings, measure_robustness
from elixir.robustness.report import Result, read_measurement, robustness_tables

CPU = torch.device("cpu")
CERTAIN = ("rows.parquet", "static.svg", "adaptive.svg", "summary.json")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("classifier") / "small.safetensors"
    save_classifier(SmallResNet(3, widths=(8, 12)), path, ["bar", "post", "spot"])
    attacks = ("fgsm", "apgd-ce")
    return Settings(str(path), ("none", "blur", "jpeg"), attacks, ("8/255", "16/255"), adaptive=True, draws=2, count=6)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(measure, "CPU_IMAGES", 4)
    monkeypatch.setitem(ATTACKS, "apgd-ce", replace(ATTACKS["apgd-ce"], steps=3))  # pyright: ignore[reportArgumentType]


def measured(shapes: Path, out: Path, settings: Settings) -> dict[str, Any]:
    return measure_robustness(open_source(shapes), out, settings, CPU, quiet=True)


def contents(out: Path) -> list[bytes]:
    return [(out / name).read_bytes() for name in CERTAIN]


def test_files(shapes: Path, tmp_path: Path, settings: Settings):
    out = tmp_path / "out"
    found = measured(shapes, out, settings)
    assert {path.name for path in out.iterdir()} == {*CERTAIN, "timings.json", "adversarial"}
    assert len(list((out / "adversarial").iterdir())) == 2 * 2 * 2
    rows = pq.read_table(out / "rows.parquet").to_pylist()
    assert len(rows) == 6 * (3 + 2 * 2 * (3 + 2))
    jobs = {(row["mode"], row["purifier"], row["attack"], row["eps"]) for row in rows}
    assert ("adaptive", "none", "fgsm", "8/255") not in jobs
    assert ("adaptive", "jpeg", "fgsm", "16/255") in jobs
    by_hand = [row for row in rows if (row["mode"], row["purifier"], row["attack"]) == ("static", "jpeg", "apgd-ce")]
    right = np.mean([row["prediction"] == row["label"] for row in by_hand if row["eps"] == "8/255"])
    residual = np.nanmean([row["residual"] for row in by_hand if row["eps"] == "8/255"])
    results = [Result(**each) for each in found["results"]]
    same = [each for each in results if (each.mode, each.purifier, each.attack) == ("static", "jpeg", "apgd-ce")]
    assert [each.eps for each in same] == ["8/255", "16/255"]
    assert (same[0].images, same[0].accuracy) == (6, right)
    assert same[0].residual == pytest.approx(residual)
    assert all(each.residual == pytest.approx(1) for each in results if each.purifier == "none" and each.eps != "0")
    drawing = ET.fromstring((out / "static.svg").read_text())
    assert len(drawing.findall("{http://www.w3.org/2000/svg}path")) == 2 * 3
    crafting = {(each["mode"], each["purifier"], each["attack"]): each for each in found["timings"]["crafting"]}
    assert len(crafting) == 2 * 3
    assert crafting["static", "", "fgsm"]["images"] == 12
    assert measured(shapes, out, settings) == found


def test_static_images_are_kept_and_within_the_budget(shapes: Path, tmp_path: Path, settings: Settings):
    measured(shapes, tmp_path / "out", replace(settings, adaptive=False))
    source = open_source(shapes)
    place = {sample.id: row for row, sample in enumerate(source.samples)}
    ids = pq.read_table(tmp_path / "out" / "rows.parquet").column("id").to_pylist()[:4]
    clean = np.stack([decode(source.read(place[id])).rgb.transpose(2, 0, 1) for id in ids]).astype(int)
    for eps in (8, 16):
        found = load_file(tmp_path / "out" / "adversarial" / f"fgsm-{eps}_255-0.safetensors")["images"]
        assert np.abs(found.numpy() - clean).max() == eps
    assert not (tmp_path / "out" / "adaptive.svg").exists()


class Killed(BaseException):
    """Ends the process, as far as anybody can tell from the files."""


@pytest.mark.slow
def test_going_on_leaves_the_same_files(
    shapes: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    measured(shapes, tmp_path / "whole", settings)
    predict, left, log = Defended.predict, 9, tmp_path / "out" / "rows.jsonl"

    def killed(self: Defended, purified: torch.Tensor) -> torch.Tensor:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return predict(self, purified)

    monkeypatch.setattr(Defended, "predict", killed)
    for done in (9, 18):
        with pytest.raises(Killed):
            measured(shapes, tmp_path / "out", settings)
        assert log.read_text().count("\n") == 1 + done
        with log.open("a") as file:
            file.write('{"job": "half a li')
        left = 9
    monkeypatch.setattr(Defended, "predict", predict)
    measured(shapes, tmp_path / "out", settings)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not log.exists()


@pytest.mark.slow
def test_purifiers_apart_and_together_are_the_same(shapes: Path, tmp_path: Path, settings: Settings):
    together = measured(shapes, tmp_path / "together", settings)
    apart = [
        measured(shapes, tmp_path / name, replace(settings, purifiers=(name,))) for name in ("none", "blur", "jpeg")
    ]
    key = lambda each: tuple(each[part] for part in ("mode", "purifier", "attack", "eps"))  # noqa: E731
    parts = sorted((result for each in apart for result in each["results"]), key=key)
    assert parts == sorted(together["results"], key=key)
    tables = robustness_tables([read_measurement(tmp_path / name) for name in ("none", "blur", "jpeg")])
    assert tables == robustness_tables([read_measurement(tmp_path / "together")])
    lines = tables.splitlines()
    assert lines[0].startswith("shapes, eps 8/255, static attacks; 6 images, sigma 0.1, seed 0; ")
    assert lines[2] == "| purifier | clean | fgsm | apgd-ce | mean |"
    assert [line.split(" ")[1] for line in lines[4:7]] == ["none", "blur", "jpeg"]
    assert tables.count("gradients of 2 draws") == 2
    assert len([line for line in lines if line.startswith("| none")]) == 4
    shown = robustness_tables([read_measurement(tmp_path / "jpeg")], ["16/255"])
    assert "eps 8/255" not in shown
    with pytest.raises(ElixirError, match="nothing was measured at eps 1/255"):
        robustness_tables([read_measurement(tmp_path / "jpeg")], ["1/255"])


def test_a_seed_decides_everything(shapes: Path, tmp_path: Path, settings: Settings):
    settings = replace(settings, attacks=("apgd-ce",), eps=("8/255",), count=4)
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        measured(shapes, tmp_path / out, replace(settings, seed=seed))
    a, b, c = (
        load_file(tmp_path / out / "adversarial" / "apgd-ce-8_255-0.safetensors")["images"] for out in ("a", "b", "c")
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.slow
def test_images_of_several_sizes(shapes: Path, tmp_path: Path, settings: Settings):
    from small_world import png

    root = Path(shutil.copytree(shapes, tmp_path / "shapes"))
    (root / "bar" / "000.png").write_bytes(png(np.full((20, 24, 3), 90, np.uint8)))
    (root / "post" / "000.png").write_bytes(b"nothing")
    found = measured(root, tmp_path / "out", replace(settings, eps=("8/255",), attacks=("fgsm",), count=204))
    assert (found["unreadable"], found["settings"]["images"]) == (1, 203)


def test_other_settings_need_another_folder(shapes: Path, tmp_path: Path, settings: Settings):
    settings = replace(settings, purifiers=("none",), attacks=("fgsm",), count=2)
    measured(shapes, tmp_path / "out", settings)
    with pytest.raises(ElixirError, match="other settings"):
        measured(shapes, tmp_path / "out", replace(settings, count=3))
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "rows.jsonl").write_text('{"seed": 5}\n')
    with pytest.raises(ElixirError, match="other settings"):
        measured(shapes, tmp_path / "open", settings)


def test_nothing_of_others_is_removed(shapes: Path, tmp_path: Path, settings: Settings):
    data = shutil.copytree(shapes, tmp_path / "data")
    (data / "bar").rename(data / "adversarial")
    with pytest.raises(ElixirError, match="are the same"):
        measured(data, data, settings)
    assert len(list((data / "adversarial").iterdir())) == 60
    mine = tmp_path / "out" / "adversarial" / "precious.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    measured(shapes, tmp_path / "out", settings)
    assert mine.read_text() == "mine"


def test_the_toolbox_may_be_missing(shapes: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "art.estimators.classification", None)
    with pytest.raises(ElixirError, match=r"pip install 'dataset-elixir\[benchmark\]'"):
        measured(shapes, tmp_path / "out", settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--attacks", "fgsmm"], "did you mean 'fgsm'"),
        (["--attacks", "zzz"], "known: all, fgsm"),
        (["--eps", "0"], "eps must lie between 1/255 and 1"),
        (["--eps", "2"], "eps must lie between 1/255 and 1"),
        (["--eps", "8:255"], "'8:255' is no number"),
        (["--eps", "8/255", "--eps", "16/510"], "an eps is given twice"),
        (["--purifier", "blurr"], "did you mean 'blur'"),
        (["--purifier", "blur", "--purifier", "blur"], "a purifier is named twice"),
        (["--purifier", "jpeg=x.safetensors"], "'jpeg' has no weights"),
        (["--sigma", "0"], "sigma must lie in"),
        (["--device", "abacus"], "device 'abacus' is not known"),
    ],
)
def test_mistakes_are_explained(
    shapes: Path, tmp_path: Path, settings: Settings, monkeypatch, capsys, arguments, message
):
    command = ["robustness", str(shapes), "--classifier", settings.classifier, "-o", str(tmp_path / "out")]
    assert elixir(monkeypatch, *command, *arguments) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "out").exists()


def test_the_classifier_must_have_the_classes(shapes: Path, tmp_path: Path, settings: Settings):
    root = Path(shutil.copytree(shapes, tmp_path / "shapes"))
    (root / "fourth").mkdir()
    (root / "fourth" / "a.png").write_bytes((root / "bar" / "000.png").read_bytes())
    with pytest.raises(ElixirError, match="tells 3 classes apart, but the dataset has 4"):
        measured(root, tmp_path / "out", settings)


def test_commands(shapes: Path, tmp_path: Path, settings: Settings, monkeypatch, capsys):
    command = ["robustness", str(shapes), "--classifier", settings.classifier, "--purifier", "blur", "--attacks"]
    command += ["fgsm", "--eps", "8/255", "--count", "4", "--device", "cpu", "-o", str(tmp_path / "out")]
    assert elixir(monkeypatch, *command, "--json") == 0
    assert json.loads(capsys.readouterr().out)["settings"]["purifiers"] == ["blur"]
    assert elixir(monkeypatch, *command) == 0
    assert "| blur | " in capsys.readouterr().out
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- robustness -->\nold\n<!-- end of robustness -->\nb\n")
    assert elixir(monkeypatch, "report", "robust", str(tmp_path / "out"), "--into", str(readme)) == 0
    assert readme.read_text().startswith("a\n<!-- robustness -->\nshapes, eps 8/255, static attacks; 4 images")
    assert readme.read_text().endswith("|\n<!-- end of robustness -->\nb\n")
    assert elixir(monkeypatch, "report", "robust", str(tmp_path)) == 1
    assert "holds no finished measurement" in capsys.readouterr().err


def test_a_purifier_is_loaded_with_its_weights(shapes: Path, tmp_path: Path, settings: Settings, monkeypatch):
    given: list[str | None] = []

    def load(model: str | None, device: torch.device) -> Blur:
        given.append(model)
        return Blur()

    monkeypatch.setitem(__import__("elixir.registry").registry._registered, ("purifiers", "blur"), load)
    weights = f"{tmp_path}/a.safetensors"
    settings = replace(settings, attacks=("fgsm",), eps=("8/255",), count=2, purifiers=(f"blur={weights}", "blur"))
    found = measured(shapes, tmp_path / "out", settings)
    assert given == [weights, None]
    assert found["settings"]["purifiers"] == ["blur=a.safetensors", "blur"]
    assert {result["purifier"] for result in found["results"]} == {"blur=a.safetensors", "blur"}
    assert (found["settings"]["test"], found["settings"]["classifier"]) == ("shapes", "small.safetensors")
    with pytest.raises(ElixirError, match="by relative paths"):
        measured(
            shapes, tmp_path / "b", replace(settings, purifiers=("blur=/a/x.safetensors", "blur=/b/x.safetensors"))
        )
