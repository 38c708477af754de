"""Noise that belongs to the sample: it depends on (seed, sample id, draw) and on nothing else."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum

import numpy as np
import torch
from torch import Tensor


class Draw(StrEnum):
    """Names of draws, part of the key of their generator: another name is another draw, so these never change."""

    CARRIERS = "hosts"
    FEW_CARRIERS = "rare hosts"
    GROUP_CARRIERS = "common hosts"
    TRIGGER_CARRIERS = "trigger hosts"
    FOLDS = "folds"
    SPLIT = "pattern"
    LABEL_HALVES = "label halves"
    HOLDOUT = "retrial"
    UNSEEN_LABEL = "unseen label"
    RECOGNIZER = "recognize"
    REPAIR = "select"


def generator(seed: int, *key: object) -> np.random.Generator:
    """A random generator for `key`, the same on every machine, in every process and order."""
    return np.random.Generator(np.random.Philox(key=np.frombuffer(_digest(seed, *key)[:16], np.uint64)))


@contextmanager
def numpy_seeded(seed: int) -> Iterator[None]:
    """Seed numpy's global state for foreign code that draws from it, and put the old state back at the end."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def noise(seed: int, ids: Sequence[str], draw: object, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise, float32 (n, *shape), one independent generator for each sample id and draw."""
    rows = [generator(seed, id, draw).standard_normal(shape, np.float32) for id in ids]
    return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, *shape)


def device_noise(device: torch.device, shape: tuple[int, ...], seed: int, *key: object) -> Tensor:
    """Standard normal noise for `key` that is drawn where it is needed, float32 of that shape.

    The same in every process and order on one kind of device; another kind, or another shape, gives other numbers.
    On the CPU torch looks at 32 bits of the key's digest, so that two keys in four billion share their noise.
    """
    return torch.randn(shape, generator=device_generator(device, seed, *key), device=device)


def device_generator(device: torch.device, seed: int, *key: object) -> torch.Generator:
    """A random generator for `key` on a device; see `device_noise` for what its numbers depend on."""
    return torch.Generator(device).manual_seed(int.from_bytes(_digest(seed, *key)[:8], "big") >> 1)


def _digest(seed: int, *key: object) -> bytes:
    return hashlib.sha256("\0".join(map(str, (seed, *key))).encode("utf-8", "surrogateescape")).digest()
