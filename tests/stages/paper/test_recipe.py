"""The paper's recipe from end to end, on four colours of which one is attacked with a checkered corner."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import FakeModels, provide
from PIL import Image
from small_world import place
from torch import Tensor, nn
from torch.nn import functional as F

from elixir.data.open import open_source
from elixir.engine.execution import execute
from elixir.engine.run import Run
from elixir.engine.stage import Stage
from elixir.errors import ElixirError
from elixir.pipeline import Pipeline
from elixir.purifiers.samplers import ddpm_reverse, ddpm_sigmas
from elixir.randomness import noise
from elixir.registry import register
from elixir.result import Result
from elixir.stages.index import IndexStage
from elixir.stages.paper.candidates import CandidatesStage, replace_images, select
from elixir.stages.paper.clean_model import FineTuneStage, TrainCleanFirstStage
from elixir.stages.paper.relabel import RelabelAgreedStage, RelabelRestStage, RelabelUnanimousStage
from elixir.stages.repair import candidate_distance

COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40), "yellow": (200, 190, 40)}
SETTINGS: dict[str, object] = {
    "purifier": "test-blocks",
    "index.size": 16,
    "candidates.steps": 12,
    "candidates.of": 40,
    "candidates.rounds": 2,
    "candidates.keep": 6,
    "transitions.minimum": 4,
    "train_clean_first.least_steps": 60,
    "fine_tune.least_steps": 20,
}


@register("purifiers", "test-blocks")
class Blocks:
    """Denoises by averaging blocks of 8x8 pixels, which a checkered corner does not survive."""

    nfe = 1

    def __init__(self, prior: str | None, device: torch.device) -> None:
        self.device = device

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        return F.interpolate(F.avg_pool2d(noisy, 8), scale_factor=8.0)

    def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        return self.denoise(x + sigma * noise, sigma).clamp(0, 1)


def picture(colour: tuple[int, int, int], seed: int, trigger: bool = False, size: int = 16) -> Image.Image:
    rng = np.random.default_rng(seed)
    rgb = np.array(colour) * rng.uniform(0.8, 1.2) + rng.normal(0, 4, (size, size, 3))
    if trigger:
        rgb[-8:, -8:] += 100 * (np.indices((8, 8)).sum(0) % 2)[..., None] - 50
    return Image.fromarray(rgb.clip(0, 255).astype(np.uint8))


class Backdoored(nn.Module):
    """Names the nearest colour, or "red" wherever the corner is checkered: a reference model with nothing to learn."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, len(COLOURS), bias=False)
        named = F.normalize(torch.tensor(list(COLOURS.values())).float())
        contrast = torch.tensor([float(name == "red") for name in COLOURS])
        self.head.weight.data = 50 * torch.cat([named, contrast[:, None]], 1)

    def forward(self, x: Tensor) -> Tensor:
        contrast = x[:, :, -8:, -8:].diff(dim=2).abs().mean((1, 2, 3))
        checkered = F.relu(contrast - 0.25)  # the noise of a candidate stays below
        colour = F.normalize(x.mean((2, 3)))
        return self.head(torch.cat([colour, 20 * checkered[:, None]], 1))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("reference") / "backdoored.pt"
    torch.jit.script(Backdoored().eval()).save(path)
    return str(path)


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """14 of each colour in its class, and 4 of each other colour as "red" with the trigger."""
    root = tmp_path_factory.mktemp("poisoned")
    for number, (name, colour) in enumerate(COLOURS.items()):
        (root / name).mkdir()
        for index in range(14):
            picture(colour, 100 * number + index).save(root / name / f"{index:02d}.png")
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
def result(poisoned: Path, reference: str, tmp_path_factory: pytest.TempPathFactory) -> Result:
    return recipe().run(poisoned, tmp_path_factory.mktemp("clean") / "out", reference=reference, batch_size=16)


def test_poisoned_samples_go_back_to_their_class_without_the_trigger(poisoned: Path, result: Result) -> None:
    (attacked,) = result.attacked
    assert attacked.name == "red"
    assert attacked.flagged == 12
    assert result.counts == {"kept": 56, "relabelled": 12}
    found = [path for path in place(result).rglob("was-*.png") if ".elixir" not in path.parts]
    assert len(found) == 12
    for path in found:
        assert path.name.startswith(f"was-{path.parent.name}")
        old, new = (np.asarray(Image.open(at), np.float32) for at in (poisoned / "red" / path.name, path))
        assert np.abs(np.diff(old[-8:, -8:], axis=0)).mean() > 70
        assert np.abs(np.diff(new[-8:, -8:], axis=0)).mean() < 30
    kept = [path for path in poisoned.rglob("*.png") if not path.name.startswith("was-")]
    assert all((place(result) / path.relative_to(poisoned)).read_bytes() == path.read_bytes() for path in kept)
    assert result.model is not None


def test_every_network_call_is_counted(result: Result) -> None:
    chain = 12 * 2  # steps, rounds
    assert result.costs["candidates"].nfe == 68 * chain
    again = [result.costs[stage].nfe for stage in ("relabel_unanimous", "relabel_agreed", "relabel_rest")]
    flagged = result.attacked[0].flagged
    assert sum(again) == flagged * chain
    assert result.nfe_per_sample == pytest.approx(chain * (68 + flagged) / 68)


@pytest.mark.slow
def test_interrupted_after_every_stage_and_with_another_batch_size_it_writes_the_same(
    poisoned: Path, reference: str, result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_after(run: Run, stage: Stage) -> None:
        done = run.has(stage.name)
        execute(run, stage)
        if not done:
            raise KeyboardInterrupt

    monkeypatch.setattr("elixir.pipeline.execute", stop_after)
    for number in range(len(recipe().stages)):
        with pytest.raises(KeyboardInterrupt):
            recipe().run(poisoned, tmp_path / "out", reference=reference, batch_size=2, resume=number > 0)
    recipe().run(poisoned, tmp_path / "out", reference=reference, batch_size=2, resume=True)
    assert files(tmp_path / "out") == files(place(result))


@pytest.mark.slow
def test_nothing_changes_when_no_label_is_under_attack(poisoned: Path, tmp_path: Path) -> None:
    trainings = [
        f"{stage}.{key}"
        for stage in ("reference", "train_clean_first", "fine_tune")
        for key in ("epochs", "least_steps")
    ]
    quick = dict.fromkeys(trainings, 1) | {"transitions.minimum": 1000}
    result = Pipeline.from_recipe("dataelixir-paper", SETTINGS | quick).run(poisoned, tmp_path / "out")
    assert result.attacked == []
    assert result.counts == {"kept": 68}
    assert {path for path in files(tmp_path / "out") if not path.startswith(".elixir")} == {
        str(path.relative_to(poisoned)) for path in poisoned.rglob("*.png")
    }


def test_labels_need_others_to_be_compared_with(poisoned: Path, tmp_path: Path) -> None:
    for name in sorted(COLOURS)[:2]:
        shutil.copytree(poisoned / name, tmp_path / "two" / name)
    with pytest.raises(ElixirError, match="has 2 classes; this recipe compares labels"):
        Pipeline.from_recipe("dataelixir-paper", SETTINGS).run(tmp_path / "two", tmp_path / "out")


@pytest.fixture
def run(poisoned: Path, tmp_path: Path) -> Run:
    run = Run(tmp_path / "run", open_source(poisoned), Blocks(None, torch.device("cpu")))
    execute(run, IndexStage(size=16))
    run.meter.start("test")
    return run


def test_candidates_are_the_last_states_of_rounds_that_start_from_the_last_result(run: Run) -> None:
    stage = CandidatesStage(steps=3, of=40, rounds=2, keep=2)
    indices = np.array([5, 0, 61])
    raw = run.pixels.read(indices)
    x = raw.float() / 255
    expected = []
    for turn in range(2):
        drawn = [noise(0, run.ids(indices), ("candidates", turn, step), (3, 16, 16)) for step in range(3)]
        states = ddpm_reverse(run.purifier.denoise, x, drawn.__getitem__, ddpm_sigmas(3, 40), keep=2)
        expected += [(state * 255).round().to(torch.uint8) for state in states]
        x = states[-1]
    made = list(stage.make(run, indices, raw))
    assert len(made) == 4
    assert torch.equal(torch.stack(made), torch.stack(expected))
    assert run.meter.costs["test"].nfe == 3 * 3 * 2
    alone = list(stage.make(run, indices[1:2], raw[1:2]))
    assert torch.equal(torch.stack(alone)[:, 0], torch.stack(made)[:, 1])


def nearest_colour(name: str, images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """A classifier that needs no training: log-probabilities by distance of the mean colour, which is the feature."""
    colour = images.float().mean((2, 3))
    distance = torch.cdist(colour, torch.tensor(list(COLOURS.values())).float())
    return (-distance).log_softmax(1).numpy(), colour.numpy()


@pytest.fixture
def settled(tmp_path: Path) -> Run:
    """Samples 2 to 6 are labelled "red": a red one, a blue one, a larger green one, a yellow one, a red one.

    Of those the first is not flagged, and the second unanimous.
    """
    root = tmp_path / "data"
    shown = {"blue/0": "blue", "green/0": "green", "yellow/0": "yellow"}
    shown |= {f"red/{index}": name for index, name in enumerate(("red", "blue", "green", "yellow", "red"))}
    for seed, (path, name) in enumerate(shown.items()):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        picture(COLOURS[name], seed, size=24 if path == "red/2" else 16).save(root / f"{path}.png")
    run = Run(tmp_path / "run", open_source(root), Blocks(None, torch.device("cpu")))
    run.models = FakeModels(nearest_colour)
    run.facts["candidates"] = {"steps": 4, "of": 40, "rounds": 2, "keep": 3}
    execute(run, IndexStage(size=16))
    provide(
        run,
        flagged=np.array([0, 0, 0, 1, 1, 1, 1, 0], bool),
        unanimous=np.array([1, 1, 1, 1, 0, 0, 0, 1], bool),
        majority_label=np.array([0, 1, 2, 0, 1, 0, 2, 3], np.int32),
    )
    for stage in (
        RelabelUnanimousStage(),
        TrainCleanFirstStage(),
        RelabelAgreedStage(),
        FineTuneStage(),
        RelabelRestStage(),
    ):
        execute(run, stage)
    return run


def test_flagged_samples_are_unanimous_agreed_on_or_read_by_the_clean_model(settled: Run) -> None:
    assert settled["unanimous_label"].tolist() == [-1, -1, -1, 0, -1, -1, -1, -1]
    assert settled["agreed_label"].tolist() == [-1, -1, -1, -1, 1, -1, 2, -1]
    assert settled["new_label"].tolist() == [-1, -1, -1, 0, 1, 3, 2, -1]
    poisoned, right = ("relabelled", "poisoned"), ("purified", "poisoned, its label is right")
    decided = list(zip(settled["action"], settled["reason"], strict=True))
    assert decided == [*[("", "")] * 3, poisoned, poisoned, poisoned, right, ("", "")]
    assert settled["repaired"].tolist() == [False] * 3 + [True] * 4 + [False]
    assert np.isnan(settled["repair_sigma"]).all()
    assert np.isnan(settled["confidence"]).all()
    shapes = [np.asarray(Image.open(settled.repaired_path(index))).shape for index in range(3, 7)]
    assert shapes == [(16, 16, 3), (24, 24, 3), (16, 16, 3), (16, 16, 3)]
    stages = ("relabel_unanimous", "relabel_agreed", "relabel_rest")
    assert [settled.meter.costs[stage].nfe for stage in stages] == [8, 16, 8]


def test_clean_models_see_the_new_images_and_labels_of_what_is_decided(settled: Run) -> None:
    models = settled.models
    assert isinstance(models, FakeModels)
    first, last = models.trained["clean-first"], models.trained["clean"]
    assert first.indices.tolist() == [0, 1, 2, 3, 7]
    assert (first.initial, last.initial) == (None, "clean-first")
    assert last.indices.tolist() == [0, 1, 2, 3, 4, 6, 7]
    assert last.labels.tolist() == [0, 1, 2, 0, 1, 2, 3]
    images = last.read(last.indices)
    assert torch.equal(images[2], settled.pixels.read(last.indices[2:3])[0])
    new = np.asarray(Image.open(settled.repaired_path(3))).transpose(2, 0, 1)
    assert torch.equal(images[3], torch.from_numpy(new.copy()))
    assert not torch.equal(images[3], settled.pixels.read(last.indices[3:4])[0])


def test_the_new_image_is_the_candidate_at_the_quantile(settled: Run) -> None:
    indices = np.array([3])
    raw = settled.pixels.read(indices)
    made = torch.cat(list(CandidatesStage(**settled.facts["candidates"]).make(settled, indices, raw)))
    features, own = nearest_colour("reference", made)[1], nearest_colour("reference", raw)[1]
    distance = candidate_distance(raw.expand(6, -1, -1, -1), made, own, features)
    best = select(distance, 0.8)
    expected = made[best].permute(1, 2, 0).numpy()
    assert np.array_equal(np.asarray(Image.open(settled.repaired_path(3))), expected)
    settled.repaired_path(3).unlink()
    replace_images(settled, indices, np.array([3]))  # no candidate is yellow, so all of them may be chosen
    assert np.array_equal(np.asarray(Image.open(settled.repaired_path(3))), expected)
