"""HTML pages: single files without scripts or outside resources."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from elixir.data.paths import printable


def render(template: str, **values: Any) -> str:
    """Fill in a template of this package; values are escaped, and the filter `printable` spells out control characters.

    Raises: jinja2.UndefinedError: the template needs a value that is not there.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    loader = PackageLoader("elixir.pages", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["printable"] = printable
    return environment
