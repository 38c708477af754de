"""Find and repair backdoor-poisoned samples in labelled image datasets; see `elixir.api` for all functions."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from elixir import api as api
    from elixir.api import HumanDecision, decide, restore, sanitize, scan
    from elixir.errors import ElixirError
    from elixir.pipeline import Pipeline
    from elixir.result import Result

__all__ = ["ElixirError", "HumanDecision", "Pipeline", "Result", "decide", "restore", "sanitize", "scan"]

_HOMES = {
    "ElixirError": "elixir.errors",
    "Pipeline": "elixir.pipeline",
    "Result": "elixir.result",
    **dict.fromkeys(("HumanDecision", "decide", "restore", "sanitize", "scan"), "elixir.api"),
}


def __getattr__(name: str) -> object:
    """Import on first use, so that `elixir --help` does not wait for torch."""
    if name == "__version__":
        from importlib.metadata import version

        return version("dataset-elixir")
    if name == "api":
        return import_module("elixir.api")
    if name not in _HOMES:
        raise AttributeError(f"module 'elixir' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return ["__version__", *__all__]
