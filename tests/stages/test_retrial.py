"""Doubtful labels before a model that has not seen their suspects."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from elixir.errors import ElixirError
from elixir.run.run import Run
from elixir.stages.retrial import RetrialStage

COUNT = 120
FOREIGN = 40


class Court(Run):
    """Two classes; the model denies the label of every image with a bright first pixel."""

    trained: np.ndarray | None = None

    def train(
        self,
        name: str,
        read: Any,
        rows: np.ndarray,
        labels: np.ndarray,
        settings: Any,
        initial: str | None = None,
        classes: list[str] | None = None,
    ) -> None:
        assert name == "retrial"
        self.trained = rows

    def classify(self, name: str, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        assert name == "retrial"
        denied = images[:, 0, 0, 0] > 128
        probability = torch.where(denied, 0.01, 0.9)[:, None].expand(-1, 2)
        return probability.log().numpy(), np.zeros((len(images), 1))


def judged(folder: Path, *, poisoned: bool, score: float, attacked: tuple[int, ...] = (), usual: float = 0.0) -> Court:
    """A run after the retrial; the last samples of the second class lie apart and half of them are suspected.

    Args:
        folder: of the run.
        poisoned: whether the model denies them their label.
        score: of the second class by the target stage.
        attacked: labels that the target stage has found already.
        usual: share of all samples that the cross-fitted models deny their label.
    """
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], COUNT)
    apart = np.arange(2 * COUNT) >= 2 * COUNT - FOREIGN
    features = rng.normal(0, 1, (2 * COUNT, 8)) + np.where(apart[:, None], [6, *[0] * 7], [0, 6, *[0] * 6])
    suspicion = np.where(apart & (np.arange(2 * COUNT) % 2 == 0), 0.9, 0.001)
    source: Any = SimpleNamespace(
        classes=["first", "second"],
        samples=[SimpleNamespace(label=int(label), id=str(row)) for row, label in enumerate(labels)],
    )
    targets = [{"label": label, "witness": "trigger"} for label in attacked]
    run = Court(folder, source, findings={"working_size": 8, "targets": targets, "scores": {"second": score}})
    run.write_part("index", 0, np.arange(2 * COUNT), {"readable": np.ones(2 * COUNT, bool)})
    run.write_part("reference", 0, np.arange(2 * COUNT), {"features": features.astype(np.float32)})
    run.write_part("target", 0, np.arange(2 * COUNT), {"suspicion": suspicion.astype(np.float32)})
    logp = np.log(np.where(np.arange(2 * COUNT) % 100 < 100 * usual, 0.01, 0.9))
    run.write_part("crossfit", 0, np.arange(2 * COUNT), {"logp": logp.astype(np.float16)})
    images = np.where((apart & poisoned)[:, None, None, None], 200, 50)
    run.pixels.append(0, np.broadcast_to(images, (2 * COUNT, 3, 8, 8)).astype(np.uint8))
    run.started("retrial")
    run.write_part("retrial", 0, np.arange(2 * COUNT), RetrialStage().reduce(run))
    return run


def test_a_group_that_is_denied_its_label_is_convicted_as_a_whole(tmp_path: Path):
    run = judged(tmp_path, poisoned=True, score=0.15)
    (target,) = run.findings["targets"]
    assert (target["name"], target["witness"], target["suspects"]) == ("second", "retrial", FOREIGN)
    assert target["confidence"] == pytest.approx(0.05 ** (1 / FOREIGN), abs=1e-4)  # all of 40 are denied: at least 93 %
    assert target["evidence"]["denied"] == 1
    assert target["evidence"]["share"] == pytest.approx(FOREIGN / COUNT, abs=1e-4)
    assert (np.flatnonzero(run.column("retrial", "suspicion") > 0.5) == np.arange(2 * COUNT - FOREIGN, 2 * COUNT)).all()
    assert run.trained is not None
    assert run.trained.tolist() == list(range(2 * COUNT - FOREIGN))  # nothing of the group has been seen


def test_benign_samples_that_are_only_hard_go_free(tmp_path: Path):
    run = judged(tmp_path, poisoned=False, score=0.15)
    assert run.findings["targets"] == []
    assert run.findings["retried"] == {"second": 0}
    assert run.trained is not None
    assert (run.column("retrial", "suspicion") == run.column("target", "suspicion")).all()


def test_models_that_deny_every_label_convict_nobody(tmp_path: Path):
    run = judged(tmp_path, poisoned=True, score=0.15, usual=0.5)
    assert run.findings["targets"] == []
    assert run.findings["retried"]["second"] == pytest.approx(0.05 ** (1 / FOREIGN) - 0.5, abs=0.01)


@pytest.mark.parametrize(("score", "attacked"), [(0.05, ()), (0.15, (1,)), (0.4, (1,))])
def test_nothing_is_trained_without_doubt(tmp_path: Path, score: float, attacked: tuple[int, ...]):
    run = judged(tmp_path, poisoned=True, score=score, attacked=attacked)
    assert run.trained is None
    assert [target["witness"] for target in run.findings["targets"]] == ["trigger"] * len(attacked)


@pytest.mark.parametrize("settings", [{"doubt": 0}, {"conviction": 1.0}, {"smallest": 0}])
def test_senseless_settings_are_refused(settings: dict[str, float]):
    with pytest.raises(ElixirError, match=f"retrial.{next(iter(settings))}"):
        RetrialStage(**settings).check()  # type: ignore[arg-type]
