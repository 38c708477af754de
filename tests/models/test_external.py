"""The user's own classifier: every format in the real thing, features found, bad files refused."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from foreign_networks import CLASSES, NoHead, build, export, save_vit
from safetensors.torch import save_file
from torch import Tensor
from transformers import ResNetConfig, ResNetForImageClassification
from transformers.models.deit.image_processing_deit import DeiTImageProcessor
from transformers.models.vit.image_processing_vit import ViTImageProcessor

from elixir.errors import ElixirError
from elixir.models.backbone import load_backbone
from elixir.models.classifier import SmallResNet, save_classifier
from elixir.models.external import load_classifier

CPU = torch.device("cpu")


def images(side: int = 32) -> Tensor:
    return torch.rand(4, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("script", [False, True])
def test_torchscript_logits_and_features(tmp_path: Path, script: bool) -> None:
    net = build()
    loaded = load_classifier(str(export(net, tmp_path / "net.pt", script=script)), CLASSES, CPU)
    with torch.no_grad():
        for side in (32, 47):
            for _ in range(3):  # the second and third run of a script may be other code
                logits, features = loaded(images(side))
                assert torch.allclose(logits, net(images(side)), atol=1e-5)
                assert torch.allclose(features, net.features(images(side)), atol=1e-5)


def test_torchscript_convolutional_head_is_pooled(tmp_path: Path) -> None:
    net = build(head="convolution")
    loaded = load_classifier(str(export(net, tmp_path / "net.pt")), CLASSES, CPU)
    with torch.no_grad():
        assert torch.allclose(loaded(images())[1], net.features(images()), atol=1e-5)


def test_torchscript_of_fixed_size_gets_its_size(tmp_path: Path) -> None:
    net = build(side=64)
    loaded = load_classifier(str(export(net, tmp_path / "net.pt", side=64)), CLASSES, CPU)
    with torch.no_grad():
        assert torch.allclose(loaded(images(64))[0], net(images(64)), atol=1e-5)
        assert loaded(images(20))[0].shape == (4, CLASSES)


def test_torchscript_of_grey_images(tmp_path: Path) -> None:
    net = build(channels=1)
    loaded = load_classifier(str(export(net, tmp_path / "net.pt")), CLASSES, CPU)
    grey = images()[:, :1]
    with torch.no_grad():
        assert torch.allclose(loaded(grey.expand(-1, 3, -1, -1))[0], net(grey), atol=1e-5)


def test_torchscript_that_ends_with_softmax_gives_log_probabilities(tmp_path: Path) -> None:
    net = build(head="softmax")
    loaded = load_classifier(str(export(net, tmp_path / "net.pt")), CLASSES, CPU)
    with torch.no_grad():
        assert torch.allclose(loaded(images())[0], net(images()).log(), atol=1e-5)


def test_without_a_final_layer_logits_are_the_features_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        loaded = load_classifier(str(export(NoHead(), tmp_path / "net.pt")), CLASSES, CPU)
    assert "logits are used as features" in caplog.text
    logits, features = loaded(images())
    assert torch.equal(logits, features)


@pytest.mark.parametrize("channels", [1, 3])
def test_timm_with_weights_from_a_file(tmp_path: Path, channels: int) -> None:
    torch.manual_seed(0)
    net: Any = timm.create_model("test_resnet", num_classes=CLASSES, in_chans=channels).eval()
    file = tmp_path / "net.safetensors"
    safetensors.torch.save_file(net.state_dict(), file)
    loaded = load_classifier(f"timm:test_resnet@{file}", CLASSES, CPU)
    grey = images()[:, :1].expand(-1, 3, -1, -1)
    mean, std = (torch.tensor(net.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    x = (grey - mean) / std if channels == 3 else (grey[:, :1] - mean.mean()) / std.mean()
    with torch.no_grad():
        logits, features = loaded(grey)
        assert torch.allclose(logits, net(x), atol=1e-4)
        assert torch.allclose(features, net.forward_head(net.forward_features(x), pre_logits=True), atol=1e-4)


def test_timm_transformer_is_given_its_fixed_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net: Any = timm.create_model("test_vit", num_classes=CLASSES).eval()
    file = tmp_path / "net.safetensors"
    safetensors.torch.save_file(net.state_dict(), file)
    logits, features = load_classifier(f"timm:test_vit@{file}", CLASSES, CPU)(images(32))
    assert logits.shape == (4, CLASSES)
    assert features.shape == (4, net.num_features)


def test_transformers_folder(tmp_path: Path) -> None:
    net = save_vit(tmp_path, list("abcde"))
    loaded = load_classifier(str(tmp_path), CLASSES, CPU)
    x = images(24)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.4, 0.5, 0.6], [0.2, 0.3, 0.4]))
    with torch.no_grad():
        logits, features = loaded(x)
        expected: Any = net((x - mean) / std, output_hidden_states=True)
        last = net.vit.layernorm(expected.hidden_states[-1])[:, 0]
        assert torch.allclose(logits, expected.logits, atol=1e-5)
        assert torch.allclose(features, last, atol=1e-5)
        assert loaded(images(50))[0].shape == (4, CLASSES)


def test_a_transformers_body_without_a_head_is_no_finished_classifier(tmp_path: Path) -> None:
    weights = save_vit(tmp_path, list("abcde")).vit.state_dict(prefix="vit.")
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, tmp_path / "model.safetensors")
    with pytest.raises(ElixirError, match=r"no weights for classifier\.bias.*give it as --backbone"):
        load_classifier(str(tmp_path), CLASSES, CPU)
    assert load_backbone(str(tmp_path)) is not None


def test_code_in_a_transformers_folder_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_vit(tmp_path, list("abcde"))
    config = json.loads((tmp_path / "config.json").read_text())
    own = {"AutoConfig": "evil.EvilConfig", "AutoModelForImageClassification": "evil.Evil"}
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "evilvit", "auto_map": own}))
    (tmp_path / "evil.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nclass EvilConfig: pass\nclass Evil: pass\n"
    )
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 10))
    with pytest.raises(ElixirError, match="brings code of its own, which is not run: export it"):
        load_classifier(str(tmp_path), CLASSES, CPU)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("config.json", {"hidden_size": "x"}),
        ("config.json", {"patch_size": 0}),
        ("config.json", {"model_type": ["x"]}),
        ("preprocessor_config.json", {"image_mean": None}),
        ("preprocessor_config.json", {"image_mean": [0.5, 0.5]}),
    ],
)
def test_damaged_transformers_folders_are_named(tmp_path: Path, file: str, change: dict[str, Any]) -> None:
    save_vit(tmp_path, list("abcde"))
    content = json.loads((tmp_path / file).read_text())
    (tmp_path / file).write_text(json.dumps(content | change))
    with pytest.raises(ElixirError, match="is no transformers image classifier"):
        load_classifier(str(tmp_path), CLASSES, CPU)


def test_cut_off_weights_of_a_transformers_folder_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_vit(tmp_path, list("abcde"))
    capfd.readouterr()
    load_classifier(str(tmp_path), CLASSES, CPU)
    assert capfd.readouterr() == ("", "")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-200])
    with pytest.raises(ElixirError, match="is no transformers image classifier"):
        load_classifier(str(tmp_path), CLASSES, CPU)


def test_transformers_labels_are_put_into_the_datasets_order(tmp_path: Path) -> None:
    save_vit(tmp_path, list("ecabd"))
    plain = load_classifier(str(tmp_path), CLASSES, CPU)
    sorted_ = load_classifier(str(tmp_path), CLASSES, CPU, names=list("abcde"))
    with torch.no_grad():
        assert torch.equal(sorted_(images())[0], plain(images())[0][:, [2, 3, 1, 4, 0]])


def test_transformers_convolutional_features_are_pooled(tmp_path: Path) -> None:
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")
    config.num_labels = CLASSES
    ResNetForImageClassification(config).save_pretrained(tmp_path)
    ViTImageProcessor(do_resize=False).save_pretrained(tmp_path)
    assert load_classifier(str(tmp_path), CLASSES, CPU)(images())[1].shape == (4, 12)


def test_a_classifier_of_elixirs_own(tmp_path: Path) -> None:
    file = tmp_path / "reference.safetensors"
    net = SmallResNet(CLASSES, widths=(8, 8)).eval()
    save_classifier(net, file, list("abcde"))
    with torch.no_grad():
        assert torch.allclose(load_classifier(str(file), CLASSES, CPU)(images())[0], net(images())[0], atol=1e-4)
    with pytest.raises(ElixirError, match="5 classes apart, but the dataset has 7"):
        load_classifier(str(file), 7, CPU)


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    save_vit(tmp_path / "vit", list("abcde"))
    weights = tmp_path / "net.safetensors"
    safetensors.torch.save_file(timm.create_model("test_resnet", num_classes=CLASSES).state_dict(), weights)
    script = export(build(), tmp_path / "net.pt")
    for spec in (str(tmp_path / "vit"), f"timm:test_resnet@{weights}", str(script)):
        with pytest.raises(ElixirError, match="5 classes apart, but the dataset has 7"):
            load_classifier(spec, 7, CPU)
    with pytest.raises(ElixirError, match="1000 classes apart"):
        load_classifier("test_resnet", 7, CPU)


def test_bad_files_and_names_are_refused(tmp_path: Path) -> None:
    state = tmp_path / "state.pth"
    torch.save(build().state_dict(), state)
    whole = tmp_path / "model.pkl"
    torch.save(build(), whole)
    text = tmp_path / "text.pt"
    text.write_text("hello")
    script = export(build(), tmp_path / "net.pt")
    truncated = tmp_path / "truncated.pt"
    truncated.write_bytes(script.read_bytes()[:500])
    foreign = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file({"a": torch.ones(1)}, foreign)
    save_vit(tmp_path / "vit", list("abcde"))
    (tmp_path / "vit" / "model.safetensors").rename(tmp_path / "vit" / "pytorch_model.bin")
    save_vit(tmp_path / "unprocessed", list("abcde"))
    (tmp_path / "unprocessed" / "preprocessor_config.json").unlink()
    expected = {
        str(state): "safetensors",
        str(whole): "TorchScript",
        str(text): "not a TorchScript file",
        str(truncated): "not a TorchScript file",
        str(foreign): "no classifier of elixir's",
        str(tmp_path / "missing.safetensors"): "no weight file",
        f"timm:test_resnet@{foreign}": "does not fit the timm model",
        f"timm:test_resnet@{state}": "pickle",
        "no_such_model": "no timm model",
        str(tmp_path / "vit"): "no safetensors file",
        str(tmp_path / "unprocessed"): "image processor",
    }
    for spec, message in expected.items():
        with pytest.raises(ElixirError, match=message):
            load_classifier(spec, CLASSES, CPU)


@pytest.mark.parametrize(("package", "spec"), [("timm", "timm:resnet18"), ("transformers", "someone/net")])
def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, package: str, spec: str) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(
        ElixirError, match=rf"{package}, which is not installed: pip install 'dataset-elixir\[models\]'"
    ):
        load_classifier(spec, CLASSES, CPU)


def test_transformers_that_cut_out_the_centre_get_the_size_of_the_cut(tmp_path: Path) -> None:
    net = save_vit(tmp_path, list("abcde"))
    DeiTImageProcessor(
        size={"height": 28, "width": 28},
        crop_size={"height": 24, "width": 24},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    ).save_pretrained(tmp_path)
    x = images(24)
    with torch.no_grad():
        assert torch.allclose(
            load_classifier(str(tmp_path), CLASSES, CPU)(x)[0], net((x - 0.5) / 0.5).logits, atol=1e-5
        )


def test_torchscript_of_a_fixed_size(tmp_path: Path) -> None:
    net = build(side=48)
    loaded = load_classifier(str(export(net, tmp_path / "net.pt", side=48)), CLASSES, CPU)
    with torch.no_grad():
        assert torch.allclose(loaded(images(48))[0], net(images(48)), atol=1e-5)
        assert loaded(images(20))[0].shape == (4, CLASSES)


def test_a_missing_file_is_not_taken_for_a_name(tmp_path: Path) -> None:
    for spec in (str(tmp_path / "model"), "models/net.pt"):
        with pytest.raises(ElixirError, match="there is no model"):
            load_classifier(spec, CLASSES, CPU)
