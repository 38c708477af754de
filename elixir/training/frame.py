"""The frame of every training: images decoded once, one optimizer step, and a state that outlives interruptions."""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from elixir.data.pixels import PixelStore, cache_pixels
from elixir.data.source import Source
from elixir.errors import ElixirError
from elixir.models.device import training_dtype
from elixir.models.weights import check_output, read_weights, write_weights
from elixir.progress import Progress


@dataclass(frozen=True)
class TrainingJob:
    """What is trained on, images of a source with sides of `size` pixels, and the weight file that comes out."""

    source: Source
    size: int
    out: Path
    device: torch.device
    quiet: bool = False


@contextmanager
def training_pixels(job: TrainingJob, progress: Progress) -> Iterator[tuple[PixelStore, np.ndarray]]:
    """Cache the images of a source (see `cache_pixels`) in `out` + '.pixels' until the training is done.

    Yields the store, and the row in the source of each of its images, int64.

    Raises: ElixirError: there is no readable image, with a label where there are classes, or `out` cannot be written.
    """
    check_output(job.out)
    cache = job.out.with_name(job.out.name + ".pixels")
    cache.unlink(missing_ok=True)
    with progress.task("reading", len(job.source.samples)) as advance:
        store, rows = cache_pixels(job.source, cache, job.size, advance)
    if not len(rows):
        raise ElixirError(f"{job.source.location} holds no readable image to train on, with a label if it has classes")
    with store:
        yield store, rows
    cache.unlink()


def checkpoint_of(out: Path) -> Path:
    """Where an interrupted training of the file `out` goes on from."""
    return out.with_name(out.name + ".checkpoint")


def fingerprint(net: nn.Module, settings: object, *data: np.ndarray) -> int:
    """Number that tells one training from another: by its settings, initial weights and data, or a part of them."""
    digest = zlib.crc32(repr(settings).encode())
    for part in data:
        digest = zlib.crc32(np.ascontiguousarray(part).data, digest)
    for tensor in net.state_dict().values():
        digest = zlib.crc32(tensor.float().cpu().contiguous().numpy().tobytes(), digest)
    return digest


def optimizer_step(
    optimizer: torch.optim.Optimizer,
    learning_rate: float,
    loss_of: Callable[..., Tensor],
    inputs: tuple[object, ...],
    device: torch.device,
    max_gradient: float | None = None,
) -> Tensor:
    """One step down the gradient; returns the loss, detached, on the device.

    Args:
        optimizer: with one group of parameters.
        loss_of: maps `inputs` to the loss, a scalar; called under autocast to `training_dtype`.
        max_gradient: norm to which the gradient is clipped, None for no clipping.
    """
    (group,) = optimizer.param_groups
    group["lr"] = learning_rate
    dtype = training_dtype(device)
    optimizer.zero_grad()
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        loss = loss_of(*inputs)
    loss.backward()
    if max_gradient is not None:
        torch.nn.utils.clip_grad_norm_(group["params"], max_gradient)
    optimizer.step()
    return loss.detach()


class Checkpoint:
    """State of a training between interruptions: networks, optimizer and counters in one safetensors file."""

    def __init__(
        self, path: Path, nets: dict[str, nn.Module], optimizer: torch.optim.Optimizer, fingerprint: int
    ) -> None:
        self._path = path
        self._nets = nn.ModuleDict(nets)
        self._optimizer = optimizer
        self._fingerprint = fingerprint

    def save(self, **counters: int) -> None:
        """Write the state, and counters such as the number of steps done, through a temporary name."""
        tensors = self._nets.state_dict()
        for index, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{key}": t for key, t in state.items()}
        counters |= {"fingerprint": self._fingerprint}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_weights(self._path, tensors, {name: str(value) for name, value in counters.items()})

    def load(self) -> dict[str, int]:
        """Put the state back and return the counters, none if there is no file.

        Raises: ElixirError: the file is damaged, or of another training.
        """
        if not self._path.exists():
            return {}
        tensors, metadata = read_weights(self._path)
        counters = {name: int(value) for name, value in metadata.items() if value.isdecimal()}
        if counters.get("fingerprint") != self._fingerprint:
            raise ElixirError(
                f"{self._path} is of a training with other settings, data or start; remove it, or choose another output"
            )
        state: dict[int, dict[str, Tensor]] = {}
        for name in [name for name in tensors if name.startswith("optimizer.")]:
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensors.pop(name)
        self._nets.load_state_dict(tensors)
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": state})
        for parameter, values in self._optimizer.state.items():  # fused kernels take it for granted that strides agree
            for key, t in values.items():
                if t.shape == parameter.shape:
                    values[key] = torch.empty_like(parameter).copy_(t)
        return counters

    def remove(self) -> None:
        """Delete the file of a training that is done."""
        self._path.unlink(missing_ok=True)
