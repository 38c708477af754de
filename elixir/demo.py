"""The main job on the shipped sample: real traffic signs, poisoned on the fly, cleaned, before and after compared."""

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from elixir.api import sanitize
from elixir.data.open import TEST, TRAIN, open_source
from elixir.errors import ElixirError
from elixir.evaluation.outcome import train_and_attack
from elixir.evaluation.truth import read_truth, recovery
from elixir.registry import find

TARGET = "stop"


def demo(folder: Path | None, seed: int, quiet: bool, say: Callable[[str], None]) -> None:
    """Run the demonstration, and `say` its lines; the datasets are kept in `folder` where one is given.

    Raises: ElixirError: `folder` is in use.
    """
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise ElixirError(f"{folder} is not empty; choose another folder")
    with nullcontext(folder) if folder else tempfile.TemporaryDirectory(prefix="elixir-demo-") as place:
        home = Path(place)  # type: ignore[arg-type]
        home.mkdir(parents=True, exist_ok=True)
        train, test = open_source(TRAIN), open_source(TEST)
        attack = find("attacks", "badnets")()
        done = attack.poison_dataset(train, home / "poisoned", TARGET, rate=0.1, seed=seed)
        say(f"{done.samples} traffic signs, {done.poisoned} of them with a small patch and the label {TARGET!r}")
        result = sanitize(done.out, home / "clean", seed=seed, quiet=quiet)
        say(result.summary())
        score = recovery(result.table, read_truth(done.truth))
        say(
            f"found {score.tpr:.1%} of the poisoned samples, gave {score.relabel_accuracy:.1%} their true label back, "
            f"changed {score.fpr:.2%} of the clean ones\n"
        )
        say("a classifier trained on          accuracy    attack success rate")
        for title, source in (
            ("the signs as they were", train),
            ("the poisoned signs", open_source(done.out)),
            ("the cleaned signs", open_source(result.path)),
        ):
            outcome = train_and_attack(source, test, attack, TARGET, [seed], quiet=quiet)[0]
            say(f"{title:<30} {outcome.accuracy:>10.1%} {outcome.asr:>22.1%}")
        if folder:
            say(f"\nall files are in {folder}")
