"""What becomes of one sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["kept", "purified", "relabelled", "dropped", "quarantined"]


@dataclass(frozen=True)
class Decision:
    """What becomes of one sample.

    Attributes:
        action: a "kept", "purified" or "relabelled" sample is in the output, the others are not.
        label: its class there, an index into the source's classes.
        data: the new image as PNG, where its pixels change.
    """

    action: Action
    label: int
    data: bytes | None = None

    @property
    def written(self) -> bool:
        """Whether the sample is in the output."""
        return self.action not in ("dropped", "quarantined")
