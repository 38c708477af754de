"""Draw samples of a dataset, poison them in a copy of it on disk, and write down beside it what was done."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elixir.data.files.folder import FileSource, FolderSource
from elixir.data.image import decode, encode
from elixir.data.io import RUN_FOLDER, real_path, refuse_bytes, write_table, writing
from elixir.data.open import open_sink
from elixir.data.overlap import place_of, refuse_overlap
from elixir.data.paths import folded, unescape
from elixir.data.sink import Decision
from elixir.data.source import Samples, SomeSamples, Source, find_class
from elixir.data.workdir import WorkDir
from elixir.errors import ElixirError, UnreadableSample, explaining
from elixir.models.weights import write_weights
from elixir.progress import Progress
from elixir.randomness import generator
from elixir.settings import Range, checked

if TYPE_CHECKING:
    from elixir.attacks.base import Attack

Select = Literal["any", "non_target", "target", "source"]
Usable = Callable[[int], bool]
RateOf = Literal["dataset", "class"]
NAMES = ("id", "output", "truth", "class", "new_class", "attack")
SCHEMA = pa.schema([*((name, pa.string()) for name in NAMES), ("seed", pa.int64()), ("earlier", pa.bool_())])
EARLIER = ("truth", "class", "attack", "seed")
"""Columns of an earlier attack's truth that the truth of the next one takes over."""
NUMBERED = re.compile(r"([^\\]*?)([0-9]{1,9})", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many samples are poisoned, and out of which.

    Args:
        rate: share of poisoned samples.
        rate_of: what the rate is a share of: all labelled samples, or those of the target class.
        select: which samples may be poisoned, by their label.
        seed: of the draw.
    """

    name: ClassVar[str] = "plan"

    rate: Annotated[float, Range(least=0, most=1)] = 0.1
    rate_of: RateOf = "dataset"
    select: Select = "non_target"
    seed: int = 0

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            checked(Plan, key, value, "poisoning")

    def draw(
        self, labels: np.ndarray, target: int | None, usable: Usable = lambda _: True, source: int | None = None
    ) -> np.ndarray:
        """The indices to poison, int64, ascending, drawn once for the whole set.

        Args:
            labels: int64 (n,), -1 for samples without a label, which are never drawn.
            target: the target class; None for an all-to-all attack.
            usable: samples for which it is false are passed over, and others drawn in their place.
            source: the only class whose images get the target's label, if there is one; `select` says "source" then.
        """
        allowed = {
            "any": labels >= 0,
            "non_target": (labels >= 0) & (labels != target),
            "target": labels == target,
            "source": labels == source,
        }
        candidates = np.flatnonzero(allowed[self.select])
        base = int(np.sum(labels >= 0 if self.rate_of == "dataset" else labels == target))
        count = round(self.rate * base)
        what = f"a rate of {self.rate:g} of the {self.rate_of}'s {base} samples"
        if self.rate > 0 and count == 0:
            raise ElixirError(f"{what} is less than one sample; raise the rate")
        chosen = _first_usable(np.random.default_rng(self.seed).permutation(candidates), count, usable)
        if len(chosen) < count:
            raise ElixirError(f"{what} is {count}, but select={self.select} leaves only {len(chosen)}; lower the rate")
        return chosen

    def draw_covers(
        self, labels: np.ndarray, poisoned: np.ndarray, ratio: float, usable: Usable, without: Sequence[int] = ()
    ) -> np.ndarray:
        """The cover samples' indices, ascending, `ratio` for each poisoned one; an ElixirError if too few are left.

        No sample of the classes `without` is drawn.
        """
        count = round(ratio * len(poisoned))
        rest = np.setdiff1d(np.flatnonzero((labels >= 0) & ~np.isin(labels, without)), poisoned)
        chosen = _first_usable(np.random.default_rng((self.seed, 1)).permutation(rest), count, usable)
        if len(chosen) < count:
            needed = f"{len(poisoned)} poisoned samples take {count} cover samples"
            raise ElixirError(f"{needed}, and only {len(chosen)} are left; lower the rate")
        return chosen


def _first_usable(order: np.ndarray, count: int, usable: Usable) -> np.ndarray:
    """As many of the indices as there are to be, ascending; they are tried in ascending batches, for quick reading."""
    tried: set[int] = set()
    while fresh := sorted(set(order[:count].tolist()) - tried):
        tried.update(fresh)
        order = order[~np.isin(order, [index for index in fresh if not usable(index)])]
    return np.sort(order[:count])


@dataclass(frozen=True)
class Poisoned:
    """What `poison_dataset` wrote: the dataset, the truth beside it, sample counts, the attack as it was fitted."""

    out: Path
    truth: Path
    samples: int
    poisoned: int
    covers: int
    attack: Attack


def poison_dataset(
    attack: Attack,
    source: Source,
    out: str | Path,
    target: str | None,
    *,
    rate: float = 0.1,
    rate_of: RateOf | None = None,
    select: Select | None = None,
    seed: int = 0,
    quiet: bool = True,
) -> Poisoned:
    """Write a poisoned copy of a dataset, and the truth beside it as `<out>.truth.parquet`.

    What an attack has learned from the dataset is written beside it too, as `<out>.attack.safetensors`. Poisoned and
    cover images are written as PNG; everything else is copied byte for byte. In a folder the poisoned samples move
    to the target's class folder under inconspicuous names. Samples of a folder that cannot be read are left out.

    The truth has a row for every sample of the input: `id` in the input; `output`, its id in the poisoned dataset, ""
    if left out; `truth`: "clean", "poisoned" or "cover" (trigger-like, with its true label); `class` before and
    `new_class` after; `attack`; `seed`; `earlier`. All settings are JSON in the file's metadata under "elixir".

    A dataset with a truth beside it gets a second attack on top of the first: other samples are drawn. The rows of the
    new truth are about both attacks, those of the first as `earlier` and with the class that a sample had before both.

    Args:
        out: folder that does not exist yet, or is empty; a dataset of the source's kind is written there.
        target: name or number of the class that the trigger stands for; None for all-to-all: every class becomes the
            next one.
        rate_of: see `Plan`; the dataset, or for clean-label attacks the target class.
        select: see `Plan`; by default images of other classes, for clean-label attacks those of the target class, for
            attacks on one source class those of this, and for all-to-all any.
        seed: of the choice of samples and their new names; the trigger has its own, `attack.seed`.
    """
    label = None if target is None else find_class(source, target)
    plan = _plan(attack, label is None, rate, rate_of, select, seed)
    victim = None if label is None else attack.source_class(source.classes, label)
    out = real_path(out)
    truth, learned = (out.with_name(f"{out.name}.{what}") for what in ("truth.parquet", "attack.safetensors"))
    refuse_overlap(source, out)
    refuse_bytes(out)
    work = WorkDir(out)
    with work.alone():
        for path in (truth, learned):
            if path.exists():
                raise ElixirError(f"{path} exists; choose another output, or move that file away")
        work.prepare({})
        earlier = _earlier(source)

        def usable(index: int) -> bool:
            return source.samples[index].id not in earlier and _readable(lambda: decode(source.read(index)))

        labels = source.samples.labels.astype(np.int64)
        poisoned = plan.draw(labels, label, usable, victim)
        new_labels = labels.copy()
        new_labels[poisoned] = (labels[poisoned] + 1) % len(source.classes) if label is None else label
        without = () if label is None or victim is None else (label, victim)
        covers = plan.draw_covers(labels, poisoned, attack.cover_ratio, usable, without)
        progress = Progress(quiet)
        attack = attack.fit(source, -1 if label is None else label, progress)
        what = np.full(len(labels), "clean", object)
        what[poisoned], what[covers] = "poisoned", "cover"
        moved = {index: int(new_labels[index]) for index in np.flatnonzero(new_labels != labels).tolist()}
        named = renamed(source, moved, seed) if isinstance(source, FolderSource) else source
        names = [*source.classes, ""]  # label -1 has no name
        rows: list[dict[str, Any]] = []
        try:
            sink = open_sink(source.kind, work.output, named)
            with progress.task("poisoning", len(labels)) as advance:
                for index, sample in enumerate(source.samples):
                    new_label = int(new_labels[index])
                    output = sink.write(index, _decided(source, index, attack, new_label, what[index]))
                    if what[index] != "clean" and isinstance(source, FileSource):  # a younger file would stand out
                        shutil.copystat(source.path(index), work.output / unescape(output))
                    row = {"id": sample.id, "output": output, "new_class": names[new_label]}
                    latest = {"truth": what[index], "class": names[sample.label], "attack": attack.name, "seed": seed}
                    rows.append({**row, "earlier": sample.id in earlier, **earlier.get(sample.id, latest)})
                    advance(1)
            sink.close()
            with writing(out):
                shutil.rmtree(work.output / RUN_FOLDER)  # the originals of the poisoned samples
            if attack.weights:
                write_weights(learned, attack.weights)
            record = {
                "attack": attack.name,
                "settings": attack.settings(),
                "weights": learned.name if attack.weights else None,
                "plan": asdict(plan),
                "target": None if label is None else source.classes[label],
                "classes": source.classes,
                "samples": len(rows),
                "poisoned": len(poisoned),
                "covers": len(covers),
            }
            write_table(truth, pa.Table.from_pylist(rows, SCHEMA.with_metadata({"elixir": json.dumps(record)})))
            work.publish()
        except BaseException:
            for path in (truth, learned):
                path.unlink(missing_ok=True)
            raise
        finally:
            work.discard()
    return Poisoned(out, truth, len(labels), len(poisoned), len(covers), attack)


def _plan(
    attack: Attack, all_to_all: bool, rate: float, rate_of: RateOf | None, select: Select | None, seed: int
) -> Plan:
    if all_to_all and (attack.one_target or rate_of == "class"):
        others = "attacks without a target that change labels"
        raise ElixirError(f"{attack.name} needs one target class here; all-to-all is for {others}")
    if all_to_all and select not in (None, "any"):
        raise ElixirError(f"all-to-all poisons images of every class: it needs select=any, not {select}")
    one_class = "target" if attack.clean_label else "source" if attack.one_source else None
    usual = "any" if all_to_all else one_class or "non_target"
    rate_of = rate_of or ("class" if attack.clean_label else "dataset")
    plan = Plan(rate=rate, rate_of=rate_of, select=select or usual, seed=seed)
    if one_class and plan.select != one_class:
        kind = "a clean-label attack" if attack.clean_label else "an attack on one source class"
        raise ElixirError(f"{attack.name} is {kind}: it needs select={one_class}, not {plan.select}")
    if plan.select == "source" and not attack.one_source:
        raise ElixirError(f"{attack.name} has no source class: it needs another select than source")
    return plan


def _earlier(source: Source) -> dict[str, dict[str, Any]]:
    """Rows about the poisoned and cover samples in the truth beside a dataset, by id."""
    root = place_of(source)
    path = root.parent / f"{root.name}.truth.parquet"
    if not root.name or not path.exists():
        return {}
    what = f"{path} is no truth of an earlier attack"
    with explaining((OSError, pa.ArrowInvalid, pa.ArrowKeyError), what, "move it away"):
        rows = pq.read_table(path, columns=["output", *EARLIER]).to_pylist()
    known = {sample.id for sample in source.samples}
    if any(row["output"] and row["output"] not in known for row in rows):
        raise ElixirError(f"{path} is about another dataset than {root}; move it away")
    return {row["output"]: {key: row[key] for key in EARLIER} for row in rows if row["truth"] != "clean"}


def _readable(read: Callable[[], object]) -> bool:
    with suppress(UnreadableSample):
        read()
        return True
    return False


def _decided(source: Source, index: int, attack: Attack, label: int, what: str) -> Decision:
    """What becomes of a sample: clean ones stay, but for those of a folder that cannot be read."""
    sample = source.samples[index]
    if what == "clean":
        kept = not isinstance(source, FileSource) or _readable(lambda: source.read(index))
        return Decision("kept" if kept else "dropped", sample.label)
    picture = decode(source.read(index))
    changed = attack.on_picture("poison" if what == "poisoned" else "cover", picture, sample.id)
    return Decision("purified" if label == sample.label else "relabelled", label, encode(picture, changed))


def renamed(source: FolderSource, moved: Mapping[int, int], seed: int) -> FolderSource:
    """The same source, where samples that move (index -> new label) are called like those of their new class.

    A name is that of a random sample of the class with another number at its end. A sample keeps its own name where
    none of the class ends with a number. The extension is not disguised: it stays what the file is.
    """
    changed: dict[int, str] = {}
    names = {label: _Names(source, label, seed) for label in set(moved.values())}
    for index, label in sorted(moved.items()):
        sample = source.samples[index]
        if names[label].patterns:
            name = names[label].free(sample.id)
            changed[index] = str(name) + PurePosixPath(sample.name).suffix
    view = copy.copy(source)
    view.samples = _Renamed(source.samples, changed)
    return view


class _Renamed(SomeSamples):
    """The same samples, some of them under other names."""

    def __init__(self, whole: Samples, names: Mapping[int, str]) -> None:
        super().__init__(whole, np.arange(len(whole)))
        self._names = names

    def name(self, index: int) -> str:
        return self._names[index] if index in self._names else super().name(index)


class _Names:
    """The numbered names of one class, and free ones like them."""

    def __init__(self, source: FolderSource, label: int, seed: int) -> None:
        own = [PurePosixPath(sample.name) for sample in source.samples if sample.label == label]
        self.patterns = [(path.parent, *match.groups()) for path in own if (match := NUMBERED.fullmatch(path.stem))]
        self._taken = {folded(str(path.with_suffix(""))) for path in own}
        self._seed = seed
        self._largest: dict[tuple[PurePosixPath, str], int] = {}
        for parent, prefix, digits in self.patterns:
            self._largest[parent, prefix] = max(int(digits), self._largest.get((parent, prefix), 0))

    def free(self, sample_id: str) -> PurePosixPath:
        random = generator(self._seed, sample_id, "name")
        parent, prefix, digits = self.patterns[random.integers(len(self.patterns))]
        beyond = self._largest[parent, prefix] + 2
        while True:
            path = parent / f"{prefix}{random.integers(beyond):0{len(digits)}d}"
            if folded(str(path)) not in self._taken:
                self._taken.add(folded(str(path)))
                return path
            beyond += 1
