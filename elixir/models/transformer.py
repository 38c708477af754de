"""A plain vision transformer: blocks, and positions for grids of any size."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)) (Dosovitskiy et al. 2021, eqs. 2 and 3).

    Args:
        width: of a token, a multiple of `heads`.
        heads: of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.second_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (n, t, width) to the same shape."""
        number, tokens, width = x.shape
        qkv = self.qkv(self.first_norm(x)).view(number, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attention = F.scaled_dot_product_attention(q, k, v)
        x = x + self.attended(attention.transpose(1, 2).reshape(number, tokens, width))
        return x + self.mlp(self.second_norm(x))


def positions(rows: int, columns: int, width: int, device: torch.device) -> Tensor:
    """Sines and cosines of row and column at wavelengths from 2 pi to 2000 pi cells (Vaswani et al. 2017, section 3.5).

    Returns:
        (rows, columns, width), float32; `width` is a multiple of 4.
    """
    frequency = torch.exp(-math.log(1000) / (width // 4) * torch.arange(width // 4, device=device))
    row = torch.arange(rows, device=device)[:, None, None] * frequency
    column = torch.arange(columns, device=device)[None, :, None] * frequency
    waves = [row.sin(), row.cos(), column.sin(), column.cos()]
    return torch.cat([wave.expand(rows, columns, -1) for wave in waves], -1)
