"""The executors by name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch

from elixir.engine.executor import Executor
from elixir.engine.local import Local
from elixir.engine.run import Run
from elixir.errors import ElixirError

EXECUTORS = ("local", "ray")


def check_executor(name: str, address: str | None) -> None:
    """Raise an ElixirError for an executor that is unknown or not installed, or that has no use for an address."""
    if name not in EXECUTORS:
        raise ElixirError(f"executor {name!r} is none of {', '.join(EXECUTORS)}")
    if name == "local" and address:
        raise ElixirError("--address is that of a ray cluster; add --executor ray")
    if name == "ray" and not find_spec("ray"):
        raise ElixirError("--executor ray needs ray, which is not installed: pip install 'dataset-elixir[ray]'")


@contextmanager
def open_executor(
    name: str,
    open_run: Callable[..., Run],
    device: torch.device,
    address: str | None,
    workers: int | None,
    quiet: bool,
) -> Iterator[Executor]:
    """The executor of that name while the context lasts; for all else see `elixir.engine.on_ray.on_ray`."""
    if name == "local":
        yield Local()
        return
    from elixir.engine.on_ray import on_ray  # which imports ray

    with on_ray(open_run, device, address, workers, quiet) as executor:
        yield executor
