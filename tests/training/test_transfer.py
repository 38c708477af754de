"""Training from networks of other people: they learn, the seed decides, and an interruption changes nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign_networks import build, export, save_timm, save_vit

from elixir.errors import ElixirError
from elixir.models.classifier import TrainableClassifier, classify
from elixir.training.classifier import ClassifierTraining, train_classifier

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
LABELS = np.arange(96) % 3
FORMATS = ("timm", "transformers", "traced", "scripted", "frozen")


def pictures() -> torch.Tensor:
    rng = np.random.default_rng(0)
    images = rng.integers(60, 120, (96, 3, 24, 24))
    images[np.arange(96), LABELS] += 90
    return torch.from_numpy(images.astype(np.uint8))


def save(format: str, folder: Path) -> str:
    if format == "timm":
        save_timm(folder / "net.safetensors")
        return f"timm:test_resnet@{folder / 'net.safetensors'}"
    if format == "transformers":
        save_vit(folder / "vit", list("abcde"), dropout=0.2)
        return str(folder / "vit")
    return str(export(build(), folder / "net.pt", script=format == "scripted", freeze=format == "frozen"))


def train(
    folder: Path, backbone: str, on_epoch: Callable[[int, float], None] = lambda epoch, right: None, **settings
) -> TrainableClassifier:
    images = pictures()
    chosen = {"epochs": 3, "least_steps": 0, "fitted": 2.0, "batch": 16, **settings}
    training = ClassifierTraining(backbone=backbone, **chosen)
    return train_classifier(
        lambda rows: images[rows], np.arange(96), LABELS, 3, training, folder / "checkpoint", on_epoch
    )


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("format", FORMATS)
def test_interrupted_it_ends_with_the_same_weights(tmp_path: Path, format: str) -> None:
    backbone = save(format, tmp_path)
    through = train(tmp_path, backbone)
    assert same(train(tmp_path, backbone), through)
    assert not same(train(tmp_path, backbone, seed=1), through)

    def stop(epoch: int, right: float) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, backbone, stop)
    seen: list[int] = []
    torch.manual_seed(99)
    assert same(train(tmp_path, backbone, lambda epoch, right: seen.append(epoch)), through)
    assert seen == [3]


@pytest.mark.parametrize("format", ["timm", "transformers", "traced", "scripted"])
def test_it_learns(tmp_path: Path, format: str) -> None:
    net = train(tmp_path, save(format, tmp_path), epochs=20, learning_rate=1e-2)
    assert (classify(net, pictures(), CPU)[0].argmax(1).numpy() == LABELS).mean() > 0.9


def test_a_backbone_that_cannot_be_used_is_named_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.pt").write_text("no network")
    (tmp_path / "folder").mkdir()
    refused = {
        "timm:no_such_net": "'no_such_net' is no file or folder, no timm model",
        str(tmp_path / "text.pt"): "is not a TorchScript file",
        str(tmp_path / "folder"): "has no safetensors file",
        str(tmp_path / "missing.pt"): "there is no model",
        str(tmp_path / "missing.safetensors"): "there is no weight file",
        f"timm:test_resnet@{tmp_path / 'missing.safetensors'}": "there is no weight file",
    }
    for backbone, message in refused.items():
        with pytest.raises(ElixirError, match=message):
            ClassifierTraining(backbone=backbone).check()
    spec = save("timm", tmp_path)
    ClassifierTraining(backbone=spec).check()
    with pytest.raises(ElixirError, match=r"training\.widths are those of a network with random weights"):
        ClassifierTraining(backbone=spec, widths=(8,)).check()
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ElixirError, match=r"timm, which is not installed: pip install 'dataset-elixir\[models\]'"):
        ClassifierTraining(backbone=spec).check()
