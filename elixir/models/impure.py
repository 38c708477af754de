"""IMPure's network: a masked autoencoder that rebuilds every patch from its surroundings (arXiv 2311.15339)."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elixir.models.schedules import DATA_MEAN, DATA_STD, DDPM_TIMES, kept_variance
from elixir.models.weights import load_network

KIND = "elixir.impure"
GROUPS = 4
MASKED = DDPM_TIMES  # the time at which nothing is left of a group's features
INITIAL_STD = 0.02  # of the weights of linear layers and of the learned token, before training
WAVELENGTHS = 1000  # ratio of the longest to the shortest wavelength of `positions`


@dataclass(frozen=True)
class Architecture:
    """Sizes of the network.

    Attributes:
        patch: side of a patch in pixels.
        width: of the encoder's tokens.
        depth: blocks of the encoder.
        fused: which of these blocks the decoder sees, in a weighted mean.
    """

    patch: int
    width: int
    heads: int
    depth: int
    fused: tuple[int, ...]
    decoder_width: int
    decoder_heads: int
    decoder_depth: int


ARCHITECTURES = {
    "small": Architecture(4, 192, 6, 6, (0, 2, 4, 5), 192, 6, 6),
    "imagenet": Architecture(16, 768, 12, 12, (0, 2, 4, 6, 8, 11), 512, 16, 8),
}


@dataclass(frozen=True)
class Attenuation:
    """What is left of a group in "noise" mode: its pixels and then its features, diffused to times of DDPM's schedule.

    At time 1000 nothing is left of the features, and the learned token of "mask" mode takes their place.

    Attributes:
        pixels: standard normal, (n, 3, h, w) of the padded image; here and below, n may be 1 for all.
        features: standard normal, (n, 4, tokens of a group, width).
        pixel_signal: sqrt(abar) at the time of the pixels, float32 (n,).
        feature_signal: sqrt(abar) at the time of the features, float32 (n,).
    """

    pixels: Tensor
    features: Tensor
    pixel_signal: Tensor
    feature_signal: Tensor


class ImpureNet(nn.Module):
    """Rebuilds each of four groups of patches from the other three.

    Group 2a + b holds the patches of rows 2i + a and columns 2j + b, so that all eight neighbours of a patch are in
    other groups. Each group is encoded on its own. The decoder that rebuilds a group gets, in its place, a learned
    token ("mask" mode) or its features under noise ("noise" mode).
    """

    signal: Tensor

    def __init__(self, architecture: str = "small") -> None:
        super().__init__()
        self.architecture = sizes = ARCHITECTURES[architecture]
        values = 3 * sizes.patch**2
        self.embed = nn.Linear(values + 1, sizes.width)
        self.encoder = nn.ModuleList(Block(sizes.width, sizes.heads) for _ in range(sizes.depth))
        self.fusion = nn.Parameter(torch.zeros(len(sizes.fused)))
        self.encoded = nn.LayerNorm(sizes.width, elementwise_affine=False)
        self.token = nn.Parameter(torch.zeros(sizes.width))
        self.register_buffer("signal", ddpm_signal(), persistent=False)
        self.attenuated = nn.Linear(1, sizes.width)
        self.bridge = nn.Linear(sizes.width, sizes.decoder_width)
        self.decoder = nn.Sequential(
            *(Block(sizes.decoder_width, sizes.decoder_heads) for _ in range(sizes.decoder_depth))
        )
        self.decoded = nn.LayerNorm(sizes.decoder_width)
        self.head = nn.Linear(sizes.decoder_width, values)
        self.tail = nn.Conv2d(3, 3, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INITIAL_STD)
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.token, std=INITIAL_STD)
        nn.init.dirac_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor, sigma: Tensor, keep: Attenuation | None = None) -> Tensor:
        """Estimate of the clean images, (n, 3, h, w), not clipped.

        Args:
            x: float32 (n, 3, h, w), images in [0,1] plus Gaussian noise of deviation `sigma`; any h and w.
            sigma: float32 (n,), in [0,1] pixel units, 0 or more.
            keep: "noise" mode, made by `attenuation`; None is "mask" mode.
        """
        return DATA_MEAN + self.tail(self.rebuild(x, sigma, keep) - DATA_MEAN).float()

    def rebuild(self, x: Tensor, sigma: Tensor, keep: Attenuation | None = None) -> Tensor:
        """As `forward`, before the last convolution: in "mask" mode no patch depends on its own pixels."""
        height, width = x.shape[-2:]
        rows, columns = self._grid(height, width)
        patch = self.architecture.patch
        missing = (0, columns * patch - width, 0, rows * patch - height)
        x = F.pad(x, missing, mode="replicate") if any(missing) else x
        if keep is None:
            visible = self._encode(x, sigma)
            own = self.token.expand_as(visible)
        else:
            visible, own = self._encode_both(x, sigma, keep)
        decoded = self._decode(visible, own, rows, columns)
        return DATA_MEAN + _join(decoded, rows, columns, patch)[..., :height, :width].float()

    def attenuation(
        self, shape: torch.Size, pixel_time: Tensor, feature_time: Tensor, generator: torch.Generator
    ) -> Attenuation:
        """Draw the noise of "noise" mode for images of a shape (n, 3, h, w); n may be 1 for the same noise on all.

        Args:
            pixel_time: int64 (n,), in 0..999.
            feature_time: int64 (n,), in 0..1000; 1000 is "mask" mode.
            generator: on any device; another device draws other noise.
        """
        number, _, height, width = shape
        rows, columns = self._grid(height, width)
        patch, device = self.architecture.patch, self.signal.device
        pixels = (number, 3, rows * patch, columns * patch)
        features = (number, GROUPS, rows * columns // GROUPS, self.architecture.width)
        return Attenuation(
            torch.randn(pixels, generator=generator, device=generator.device).to(device),
            torch.randn(features, generator=generator, device=generator.device).to(device),
            self.signal[pixel_time],
            self.signal[feature_time],
        )

    def _grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches, both even so that groups are equal."""
        step = 2 * self.architecture.patch
        return 2 * -(-height // step), 2 * -(-width // step)

    def _encode_both(self, x: Tensor, sigma: Tensor, keep: Attenuation) -> tuple[Tensor, Tensor]:
        """Features of every group as it is, and with its information attenuated; never less than noise `sigma`."""
        signal = keep.pixel_signal
        own_sigma = torch.maximum((1 - signal**2).sqrt() / (2 * signal), sigma)
        added = (own_sigma**2 - sigma**2).clamp(min=0).sqrt()
        noisy = x + added.view(-1, 1, 1, 1) * keep.pixels
        visible, own = self._encode(torch.cat([x, noisy]), torch.cat([sigma, own_sigma])).chunk(2)
        signal = keep.feature_signal.view(-1, 1, 1, 1)
        lost = (1 - signal**2).sqrt()
        own = signal * own + lost * keep.features + self.attenuated(lost)
        return visible, torch.where(signal > 0, own, self.token)

    def _encode(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Features (n, 4, tokens, width), each group on its own, of mean 0 and deviation 1."""
        patch = self.architecture.patch
        groups = _split(x, patch)
        variance = (sigma**2 + DATA_STD**2).view(-1, 1, 1, 1)
        level = (variance.log() / 4).expand(*groups.shape[:-1], 1)
        tokens = self.embed(torch.cat([(groups - DATA_MEAN) * variance.rsqrt(), level], -1))
        tokens = tokens + self._positions(x.shape[-2] // patch, x.shape[-1] // patch, tokens.shape[-1], x.device)
        h = tokens.flatten(0, 1)
        weights = iter(self.fusion.softmax(0))
        fused = torch.zeros_like(h)
        for index, block in enumerate(self.encoder):
            h = block(h)
            if index in self.architecture.fused:
                fused = fused + next(weights) * h
        return self.encoded(fused).view_as(tokens)

    def _decode(self, visible: Tensor, own: Tensor, rows: int, columns: int) -> Tensor:
        """Pixels (n, 4, tokens, values) of each group, from what is left of it and from the others."""
        visible, own = self.bridge(visible), self.bridge(own)
        number, groups, tokens, width = visible.shape
        hidden = torch.eye(groups, dtype=torch.bool, device=visible.device).view(1, groups, groups, 1, 1)
        h = torch.where(hidden, own[:, None], visible[:, None])
        h = h + self._positions(rows, columns, width, h.device)
        h = self.decoder(h.view(number * groups, groups * tokens, width))
        h = h.view(number, groups, groups, tokens, width).diagonal(dim1=1, dim2=2).permute(0, 3, 1, 2)
        return self.head(self.decoded(h))

    @staticmethod
    def _positions(rows: int, columns: int, width: int, device: torch.device) -> Tensor:
        return _split(positions(rows, columns, width, device).permute(2, 0, 1)[None], 1)[0]


def ddpm_signal() -> Tensor:
    """sqrt(abar) at every time of DDPM's schedule, and 0 at `MASKED`, after its end; float32 (MASKED + 1,)."""
    return torch.cat([kept_variance(MASKED), torch.zeros(1)]).sqrt().float()


def load_impure(path: Path) -> ImpureNet:
    """A network written by `elixir train impure`, in evaluation mode; see `load_network`."""
    return load_network(path, (KIND,), lambda _, record: ImpureNet(record["architecture"])).eval()


def _split(x: Tensor, patch: int) -> Tensor:
    """Images (n, c, h, w) to patches by group, (n, 4, h * w / (4 * patch^2), c * patch^2)."""
    number, channels, height, width = x.shape
    x = x.reshape(number, channels, height // (2 * patch), 2, patch, width // (2 * patch), 2, patch)
    return x.permute(0, 3, 6, 2, 5, 1, 4, 7).reshape(number, GROUPS, -1, channels * patch**2)


def _join(groups: Tensor, rows: int, columns: int, patch: int) -> Tensor:
    """The inverse of `_split`."""
    x = groups.reshape(len(groups), 2, 2, rows // 2, columns // 2, -1, patch, patch)
    return x.permute(0, 5, 3, 1, 6, 4, 2, 7).reshape(len(groups), -1, rows * patch, columns * patch)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)), of tokens (n, t, width) (Dosovitskiy et al. 2021, eqs. 2, 3)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.second_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        number, tokens, width = x.shape
        qkv = self.qkv(self.first_norm(x)).view(number, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attention = F.scaled_dot_product_attention(q, k, v)
        x = x + self.attended(attention.transpose(1, 2).reshape(number, tokens, width))
        return x + self.mlp(self.second_norm(x))


def positions(rows: int, columns: int, width: int, device: torch.device) -> Tensor:
    """Sines and cosines of row and column at wavelengths from 2 pi to 2000 pi cells (Vaswani et al. 2017, section 3.5).

    (rows, columns, width), float32; `width` is a multiple of 4.
    """
    frequency = torch.exp(-math.log(WAVELENGTHS) / (width // 4) * torch.arange(width // 4, device=device))
    row = torch.arange(rows, device=device)[:, None, None] * frequency
    column = torch.arange(columns, device=device)[None, :, None] * frequency
    waves = [row.sin(), row.cos(), column.sin(), column.cos()]
    return torch.cat([wave.expand(rows, columns, -1) for wave in waves], -1)
