"""Cost of a network in floating-point operations."""

from __future__ import annotations

import inspect
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

_COUNTED: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], float]] = WeakKeyDictionary()


def gflop_per_image(net: nn.Module, shape: tuple[int, ...]) -> float:
    """GFLOP of one forward pass for one image, counted once for each network and shape.

    A multiplication and the addition that follows it are two operations. Only convolutions, matrix products and
    attention are counted (see `torch.utils.flop_counter`). A training step costs about three forward passes.

    Args:
        net: maps images (1, *shape), and a noise level or time (1,) if its `forward` requires a second argument.
        shape: of an image, (c, h, w).
    """
    counted = _COUNTED.setdefault(net, {})
    if shape not in counted:
        tensors = [*net.parameters(), *net.buffers()]
        device = tensors[0].device if tensors else torch.device("cpu")
        short = next((t.dtype for t in tensors if t.dtype in (torch.float16, torch.bfloat16)), None)
        required = [p for p in inspect.signature(net.forward).parameters.values() if p.default is p.empty]
        inputs = [torch.zeros(1, *shape, device=device), *(torch.ones(1, device=device) for _ in required[1:])]
        training, counter = net.training, FlopCounterMode(display=False)
        autocast = torch.autocast(device.type, short, enabled=short is not None)
        net.eval()  # else batch normalisation would count the zeros into its statistics
        with torch.no_grad(), autocast, sdpa_kernel(SDPBackend.MATH), counter:  # attention as plain matrix products
            net(*inputs)
        net.train(training)
        counted[shape] = counter.get_total_flops() / 1e9
    return counted[shape]
