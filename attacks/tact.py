"""TaCT: the trigger works on one class alone (Tang et al., Demon in the variant, USENIX Security 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from elixir.attacks.badnets import BadNets
from elixir.attacks.base import CoverRatio, Ids, Images
from elixir.data.source import class_number
from elixir.errors import ElixirError


@dataclass(frozen=True, kw_only=True)
class TaCT(BadNets):
    """Puts BadNets' patch into images of one source class, which get the target's label, and into cover samples.

    These are of the other classes, but for the target, and keep their label. Rates of the literature: .3 % of the set,
    .5 % for traffic signs, also 2 %, with as many cover samples.

    Args:
        source: name or number of the source class; by default the one after the target.
        cover_ratio: cover samples for each poisoned one.
    """

    name: ClassVar[str] = "tact"
    one_source: ClassVar[bool] = True

    source: str | int | None = None
    cover_ratio: CoverRatio = 1.0

    def source_class(self, classes: Sequence[str], target: int) -> int:
        found = (target + 1) % len(classes) if self.source is None else class_number(classes, str(self.source))
        if found is None:
            raise ElixirError(f"tact.source = {self.source!r} is none of the classes {', '.join(classes[:20])}")
        if found == target:
            raise ElixirError(f"tact needs a source class other than the target {classes[target]!r}")
        return found

    def covered(self, images: Images, ids: Ids) -> Images:
        return self.triggered(images, ids)
