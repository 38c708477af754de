"""Where the classifiers of a run start: the shipped features, random weights, or a file of one's own."""

from pathlib import Path

import pytest
import torch

from elixir.errors import ElixirError
from elixir.models.backbone import FEATURES, load_backbone
from elixir.models.classifier import SmallResNet, save_classifier
from elixir.models.trained import load_trained
from elixir.models.weights import write_weights


def test_none_is_random_weights():
    assert load_backbone("none") is None


def test_the_shipped_features_have_been_learned():
    net, shipped = load_backbone("features"), load_trained(FEATURES)
    assert net is not None
    for one, other in zip(net.state_dict().values(), shipped.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert net.head.out_features > 100
    assert not net.training


def test_a_file_of_ones_own(tmp_path: Path):
    torch.manual_seed(0)
    net = SmallResNet(3, widths=(8, 16, 24))
    save_classifier(net, tmp_path / "own.safetensors", list("abc"))
    found = load_backbone(str(tmp_path / "own.safetensors"))
    assert found is not None
    assert found.head.out_features == 3
    for name, value in net.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)


def test_a_wrong_file_is_named(tmp_path: Path):
    with pytest.raises(ElixirError, match="'featurs' is no file or folder, no timm model and no hub name"):
        load_backbone("featurs")
    with pytest.raises(ElixirError, match=r"there is no weight file 'none\.safetensors'"):
        load_backbone("none.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(ElixirError, match=r"text\.safetensors"):
        load_backbone(str(tmp_path / "text.safetensors"))
    write_weights(tmp_path / "other.safetensors", {"body": torch.zeros(1)})
    with pytest.raises(ElixirError, match=r"other\.safetensors"):
        load_backbone(str(tmp_path / "other.safetensors"))
    torch.save({"body": torch.zeros(1)}, tmp_path / "pickled.pt")
    with pytest.raises(ElixirError, match=r"pickled\.pt"):
        load_backbone(str(tmp_path / "pickled.pt"))
