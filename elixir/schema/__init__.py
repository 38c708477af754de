"""JSON schemas of what is written for other programs, and their versions.

A version grows when a field goes or means something else; a new field alone leaves it as it is.
"""

from importlib.resources import files
from typing import Literal

RESULT = 1
"""Version of what `--json` prints (`elixir.result.Result.as_dict`); described in result.json."""
FINDINGS = 1
"""Version of `.elixir/findings.json`; described in findings.json."""

SchemaName = Literal["result", "findings"]


def read_schema(name: SchemaName) -> str:
    """The text of a schema."""
    return files(__name__).joinpath(f"{name}.json").read_text("utf-8")
