"""Network of the embedded prior and of the consistency model: a one-step denoiser for images of any size."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elixir.models.schedules import DATA_MEAN, DATA_STD
from elixir.models.weights import load_network

PRIOR = "elixir.prior"
CONSISTENCY = "elixir.consistency"
EPSILON = 0.001
"""Noise level, in [0,1] pixel units, at which consistency models give their input back."""


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), without normalisation (as in DRUNet, Zhang et al. 2021, fig. 1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x)))


class DenoiserNet(nn.Module):
    """U-Net that maps a noisy image and its noise level to the posterior mean of the clean image.

    Preconditioned as in EDM (Karras et al. 2022, table 1) with data of mean 0.5 and deviation 0.25; the noise level
    enters as a fourth, constant channel, so the network has no fixed image size and a batch may mix noise levels.

    Args:
        widths: channels at each scale; every scale halves height and width.
        blocks: residual blocks at each scale, on the way down and again on the way up (once at the coarsest).
        epsilon: noise level, in [0,1] pixel units, at which the network gives its input back; greater than 0 for a
            consistency model (Song et al. 2023, appendix C), which maps to the other end of the probability flow.
    """

    def __init__(
        self, widths: tuple[int, ...] = (64, 128, 192), blocks: tuple[int, ...] = (1, 2, 3), epsilon: float = 0
    ) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.head = nn.Conv2d(4, widths[0], 3, padding=1)
        self.tail = nn.Conv2d(widths[0], 3, 3, padding=1)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        for fine, coarse, count in zip(widths, widths[1:], blocks, strict=False):
            self.down.append(nn.Sequential(*self._blocks(fine, count), nn.Conv2d(fine, coarse, 2, stride=2)))
            self.up.insert(0, nn.Sequential(nn.ConvTranspose2d(coarse, fine, 2, stride=2), *self._blocks(fine, count)))
        self.bottom = nn.Sequential(*self._blocks(widths[-1], blocks[-1]))

    @staticmethod
    def _blocks(width: int, count: int) -> list[nn.Module]:
        return [ResidualBlock(width) for _ in range(count)]

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Estimate of E[clean | noisy], or a consistency model's of the clean image, (n, 3, h, w), not clipped.

        Args:
            noisy: float (n, 3, h, w), clean image in [0,1] plus Gaussian noise of deviation `sigma`, not clipped.
            sigma: float (n,), in [0,1] pixel units, greater than 0.
        """
        height, width = noisy.shape[-2:]
        factor = 2 ** len(self.down)
        padding = (0, -width % factor, 0, -height % factor)
        x = F.pad(noisy, padding, mode="replicate") if any(padding) else noisy
        s = sigma.view(-1, 1, 1, 1).to(x.dtype)
        x = x - DATA_MEAN
        c_in = (s**2 + DATA_STD**2).rsqrt()
        above = s - self.epsilon
        c_skip = DATA_STD**2 * (above**2 + DATA_STD**2).rsqrt() ** 2
        level = (s.log() / 4).expand(-1, 1, *x.shape[-2:])
        h = self.head(torch.cat([x * c_in, level], 1).contiguous(memory_format=torch.channels_last))
        skips = []
        for stage in self.down:
            skips.append(h)
            h = stage(h)
        h = self.bottom(h)
        for stage in self.up:
            h = stage(h) + skips.pop()
        f = self.tail(h).float()
        x0 = DATA_MEAN + c_skip * x + above * DATA_STD * c_in * f
        return x0[..., :height, :width]


def load_denoiser(path: Path, *kinds: str, epsilon: float = 0) -> DenoiserNet:
    """A `DenoiserNet` of any widths from a file of one of the kinds `PRIOR`, `CONSISTENCY`; see `load_network`."""
    return load_network(path, kinds, lambda tensors, _: DenoiserNet(*_architecture(tensors), epsilon=epsilon))


def _architecture(tensors: dict[str, Tensor]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Widths and blocks of the network that the tensors belong to."""

    def blocks(stage: str) -> int:
        return sum(name.startswith(stage) and name.endswith("first.bias") for name in tensors)

    scales = 1 + len({name.split(".")[1] for name in tensors if name.startswith("down.")})
    counts = tuple(blocks(f"down.{scale}.") for scale in range(scales - 1))
    widths = tuple(len(tensors[f"down.{scale}.{count}.bias"]) for scale, count in enumerate(counts))
    return (len(tensors["head.bias"]), *widths), (*counts, blocks("bottom."))
