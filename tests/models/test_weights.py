"""Weight files: what a model is known by."""

import hashlib
from pathlib import Path

import pytest
import torch
from torch import nn

from elixir.errors import ElixirError
from elixir.models import weights
from elixir.models.weights import check_output, read_weights, save_network, sha256_of


def test_a_model_is_known_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, content in (("b.safetensors", b"second"), ("a.safetensors", b"first"), ("notes.txt", b"else")):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "older").mkdir()
    monkeypatch.setattr(weights, "SHIPPED", tmp_path)
    assert sha256_of(None) == hashlib.sha256(b"firstsecond").hexdigest()
    assert sha256_of(str(tmp_path / "a.safetensors")) == hashlib.sha256(b"first").hexdigest()
    assert sha256_of(f"timm:resnet18@{tmp_path / 'a.safetensors'}") == hashlib.sha256(b"first").hexdigest()
    assert sha256_of(str(tmp_path)) == hashlib.sha256(b"firstsecond").hexdigest()
    (tmp_path / "config.json").write_bytes(b"third")
    assert sha256_of(str(tmp_path)) == hashlib.sha256(b"firstsecondthird").hexdigest()
    assert sha256_of("timm:resnet18") is None
    assert sha256_of("google/ddpm-cifar10-32") is None


def test_numbers_that_overflow_in_a_short_format_are_kept_as_they_are(tmp_path: Path) -> None:
    net = nn.BatchNorm1d(2)
    net.running_var = torch.tensor([1e6, 1.0])
    save_network(net, tmp_path / "net.safetensors", "elixir.test", {}, torch.float16)
    tensors, _ = read_weights(tmp_path / "net.safetensors")
    assert torch.equal(tensors["running_var"], net.running_var)
    assert tensors["running_mean"].dtype == torch.float16
    assert tensors["num_batches_tracked"].dtype == torch.int64


@pytest.mark.parametrize("name", ["weights.pt", "missing/weights.safetensors", "folder.safetensors"])
def test_an_output_that_cannot_be_written_costs_no_training(tmp_path: Path, name: str):
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(ElixirError, match=r"must end with|cannot be written"):
        check_output(tmp_path / name)
    check_output(tmp_path / "weights.safetensors")
