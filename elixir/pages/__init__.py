"""HTML pages that ask no network for anything."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from elixir.data.paths import printable

_environment = Environment(
    loader=PackageLoader("elixir.pages", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters["printable"] = printable


def render(template: str, **values: Any) -> str:
    """Fill in a template of this package with all values that it needs, which are escaped."""
    return _environment.get_template(template).render(values)
