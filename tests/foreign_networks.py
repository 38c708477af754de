"""Small networks in the formats of other people: TorchScript, timm and transformers."""

import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ViTConfig, ViTForImageClassification
from transformers.models.vit.image_processing_vit import ViTImageProcessor

CLASSES = 5


class Net(nn.Module):
    """Two convolutions and a head; a plain module that people would export."""

    def __init__(self, channels: int = 3, head: str = "linear", side: int | None = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 6, 3, padding=1)
        self.kind = head
        self.dropout = nn.Dropout(0.5)
        width = 6 if side is None else 6 * side * side
        self.head = nn.Conv2d(6, CLASSES, 1) if head == "convolution" else nn.Linear(width, CLASSES)
        self.flat = side is not None

    def features(self, x: Tensor) -> Tensor:
        maps = F.relu(self.second(F.relu(self.norm(self.first(x)))))
        return maps.flatten(1) if self.flat else maps.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "convolution":
            maps = F.relu(self.second(F.relu(self.norm(self.first(x)))))
            return self.head(maps).mean((2, 3))
        logits = self.head(self.dropout(self.features(x)))
        return logits.softmax(1) if self.kind == "softmax" else logits


class NoHead(nn.Module):
    """Its logits come from a convolution that is not 1x1."""

    def __init__(self) -> None:
        super().__init__()
        self.only = nn.Conv2d(3, CLASSES, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.only(x).mean((2, 3))


def build(**settings: Any) -> Net:
    torch.manual_seed(0)
    net = Net(**settings).eval()
    nn.init.uniform_(net.norm.running_mean)  # pyright: ignore[reportArgumentType]
    return net


def export(net: nn.Module, file: Path, side: int = 32, script: bool = False, freeze: bool = False) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        channels = next(net.parameters()).shape[1]
        exported: Any = torch.jit.script(net) if script else torch.jit.trace(net, torch.rand(2, channels, side, side))
        torch.jit.save(torch.jit.freeze(exported) if freeze else exported, file)
    return file


def save_vit(folder: Path, labels: list[str], dropout: float = 0.0) -> ViTForImageClassification:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=24,
        patch_size=8,
        hidden_dropout_prob=dropout,
    )
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: index for index, label in enumerate(labels)}
    net = ViTForImageClassification(config).eval()
    nn.init.normal_(net.classifier.weight)  # pyright: ignore[reportArgumentType]
    net.save_pretrained(folder)
    ViTImageProcessor(
        size={"height": 24, "width": 24}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4]
    ).save_pretrained(folder)
    return net


def save_timm(file: Path, name: str = "test_resnet", **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    net = timm.create_model(name, **settings).eval()
    safetensors.torch.save_file(net.state_dict(), file)
    return net
