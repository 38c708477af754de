"""Networks of other people under a new head: what their features are, how they are kept, and what is missing then."""

from __future__ import annotations

import json
import logging
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from foreign_networks import CLASSES, Net, NoHead, build, export, save_timm, save_vit
from torch import Tensor, nn

from elixir.engine.cost import gflop_per_image
from elixir.errors import ElixirError
from elixir.models.backbone import load_backbone
from elixir.models.classifier import TrainableClassifier, label_gradient, save_classifier
from elixir.models.external import load_classifier
from elixir.models.trained import load_trained
from elixir.models.weights import read_weights

CPU = torch.device("cpu")
X = torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(1))


class Features(nn.Module):
    """The features of `Net`, with a layer on the way that has as many outputs as there are features."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net
        self.mixed = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        features = self.net.features(x)
        return features + self.mixed(features)


LIBRARIES = ("timm", "timm without head", "transformers")
FORMATS = (*LIBRARIES, "traced", "scripted", "frozen", "of features", "grey")


def save(format: str, folder: Path) -> tuple[str, Any]:
    """A network in a format: what `load_backbone` is told, and the network from images in [0,1] to features."""
    file = folder / "net.pt"
    if format.startswith("timm"):
        weights = folder / "net.safetensors"
        net: Any = save_timm(weights, num_classes=CLASSES if format == "timm" else 0)
        mean, std = (torch.tensor(net.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
        read = net.forward_features
        return f"timm:test_resnet@{weights}", lambda x: net.forward_head(read((x - mean) / std), pre_logits=True)
    if format == "transformers":
        vit = save_vit(folder / "vit", list("abcde"))
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.4, 0.5, 0.6], [0.2, 0.3, 0.4]))
        return str(folder / "vit"), lambda x: vit.vit((x - mean) / std).last_hidden_state[:, 0]
    if format == "grey":
        net = build(channels=1)
        weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        return str(export(net, file)), lambda x: net.features((x * weights).sum(1, keepdim=True))
    net = build()
    if format == "of features":
        whole = Features(net).eval()
        return str(export(whole, file)), whole
    return str(export(net, file, script=format == "scripted", freeze=format == "frozen")), net.features


def same(one: nn.Module, other: nn.Module) -> bool:
    states = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in states)


def loaded(spec: str) -> TrainableClassifier:
    net = load_backbone(spec)
    assert net is not None
    return net.eval()


@pytest.mark.parametrize("format", FORMATS)
def test_features_are_those_of_the_network_and_logits_a_new_layer_on_them(tmp_path: Path, format: str) -> None:
    spec, features_of = save(format, tmp_path)
    net = loaded(spec).with_classes(3).eval()
    with torch.no_grad():
        for _ in range(3):  # the second and third run of a script may be other code
            logits, features = net(X)
            assert logits.shape == (4, 3)
            torch.testing.assert_close(features, features_of(X), atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(logits, net.head(features))


@pytest.mark.parametrize("format", FORMATS)
def test_a_copy_for_other_classes_is_independent(tmp_path: Path, format: str) -> None:
    start = loaded(save(format, tmp_path)[0])
    before = deepcopy(start.state_dict())
    torch.manual_seed(3)
    copy = start.with_classes(7).train()
    assert all(torch.equal(copy.state_dict()[name], t) for name, t in before.items() if not name.startswith("head."))
    copy(X)[0].square().sum().backward()
    optimizer = torch.optim.SGD(copy.parameters(), 0.1)
    optimizer.step()
    moved = [name for name, t in copy.state_dict().items() if name.startswith("body.") and not t.equal(before[name])]
    assert bool(moved) == (format != "frozen")
    assert all(torch.equal(t, before[name]) for name, t in start.state_dict().items())
    assert not start.training
    assert all(parameter.grad is None for parameter in start.parameters())


@pytest.mark.parametrize("format", FORMATS)
def test_it_is_read_back_from_its_file_alone(tmp_path: Path, format: str) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "ours").mkdir()
    torch.manual_seed(3)
    net = loaded(save(format, tmp_path / "theirs")[0]).with_classes(3).to(memory_format=torch.channels_last)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.1)
    save_classifier(net, tmp_path / "ours" / "net.safetensors", ["x", "y", "z"])
    shutil.rmtree(tmp_path / "theirs")
    shutil.move(tmp_path / "ours", tmp_path / "moved")
    file = tmp_path / "moved" / "net.safetensors"
    found = load_trained(file)
    assert same(found, net)
    with torch.no_grad():
        assert torch.equal(found(X)[0], net.eval()(X)[0])
        turned = load_trained(file, ["z", "x", "y"])(X)[0]
        torch.testing.assert_close(turned, net(X)[0][:, [2, 0, 1]])
        assert torch.equal(load_classifier(str(file), 3, CPU, ["z", "x", "y"])(X)[0], turned)
    assert same(loaded(str(file)), net)
    kept = {path.suffix for path in file.parent.iterdir()}
    assert kept == ({".safetensors"} if format in LIBRARIES else {".safetensors", ".pt"})
    save_classifier(found, tmp_path / "again.safetensors", ["x", "y", "z"])
    assert (tmp_path / "again.safetensors").read_bytes() == file.read_bytes()
    assert same(load_trained(tmp_path / "again.safetensors"), net)


@pytest.mark.parametrize("format", FORMATS)
def test_it_has_a_cost_and_a_gradient(tmp_path: Path, format: str) -> None:
    net = loaded(save(format, tmp_path)[0]).fused().requires_grad_(False)
    assert gflop_per_image(net, (3, 24, 24)) > 1e-5
    gradient = label_gradient(net, X, torch.zeros(4, dtype=torch.int64), CPU)
    assert (gradient.flatten(1).abs().sum(1) > 0).all()


def test_the_pretrained_weights_of_timm_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    create, asked = timm.create_model, []

    def offline(name: str, pretrained: bool = False, **settings: Any) -> nn.Module:
        asked.append(pretrained)
        return create(name, **settings)

    monkeypatch.setattr(timm, "create_model", offline)
    net = loaded("timm:test_resnet")
    assert asked[-1]
    assert net.record()["backbone"]["architecture"]["model_name"] == "test_resnet"


def test_nothing_is_asked_of_the_hub_to_read_it_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_classifier(loaded(save("timm", tmp_path)[0]), tmp_path / "ours.safetensors", ["x"])
    create = timm.create_model

    def checked(*arguments: Any, pretrained: bool = False, **settings: Any) -> nn.Module:
        assert not pretrained
        return create(*arguments, **settings)

    monkeypatch.setattr(timm, "create_model", checked)
    load_trained(tmp_path / "ours.safetensors")


def test_a_script_without_a_final_layer_is_taken_as_a_whole(tmp_path: Path) -> None:
    net = NoHead().eval()
    found = loaded(str(export(net, tmp_path / "net.pt")))
    with torch.no_grad():
        torch.testing.assert_close(found(X)[1], net(X))


class Maps(nn.Module):
    """A network without head or pooling: (n, d, h, w), or (n, h w, d) as of a transformer."""

    def __init__(self, tokens: bool) -> None:
        super().__init__()
        self.net = nn.Conv2d(3, 8, 3, padding=1)
        self.tokens = tokens

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).flatten(2).mT if self.tokens else self.net(x)


@pytest.mark.parametrize("tokens", [False, True])
def test_features_of_places_are_averaged(tmp_path: Path, tokens: bool) -> None:
    net = Maps(tokens).eval()
    found = loaded(str(export(net, tmp_path / "net.pt")))
    with torch.no_grad():
        for x in (X, X[..., :20, :17]):
            torch.testing.assert_close(found(x)[1], net.net(x).mean((2, 3)))


def test_a_script_that_gives_no_logits_is_refused(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 1, 3), nn.Flatten(0)).eval()
    with pytest.raises(ElixirError, match=r"net\.pt' does not map images to logits"):
        load_backbone(str(export(net, tmp_path / "net.pt")))


def test_a_script_in_training_mode_learns_the_statistics_of_its_batch_normalisation(tmp_path: Path) -> None:
    means = []
    for script in (True, False):  # a traced one stays as it was when it was traced
        net = loaded(str(export(build(), tmp_path / "net.pt", script=script))).train()
        before = net.state_dict()["body.script.norm.running_mean"].clone()
        net(X)
        means.append(not torch.equal(net.state_dict()["body.script.norm.running_mean"], before))
    assert means == [True, False]


def test_of_a_frozen_script_the_head_alone_is_trained_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = str(export(build(), tmp_path / "net.pt", freeze=True))
    with caplog.at_level(logging.WARNING):
        assert [name for name, _ in loaded(spec).named_parameters()] == ["head.weight", "head.bias"]
        loaded(spec)
    assert caplog.text.count("only the new head on its features is trained") == 1


@pytest.mark.parametrize(("package", "format"), [("timm", "timm"), ("transformers", "transformers")])
def test_a_package_that_is_missing_later_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, format: str
) -> None:
    save_classifier(loaded(save(format, tmp_path)[0]), tmp_path / "ours.safetensors", ["x"])
    monkeypatch.setitem(__import__("sys").modules, package, None)
    message = rf"needs {package}, which is not installed: pip install 'dataset-elixir\[models\]'"
    with pytest.raises(ElixirError, match=message):
        load_trained(tmp_path / "ours.safetensors")


def test_a_script_that_is_gone_or_another_is_named(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    file = tmp_path / "ours" / "net.safetensors"
    save_classifier(loaded(save("traced", tmp_path)[0]), file, ["x"])
    (script,) = file.parent.glob("*.pt")
    assert script.read_bytes() == (tmp_path / "net.pt").read_bytes()
    export(build(head="softmax"), script)
    with pytest.raises(ElixirError, match=rf"{script.name}' has been changed"):
        load_trained(file)
    script.unlink()
    with pytest.raises(ElixirError, match=rf"{script.name}' is missing, the TorchScript file that a classifier beside"):
        load_trained(file)


def test_a_record_that_does_not_fit_the_weights_is_explained(tmp_path: Path) -> None:
    net = loaded(save("transformers", tmp_path)[0])
    save_classifier(net, tmp_path / "ours.safetensors", ["x"])
    tensors, metadata = read_weights(tmp_path / "ours.safetensors")
    record = json.loads(metadata["elixir.classifier"])
    for change in ({"hidden_size": 32}, {"model_type": "no such"}):
        record["backbone"]["architecture"] |= change
        changed = {"elixir.classifier": json.dumps(record)}
        safetensors.torch.save_file(tensors, tmp_path / "changed.safetensors", changed)
        with pytest.raises(ElixirError, match="does not fit this version's classifier"):
            load_trained(tmp_path / "changed.safetensors")
