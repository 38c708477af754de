"""Which samples an attack poisons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from elixir.errors import ElixirError
from elixir.settings import Range, checked

Select = Literal["any", "non_target", "target"]
RateOf = Literal["dataset", "class"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many samples are poisoned, and out of which.

    Args:
        rate: share of poisoned samples.
        rate_of: what the rate is a share of: all labelled samples, or those of the target class.
        select: which samples may be poisoned, by their label.
        seed: of the draw.

    Raises:
        ElixirError: a value is out of range.
    """

    name: ClassVar[str] = "plan"

    rate: Annotated[float, Range(least=0, most=1)] = 0.1
    rate_of: RateOf = "dataset"
    select: Select = "non_target"
    seed: int = 0

    def __post_init__(self) -> None:
        for key, value in self.settings().items():
            checked(Plan, key, value, "poisoning")

    def settings(self) -> dict[str, object]:
        """All parameters by name, for the record."""
        return asdict(self)

    def draw(
        self, labels: NDArray[np.int64], target: int | None, usable: Callable[[int], bool] = lambda _: True
    ) -> NDArray[np.int64]:
        """The indices to poison, drawn once for the whole set.

        Args:
            labels: int64 (n,), -1 for samples without a label, which are never drawn.
            target: the target class; None for an all-to-all attack.
            usable: samples for which it is false are passed over, and others drawn in their place.

        Returns:
            int64, ascending, without repetition.

        Raises:
            ElixirError: the rate comes to less than one sample, or to more than there are.
        """
        allowed = {"any": labels >= 0, "non_target": (labels >= 0) & (labels != target), "target": labels == target}
        candidates = np.flatnonzero(allowed[self.select])
        base = int(np.sum(labels >= 0 if self.rate_of == "dataset" else labels == target))
        count = round(self.rate * base)
        what = f"a rate of {self.rate:g} of the {self.rate_of}'s {base} samples"
        if self.rate > 0 and count == 0:
            raise ElixirError(f"{what} is less than one sample; raise the rate")
        order = np.random.default_rng(self.seed).permutation(candidates)
        checked: set[int] = set()
        while fresh := sorted(set(order[:count].tolist()) - checked):
            checked.update(fresh)
            order = order[~np.isin(order, [index for index in fresh if not usable(index)])]
        chosen = np.sort(order[:count])
        if len(chosen) < count:
            raise ElixirError(f"{what} is {count}, but select={self.select} leaves only {len(chosen)}; lower the rate")
        return chosen

    def draw_covers(
        self, labels: NDArray[np.int64], poisoned: NDArray[np.int64], ratio: float, usable: Callable[[int], bool]
    ) -> NDArray[np.int64]:
        """The indices of the cover samples: any labelled samples that are not poisoned.

        Args:
            labels: int64 (n,), -1 for samples without a label.
            poisoned: what `draw` has returned.
            ratio: cover samples for each poisoned one.
            usable: samples for which it is false are passed over.

        Returns:
            int64, ascending, without repetition.

        Raises:
            ElixirError: there are too few samples left.
        """
        count = round(ratio * len(poisoned))
        rest = np.setdiff1d(np.flatnonzero(labels >= 0), poisoned)
        chosen: list[int] = []
        for index in np.random.default_rng((self.seed, 1)).permutation(rest).tolist():
            if len(chosen) == count:
                break
            if usable(index):
                chosen.append(index)
        if len(chosen) < count:
            raise ElixirError(
                f"{len(poisoned)} poisoned samples take {count} cover samples, and only {len(chosen)} are left; "
                "lower the rate"
            )
        return np.sort(np.array(chosen, np.int64))
