"""A tiny classifier that has learned something, and images to attack."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elixir.models.classifier import Classifier


class Tiny(Classifier):
    """A convolution, and the mean of what is left of it."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = F.softplus(8 * self.convolution(x - 0.5)).mean((2, 3))
        return self.head(features), features


@dataclass(frozen=True)
class World:
    net: Tiny
    images: Tensor
    labels: Tensor


@pytest.fixture(scope="session")
def world() -> World:
    """Four classes of noise, each with stripes across, along or both; none is easy to tell."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(24) % 4
    rows, columns = (torch.arange(8) % 2 - 0.5).view(-1, 1), (torch.arange(8) % 2 - 0.5).view(1, -1)
    stripes = torch.stack([rows + 0 * columns, 0 * rows + columns, rows * columns * 2, 0 * rows * columns])
    noise = 0.15 * torch.randn(24, 3, 8, 8, generator=generator)
    images = ((0.5 + 0.2 * stripes[labels, None] + noise).clamp(0, 1) * 255).round().to(torch.uint8)
    torch.manual_seed(0)
    net = Tiny()
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(80):
        optimizer.zero_grad()
        F.cross_entropy(net(images / 255)[0], labels).backward()
        optimizer.step()
    net.eval().requires_grad_(False)
    assert (net(images / 255)[0].argmax(1) == labels).float().mean() > 0.9
    return World(net, images, labels)
