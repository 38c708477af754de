"""What every stage has spent, kept so that an interrupted run loses nothing of it, and what a network costs."""

import inspect
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from elixir.data.io import replace_text

_COUNTED: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], float]] = WeakKeyDictionary()


@dataclass
class Cost:
    """What one stage has spent.

    Attributes:
        seconds: of wall time.
        network_seconds: inside networks, of all processes together.
        nfe: function evaluations of the purifier's network, an image each.
        gflop: of all networks, by `gflop_per_image`; a training step costs three forward passes.
    """

    seconds: float = 0.0
    network_seconds: float = 0.0
    nfe: int = 0
    gflop: float = 0.0


class Meter:
    """Counts the costs of one stage after the other.

    Args:
        folder: where the cost of a stage that has not finished is kept; None in a process that works for another one.

    Attributes:
        costs: of each stage so far.
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._stage, self._start = "", 0.0
        self.costs: dict[str, Cost] = {}

    def start(self, stage: str) -> None:
        """Begin to count for a stage, on top of what an interrupted run has spent on it."""
        kept = self._folder and self._folder / f"{stage}.json"
        self._stage = stage
        self.costs[stage] = Cost(**json.loads(kept.read_text())) if kept and kept.exists() else Cost()
        self._start = time.perf_counter() - self.costs[stage].seconds

    def save(self) -> Cost:
        """Keep what the stage at work has cost so far."""
        cost = self.costs[self._stage]
        cost.seconds = time.perf_counter() - self._start
        if self._folder:
            replace_text(self._folder / f"{self._stage}.json", json.dumps(vars(cost)))
        return cost

    def add(self, cost: Cost) -> None:
        """Count for the stage at work, and keep, what another process has spent on it, but for its wall time."""
        total = self.costs[self._stage]
        total.network_seconds += cost.network_seconds
        total.nfe += cost.nfe
        total.gflop += cost.gflop
        self.save()

    @contextmanager
    def network(self, nfe: int = 0, gflop: float = 0.0) -> Iterator[Cost]:
        """Count the enclosed time as spent inside networks, for the stage whose cost this yields."""
        start = time.perf_counter()
        cost = self.costs[self._stage]
        yield cost
        cost.network_seconds += time.perf_counter() - start
        cost.nfe += nfe
        cost.gflop += gflop


def gflop_per_image(net: nn.Module | None, shape: tuple[int, ...]) -> float:
    """GFLOP of one forward pass for one image (c, h, w), counted once for each network and shape.

    A multiplication and the addition that follows it are two operations. Only convolutions, matrix products and
    attention are counted (see `torch.utils.flop_counter`).

    Args:
        net: maps images (1, *shape), and a noise level or time (1,) if its `forward` requires a second argument. One
            that cannot be run so counts 0, as does None.
        shape: of the image.
    """
    if net is None:
        return 0.0
    counted = _COUNTED.setdefault(net, {})
    if shape not in counted:
        training = [module for module in net.modules() if module.training]
        net.eval()  # else batch normalisation would count the zeros into its statistics
        try:
            counted[shape] = _count(net, shape)
        except Exception:  # what a stranger's network raises is anything
            counted[shape] = 0.0
        for module in training:
            module.training = True
    return counted[shape]


def _count(net: nn.Module, shape: tuple[int, ...]) -> float:
    tensors = [*net.parameters(), *net.buffers()]
    device = tensors[0].device if tensors else torch.device("cpu")
    short = next((t.dtype for t in tensors if t.dtype in (torch.float16, torch.bfloat16)), None)
    required = [p for p in inspect.signature(net.forward).parameters.values() if p.default is p.empty]
    inputs = [torch.zeros(1, *shape, device=device), *(torch.ones(1, device=device) for _ in required[1:])]
    counter, autocast = FlopCounterMode(display=False), torch.autocast(device.type, short, enabled=short is not None)
    unchanged = torch.random.fork_rng([device] if device.type == "cuda" else [])
    with unchanged, torch.no_grad(), autocast, sdpa_kernel(SDPBackend.MATH), counter:  # attention as matrix products
        net(*inputs)
    return counter.get_total_flops() / 1e9
