"""Whole runs whose classifiers start from networks of other people."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from foreign_networks import build, export, save_timm, save_vit
from small_world import FAST, place

from elixir.api import sanitize
from elixir.models.external import load_classifier
from elixir.models.weights import sha256_of
from elixir.result import read_result

pytestmark = pytest.mark.slow

SETTINGS = {key: value for key, value in FAST.items() if key != "training.widths"} | {"training.learning_rate": 5e-3}


def save(format: str, folder: Path) -> str:
    if format == "timm":
        save_timm(folder / "net.safetensors")
        return f"timm:test_resnet@{folder / 'net.safetensors'}"
    if format == "transformers":
        save_vit(folder / "vit", list("abcde"))
        return str(folder / "vit")
    return str(export(build(), folder / "net.pt", script=True))


@pytest.mark.parametrize("format", ["timm", "transformers", "torchscript"])
def test_a_run_finishes_and_its_model_is_read_without_the_backbone(shapes: Path, tmp_path: Path, format: str) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    backbone = save(format, theirs)
    digest = sha256_of(backbone)
    result = sanitize(shapes, tmp_path / "out", settings=SETTINGS | {"training.backbone": backbone})
    assert digest is not None
    assert json.loads((tmp_path / "out/.elixir/run.json").read_text())["backbone_sha256"] == digest
    assert all(cost.gflop > 0 for stage, cost in result.costs.items() if stage in ("reference", "crossfit"))
    shutil.rmtree(theirs)
    shutil.move(place(result), tmp_path / "moved")
    x = torch.rand(2, 3, 16, 16)
    models = tmp_path / "moved/.elixir/models"
    with torch.no_grad():
        logits, _ = read_result(tmp_path / "moved").model(x)
        assert logits.shape == (2, 3)
        names = ["spot", "bar", "post"]
        again = load_classifier(str(models / "clean.safetensors"), 3, torch.device("cpu"), names)(x)[0]
    torch.testing.assert_close(again, logits[:, [2, 0, 1]])
    kept = {path.name for path in models.iterdir()}
    script = {f"{digest}.pt"} if format == "torchscript" else set()
    trained = {f"{name}.safetensors" for name in ("reference", "clean", "crossfit-0", "crossfit-1")}
    assert kept == trained | script | {"triggers.safetensors", "calibration.parquet"}
