"""What networks of other people want done to images before they see them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GREY = (0.299, 0.587, 0.114)  # weights of the channels in ITU-R 601, as in PIL's conversion to "L"


@dataclass(frozen=True)
class Preprocessing:
    """How images in [0,1] are prepared for a network; `mean` and `std` are of each channel, or one for all.

    `size` is the height and width that they are resized to; where it is None any will do that is not below `smallest`.
    """

    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)
    size: Sequence[int] | None = None
    smallest: int = 1


class Prepare(nn.Module):
    """Prepares images, float32 (n, 3, h, w) in [0,1]; the result has `channels` channels.

    Args:
        channels: 3, or 1 for a network that reads grey images, whose mean and std are averaged over channels.
    """

    mean: Tensor
    std: Tensor
    grey: Tensor

    def __init__(self, preprocessing: Preprocessing, channels: int) -> None:
        super().__init__()
        self._preprocessing = preprocessing
        self._channels = channels
        for name in ("mean", "std"):
            values = torch.tensor(getattr(preprocessing, name), dtype=torch.float32)
            values = values.mean().view(1, 1, 1, 1) if channels == 1 else values.view(1, -1, 1, 1)
            self.register_buffer(name, values, persistent=False)
        self.register_buffer("grey", torch.tensor(GREY).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self._channels == 1:
            x = (x * self.grey).sum(1, keepdim=True)
        height, width = x.shape[-2:]
        least = self._preprocessing.smallest
        size = tuple(self._preprocessing.size or (max(height, least), max(width, least)))
        if size != (height, width):
            x = F.interpolate(x, size, mode="bilinear", antialias=True)
        return (x - self.mean) / self.std
