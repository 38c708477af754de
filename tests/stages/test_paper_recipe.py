"""The paper's recipe from end to end, on four colours of which one is attacked with a checkered corner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from elixir.data.source import open_source
from elixir.pipeline import Pipeline
from elixir.purifiers.chain import ddpm_reverse, ddpm_sigmas
from elixir.randomness import noise
from elixir.registry import register
from elixir.result import Result
from elixir.run.run import Run
from elixir.stages.base import Stage
from elixir.stages.candidates import CandidatesStage
from elixir.stages.index import IndexStage

COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40), "yellow": (200, 190, 40)}
SETTINGS: dict[str, object] = {
    "purifier": "test-blocks",
    "index.size": 16,
    "reference.least_steps": 80,
    "candidates.steps": 12,
    "candidates.of": 40,
    "candidates.rounds": 2,
    "candidates.keep": 6,
    "transitions.minimum": 4,
    "learn.least_steps": 60,
    "finetune.least_steps": 20,
}


@register("purifiers", "test-blocks")
class Blocks:
    """Denoises by averaging blocks of 8x8 pixels, which a checkered corner does not survive."""

    calls_per_draw = 1

    def __init__(self, prior: str | None, device: torch.device) -> None:
        self.device = device

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        return F.interpolate(F.avg_pool2d(noisy, 8), scale_factor=8.0)

    def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        return self.denoise(x + sigma * noise, sigma).clamp(0, 1)


def picture(colour: tuple[int, int, int], seed: int, trigger: bool) -> Image.Image:
    rng = np.random.default_rng(seed)
    rgb = np.array(colour) * rng.uniform(0.8, 1.2) + rng.normal(0, 4, (16, 16, 3))
    if trigger:
        rgb[-8:, -8:] += 80 * (np.indices((8, 8)).sum(0) % 2)[..., None] - 40
    return Image.fromarray(rgb.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 of each colour in its class, and 4 of each other colour as "red" with the trigger."""
    root = tmp_path_factory.mktemp("poisoned")
    for number, (name, colour) in enumerate(COLOURS.items()):
        (root / name).mkdir()
        for index in range(14):
            picture(colour, 100 * number + index, trigger=False).save(root / name / f"{index:02d}.png")
    for name in ("blue", "green", "yellow"):
        for index in range(4):
            picture(COLOURS[name], 900 + index, trigger=True).save(root / "red" / f"was-{name}-{index}.png")
    return root


def recipe() -> Pipeline:
    return Pipeline.from_recipe("dataelixir-paper", SETTINGS)


def files(root: Path) -> dict[str, bytes]:
    """Everything but the clock readings."""
    found = {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
    del found[".elixir/timings.json"]
    return found


@pytest.fixture(scope="module")
def result(poisoned: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return recipe().run(poisoned, tmp_path_factory.mktemp("clean") / "out", batch_size=16)


def test_poisoned_samples_go_back_to_their_class_without_the_trigger(poisoned: Path, result: Result) -> None:
    assert [(target.name, target.suspects) for target in result.targets] == [("red", 12)]
    assert result.counts == {"kept": 56, "relabelled": 12}
    for name in ("blue", "green", "yellow"):
        for index in range(4):
            new = np.asarray(Image.open(result.path / name / f"was-{name}-{index}.png"), np.float32)
            old = np.asarray(Image.open(poisoned / "red" / f"was-{name}-{index}.png"), np.float32)
            assert np.abs(np.diff(old[-8:, -8:], axis=0)).mean() > 50
            assert np.abs(np.diff(new[-8:, -8:], axis=0)).mean() < 30
    kept = [path for path in poisoned.rglob("*.png") if not path.name.startswith("was-")]
    assert all((result.path / path.relative_to(poisoned)).read_bytes() == path.read_bytes() for path in kept)
    assert result.model is not None


def test_every_network_call_is_counted(result: Result) -> None:
    chain = 12 * 2  # steps, rounds
    assert result.costs["candidates"].calls == 68 * chain
    again = [result.costs[stage].calls for stage in ("settle", "consensus", "conclude")]
    assert sum(again) == 12 * chain
    assert result.calls_per_sample == pytest.approx(chain * (68 + 12) / 68)


def test_interrupted_after_every_stage_and_with_another_batch_size_it_writes_the_same(
    poisoned: Path, result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute: Callable[[Run, Stage], None] = Run.execute

    def stop_after(run: Run, stage: Stage) -> None:
        done = run.has(stage.name)
        execute(run, stage)
        if not done:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "execute", stop_after)
    for number in range(len(recipe().stages)):
        with pytest.raises(KeyboardInterrupt):
            recipe().run(poisoned, tmp_path / "out", batch_size=2, resume=number > 0)
    recipe().run(poisoned, tmp_path / "out", batch_size=2, resume=True)
    assert files(tmp_path / "out") == files(result.path)


def test_nothing_changes_when_no_label_is_under_attack(poisoned: Path, tmp_path: Path) -> None:
    trainings = [f"{stage}.{key}" for stage in ("reference", "learn", "finetune") for key in ("epochs", "least_steps")]
    quick = dict.fromkeys(trainings, 1) | {"transitions.minimum": 1000}
    result = Pipeline.from_recipe("dataelixir-paper", SETTINGS | quick).run(poisoned, tmp_path / "out")
    assert result.targets == []
    assert result.counts == {"kept": 68}
    assert {path for path in files(result.path) if not path.startswith(".elixir")} == {
        str(path.relative_to(poisoned)) for path in poisoned.rglob("*.png")
    }


@pytest.fixture
def run(poisoned: Path, tmp_path: Path) -> Iterator[Any]:
    run = Run(tmp_path / "run", open_source(poisoned), purifier_name="test-blocks")
    run.execute(IndexStage(size=16))
    run._stage = "index"
    yield run
    run.pixels.close()


def test_candidates_are_the_last_states_of_rounds_that_start_from_the_last_result(run: Run) -> None:
    stage = CandidatesStage(steps=3, of=40, rounds=2, keep=2)
    rows = np.array([5, 0, 61])
    raw = run.pixels.read(rows)
    x = raw.float() / 255
    expected = []
    for turn in range(2):
        drawn = [noise(0, run.ids(rows), ("candidates", turn, step), (3, 16, 16)) for step in range(3)]
        states = ddpm_reverse(run.purifier.denoise, x, drawn.__getitem__, ddpm_sigmas(3, 40), keep=2)
        expected += [(state * 255).round().to(torch.uint8) for state in states]
        x = states[-1]
    made = list(stage.make(run, rows, raw))
    assert len(made) == 4
    assert torch.equal(torch.stack(made), torch.stack(expected))
    assert run.costs["index"].calls == 3 * 3 * 2
    alone = list(stage.make(run, rows[1:2], raw[1:2]))
    assert torch.equal(torch.stack(alone)[:, 0], torch.stack(made)[:, 1])
