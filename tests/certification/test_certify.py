"""A whole certification: its files, going on after an interruption, and mistakes."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from small_world import Blur, elixir
from torch import Tensor

from elixir.certification.certify import Settings, certify_dataset, from_entry, to_entry
from elixir.certification.report import Row
from elixir.certification.sampling import Certificate
from elixir.data.open import open_source
from elixir.engine.cost import Cost
from elixir.errors import ElixirError
from elixir.measurement.results_log import ResultsLog
from elixir.models.classifier import SmallResNet, save_classifier

CPU = torch.device("cpu")
CERTAIN = ("rows.parquet", "curve.svg", "summary.json")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("classifier") / "small.safetensors"
    save_classifier(SmallResNet(3, widths=(8, 12)), path, ["bar", "post", "spot"])
    return Settings(str(path), "blur", sigmas=(0.25, 0.12), n0=10, n=40, alpha=0.01, count=12)


def certify(shapes: Path, out: Path, settings: Settings) -> dict[str, Any]:
    return certify_dataset(open_source(shapes), out, settings, CPU, quiet=True)


def contents(out: Path) -> list[bytes]:
    return [(out / name).read_bytes() for name in CERTAIN]


def test_files(shapes: Path, tmp_path: Path, settings: Settings):
    found = certify(shapes, tmp_path / "out", settings)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*CERTAIN, "timings.json"}
    rows = pq.read_table(tmp_path / "out" / "rows.parquet").to_pylist()
    samples = open_source(shapes).samples
    every = [samples[place * len(samples) // 12] for place in range(12)]
    assert [(row["id"], row["label"]) for row in rows] == 2 * [(sample.id, sample.label) for sample in every]
    assert [row["sigma"] for row in rows] == 12 * [0.25] + 12 * [0.12]
    assert all(row["draws"] == 40 and (row["radius"] > 0) == (not row["abstained"]) for row in rows)
    assert found["timings"]["nfe"] == 24 * 50
    assert (found["settings"]["test"], found["settings"]["classifier"]) == ("shapes", "small.safetensors")
    assert 0 < found["timings"]["network_share"] < 1
    assert len(found["best"]) == len(found["radii"]) == 4
    drawing = ET.fromstring((tmp_path / "out" / "curve.svg").read_text())
    assert len(drawing.findall("{http://www.w3.org/2000/svg}path")) == 4
    assert certify(shapes, tmp_path / "out", settings) == found


def test_every_kth_image_remains(shapes: Path, tmp_path: Path, settings: Settings):
    certify(shapes, tmp_path / "out", replace(settings, count=51, sigmas=(0.12,), n0=1, n=1))
    samples = open_source(shapes).samples
    assert len(samples) == 204
    rows = pq.read_table(tmp_path / "out" / "rows.parquet").to_pylist()
    assert [row["id"] for row in rows] == [sample.id for sample in samples[::4]]


class Killed(BaseException):
    """Ends the process, as far as anybody can tell from the files."""


@pytest.mark.parametrize("adaptive", [False, True])
def test_going_on_leaves_the_same_files(
    shapes: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, adaptive: bool
):
    settings = replace(settings, adaptive=adaptive)
    certify(shapes, tmp_path / "whole", settings)
    purify, left, log = Blur.purify, 4, tmp_path / "out" / "rows.jsonl"

    def killed(self: Blur, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return purify(self, x, sigma, noise)

    monkeypatch.setattr(Blur, "purify", killed)
    finished: list[int] = []
    for _ in range(3):
        with pytest.raises(Killed):
            certify(shapes, tmp_path / "out", settings)
        left = 2
        with log.open("a") as file:
            file.write('{"id": "half a line')
        finished.append(log.read_text().count("\n") - 1)
    assert 0 < finished[0] < finished[1] < finished[2] < 24
    monkeypatch.undo()
    certify(shapes, tmp_path / "out", settings)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_unreadable_images_are_counted(shapes: Path, tmp_path: Path, settings: Settings):
    root = Path(shutil.copytree(shapes, tmp_path / "shapes"))
    (root / "bar" / "000.png").write_bytes(b"nothing")
    found = certify(root, tmp_path / "out", settings)
    assert (found["unreadable"], found["settings"]["images"]) == (1, 11)


def test_nothing_of_others_is_written_over(shapes: Path, tmp_path: Path, settings: Settings):
    data = shutil.copytree(shapes, tmp_path / "data")
    for out in (data, data / "bar"):
        with pytest.raises(ElixirError, match=r"lies inside|are the same"):
            certify(data, out, settings)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rows.parquet").write_bytes(b"of another")
    with pytest.raises(ElixirError, match=r"has a rows\.parquet of something else"):
        certify(data, tmp_path / "out", settings)
    assert (tmp_path / "out" / "rows.parquet").read_bytes() == b"of another"
    (tmp_path / "out" / "summary.json").write_text("{}")
    with pytest.raises(ElixirError, match="other settings"):
        certify(data, tmp_path / "out", settings)
    (tmp_path / "slurm.out").touch()
    certify(data, tmp_path, settings)  # beside the images


def test_other_settings_need_another_folder(shapes: Path, tmp_path: Path, settings: Settings):
    certify(shapes, tmp_path / "out", replace(settings, count=2))
    with pytest.raises(ElixirError, match="other settings"):
        certify(shapes, tmp_path / "out", replace(settings, count=3))
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "rows.jsonl").write_text('{"seed": 5}\n')
    with pytest.raises(ElixirError, match="other settings"):
        certify(shapes, tmp_path / "open", settings)


def test_the_log_gives_back_every_bit(tmp_path: Path):
    row = Row("a/\u00e9 b.png", 2, 0.1, Certificate(1, False, 1 / 3, 0.1 + 0.2, 7, 9))
    ResultsLog(tmp_path / "rows.jsonl", {"seed": 1, "sigmas": [0.1]}).add(to_entry(row, Cost(0.1, 0.2, 5)))
    again = ResultsLog(tmp_path / "rows.jsonl", {"seed": 1, "sigmas": [0.1]})
    assert [from_entry(entry) for entry in again.entries] == [(row, Cost(0.1, 0.2, 5))]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--purifier", "blurr"], "did you mean 'blur'"),
        (["--purifier", "none", "--prior", "x.safetensors"], "'none' has no weights"),
        (["--sigma", "0"], "sigma must be greater than 0"),
        (["--sigma", ".1", "--sigma", "0.10"], "twice"),
        (["--alpha", "1"], "alpha is a probability"),
        (["--device", "abacus"], "device 'abacus' is not known"),
    ],
)
def test_mistakes_are_explained(
    shapes: Path, tmp_path: Path, settings: Settings, monkeypatch, capsys, arguments, message
):
    command = ["certify", str(shapes), "--classifier", settings.classifier, "--purifier", "blur", "-o"]
    assert elixir(monkeypatch, *command, str(tmp_path / "out"), *arguments) == 1
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "out").exists()


def test_the_classifier_must_have_the_classes(shapes: Path, tmp_path: Path, settings: Settings):
    root = Path(shutil.copytree(shapes, tmp_path / "shapes"))
    (root / "fourth").mkdir()
    (root / "fourth" / "a.png").write_bytes((root / "bar" / "000.png").read_bytes())
    with pytest.raises(ElixirError, match="tells 3 classes apart, but the dataset has 4"):
        certify(root, tmp_path / "out", settings)


def test_there_must_be_images(tmp_path: Path, settings: Settings):
    for name in ("bar", "post", "spot"):
        (tmp_path / "empty" / name).mkdir(parents=True)
        (tmp_path / "empty" / name / "a.png").write_bytes(b"nothing")
    with pytest.raises(ElixirError, match="no readable, labelled image"):
        certify(tmp_path / "empty", tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_command(shapes: Path, tmp_path: Path, settings: Settings, monkeypatch, capsys):
    command = ["certify", str(shapes), "--classifier", settings.classifier, "--purifier", "blur", "--sigma", ".25"]
    command += ["--n0", "5", "--n", "20", "--count", "4", "--device", "cpu", "-o", str(tmp_path / "out")]
    assert elixir(monkeypatch, *command, "--json") == 0
    assert json.loads(capsys.readouterr().out)["settings"]["sigmas"] == [0.25]
    assert elixir(monkeypatch, *command) == 0
    assert "sigma 0.25" in capsys.readouterr().out
