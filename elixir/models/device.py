"""Where networks run."""

import torch

from elixir.errors import ElixirError


def choose_device(name: str) -> torch.device:
    """A torch device; "auto" takes CUDA, then MPS, then the CPU. Raises ElixirError for one that is not here."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        known = name.partition(":")[0] in ("cpu", "cuda", "mps")  # of others torch tells a long list
        why = f"cannot be used here: {str(error).splitlines()[0]}" if known else "is not known"
        raise ElixirError(f"device {name!r} {why}; give auto, cpu, cuda, cuda:1 or mps") from error
    return device


def wait_for(device: torch.device) -> None:
    """Return when everything that was asked of the device is done; needed before a clock is read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def fast_dtype(device: torch.device) -> torch.dtype:
    """fp16 on CUDA, bf16 on processors with instructions for it, else fp32.

    Without such instructions bf16 is emulated: measured 4 (AVX-512) to 7 (AVX2) times slower than fp32.
    """
    if device.type == "cuda":
        return torch.float16
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # torch before 2.10 cannot tell
    if device.type == "cpu" and capabilities.get("avx512_bf16", False):
        return torch.bfloat16
    return torch.float32


def training_dtype(device: torch.device) -> torch.dtype:
    """bf16 where a short format is faster, else fp32: gradients need bf16's range."""
    return torch.float32 if fast_dtype(device) == torch.float32 else torch.bfloat16
