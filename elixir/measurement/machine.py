"""The machine and the versions that figures were measured with."""

import platform
import re
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

LIBRARIES = ("dataset-elixir", "torch", "torchvision", "scikit-learn", "numpy", "adversarial-robustness-toolbox")


def machine(device: torch.device) -> dict[str, object]:
    """Processor, accelerator if `device` is one, system and versions of the installed libraries that decide results."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (models := re.findall(r"^model name\s*: (.*)$", info.read_text(), re.MULTILINE)):
        cpu = f"{len(models)} x {models[0]}"
    versions: dict[str, str] = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "cpu": cpu,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }
