"""A network of other people's, with what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elixir.errors import ElixirError, explaining
from elixir.models.features import WithFeatures
from elixir.models.preprocessing import Preprocessing
from elixir.models.torchscript import ScriptWithFeatures

EXTRA = "is not installed: pip install 'dataset-elixir[models]'"


@dataclass(frozen=True)
class Foreign:
    """A network that maps prepared images to logits or features, of which `as_logits` makes a tensor.

    Attributes:
        spec: what the user calls it, for messages.
        net: in evaluation mode.
        channels: of its input, see `channels_of`.
        preprocessing: of images.
        side: in pixels, of images that it can be tried on.
        format: "timm", "transformers" or "torchscript".
        architecture: plain values from which its format builds it again, with any weights.
        labels: names of its logits, where they are known.
        script: the file that a TorchScript network cannot be built again without.
    """

    spec: str
    net: nn.Module
    channels: int
    preprocessing: Preprocessing
    side: int
    format: str
    architecture: Mapping[str, Any]
    labels: list[str] = field(default_factory=list)
    script: Path | None = None

    def record(self) -> dict[str, Any]:
        """All but the weights, as plain values."""
        return {
            "format": self.format,
            "architecture": dict(self.architecture),
            "channels": self.channels,
            "preprocessing": asdict(self.preprocessing),
            "side": self.side,
        }

    def with_features(self, device: torch.device) -> tuple[WithFeatures | ScriptWithFeatures, Tensor, Tensor]:
        """The network in evaluation mode on `device`, with features, and both of its outputs for two random images.

        Raises: ElixirError: it cannot be run on images.
        """
        net = self.net.to(device).eval()
        shape = (2, self.channels, self.side, self.side)
        probe = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)
        kinds = (RuntimeError, TypeError, ValueError, AttributeError, LookupError)
        with explaining(kinds, f"{self.spec!r} does not map images to logits"), torch.inference_mode():
            script = isinstance(net, torch.jit.ScriptModule)
            wrapped = ScriptWithFeatures(net, probe) if script else WithFeatures(net, probe)
            return wrapped, *wrapped(probe)


def channels_of(net: nn.Module, spec: str) -> int:
    """Input channels: those of the first convolution, 3 where there is none; an ElixirError if not 1 or 3."""
    channels = next((weight.shape[1] for weight in net.parameters() if weight.ndim == 4), 3)
    if channels not in (1, 3):
        raise ElixirError(f"{spec!r} reads {channels} channels; 1 and 3 are supported")
    return channels


def expect_classes(wanted: int | None, found: int, spec: str) -> None:
    """Raise an ElixirError where a network tells another number of classes apart than is wanted; None wants any."""
    if wanted is not None and found != wanted:
        raise ElixirError(f"{spec!r} tells {found} classes apart, but the dataset has {wanted}")
