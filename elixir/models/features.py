"""Features of any network: what the last linear layer reads, wherever it stands in the network."""

from typing import Any

import torch
from torch import Tensor, nn

TOLERANCE = 1e-4
"""How far the output of a network may be from that of its last layer, as a share of its largest value."""


def as_logits(output: Any) -> Tensor:
    """Logits (n, k) out of what a network returns: a tensor, a tuple starting with it, or an object with `logits`.

    Those of several places, (n, k, h, w) or (n, places, k), are averaged.
    """
    output = getattr(output, "logits", output)
    output = output[0] if isinstance(output, tuple | list) else output
    return pooled(output, channels_first=output.ndim == 4)


def pooled(features: Tensor, *, channels_first: bool) -> Tensor:
    """Average (n, d, h, w), or (n, ..., d) where channels come last, to (n, d)."""
    if features.ndim == 2:
        return features
    return features.flatten(2).mean(2) if channels_first else features.flatten(1, -2).mean(1)


def comes_from(head: Tensor, logits: Tensor) -> bool:
    """Whether logits (n, k) are what a layer has given (n, k), or its softmax: whether nothing else follows it."""
    most = TOLERANCE * float(logits.abs().max())
    return any(bool((each - logits).abs().max() <= most) for each in (head, head.softmax(1)))


class WithFeatures(nn.Module):
    """A network that also returns the input of the last linear or 1x1 layer with as many outputs as there are logits.

    The layer, its head, is found by running `net`, in evaluation mode, on `probe` once.

    Attributes:
        has_head: there is one; without it the logits are the features too.
        ends_with_head: what `net` returns comes from the head alone.
    """

    def __init__(self, net: nn.Module, probe: Tensor) -> None:
        super().__init__()
        self.net = net
        self._read: Tensor | None = None
        self._channels_first = False
        self.has_head, self.ends_with_head = False, False
        self._find_head(probe)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, k) and features (n, d)."""
        logits = as_logits(self.net(x))
        if self._read is None:
            return logits, logits
        features, self._read = self._read, None
        return logits, pooled(features, channels_first=self._channels_first)

    def _remember(self, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        self._read = args[0]

    @torch.no_grad()
    def _find_head(self, probe: Tensor) -> None:
        called: list[tuple[nn.Module, Tensor]] = []

        def record(module: nn.Module, _: object, output: Tensor) -> None:
            called.append((module, output))

        hooks = [
            module.register_forward_hook(record)
            for module in self.net.modules()
            if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))
        ]
        logits = as_logits(self.net(probe))
        for hook in hooks:
            hook.remove()
        heads = [
            (module, output) for module, output in called if len(module.get_parameter("weight")) == logits.shape[1]
        ]
        if heads:
            head, output = heads[-1]
            head.register_forward_pre_hook(self._remember)
            self._channels_first = isinstance(head, nn.Conv2d)
            self.has_head = True
            self.ends_with_head = comes_from(pooled(output, channels_first=self._channels_first), logits)
