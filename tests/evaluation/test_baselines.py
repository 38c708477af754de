"""Baselines: what they remove."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from elixir.data.open import open_source
from elixir.evaluation import baselines
from elixir.evaluation.baselines import Case
from elixir.training.classifier import ClassifierTraining

CPU = torch.device("cpu")


def test_spectral_signatures_are_those_of_the_paper(monkeypatch):
    rng = np.random.default_rng(0)
    features = rng.normal(5, 1, (200, 8))
    labels = np.repeat([0, 1], 100)
    features[:10, 3] += 20
    truth = np.where(np.arange(200) < 10, "poisoned", "clean").astype(object)
    monkeypatch.setattr(baselines, "_features", lambda case, model: (features.copy(), labels))
    removed = baselines.spectral_signatures(Case("", None, truth, Path(), Path(), 0, CPU, True))  # type: ignore[arg-type]
    expected = np.zeros(200, bool)
    for label in (0, 1):
        of_class = np.flatnonzero(labels == label)
        centred = features[of_class] - features[of_class].mean(0)
        score = np.abs(centred @ np.linalg.svd(centred)[2][0])
        expected[of_class[score >= np.quantile(score, 1 - 1.5 * 0.05)]] = True
    assert np.array_equal(removed, expected)
    assert removed[:10].sum() >= 7


def test_spectral_signatures_leave_what_they_cannot_judge(monkeypatch: pytest.MonkeyPatch):
    """Nothing of a set without poison, and nothing of classes with one or two images."""
    labels = np.repeat([0, 1, 2, 3], [50, 2, 1, 50])
    features = np.random.default_rng(0).normal(5, 1, (103, 8))
    monkeypatch.setattr(baselines, "_features", lambda case, model: (features.copy(), labels))
    for poisoned in (0, 5):
        truth = np.where(np.arange(103) < poisoned, "poisoned", "clean").astype(object)
        removed = baselines.spectral_signatures(Case("", None, truth, Path(), Path(), 0, CPU, True))  # type: ignore[arg-type]
        assert removed.any() == (poisoned > 0)
        assert not removed[50:53].any()


def test_activation_clustering_depends_on_its_seed_alone(monkeypatch: pytest.MonkeyPatch):
    features = np.random.default_rng(0).normal(0, 1, (600, 64))  # no clusters, so that the start decides
    monkeypatch.setattr(baselines, "_features", lambda case, model: (features.copy(), np.repeat([0, 1], 300)))

    def removed(seed: int) -> np.ndarray:
        return baselines.activation_clustering(Case("", None, None, Path(), Path(), seed, CPU, True))  # type: ignore[arg-type]

    first = removed(0)
    np.random.random(7)  # noqa: NPY002
    assert np.array_equal(removed(0), first)
    assert any(not np.array_equal(removed(seed), first) for seed in (1, 2, 3))


def test_activation_clustering_leaves_small_classes_alone(monkeypatch: pytest.MonkeyPatch):
    """Class 1 has no image, class 2 five; 12 of class 0 and of class 3 lie apart from the others."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 2, 3], [40, 5, 40])
    apart = np.zeros(85, bool)
    apart[[*range(12), *range(45, 57)]] = True
    features = rng.normal(0, 1, (85, 16)) + 30 * apart[:, None]
    monkeypatch.setattr(baselines, "_features", lambda case, model: (features, labels))
    case: Any = Case("", None, None, Path(), Path(), 0, CPU, True)  # type: ignore[arg-type]
    assert np.array_equal(baselines.activation_clustering(case), apart)
    monkeypatch.setattr(baselines, "_features", lambda case, model: (features[40:45], labels[40:45]))
    assert not baselines.activation_clustering(case).any()


def coloured(folder: Path, each: int, wrong: int) -> Case:
    """Images of red, green and blue noise in folders of their names, of each the first `wrong` in that of the next."""
    names, rng = ("red", "green", "blue"), np.random.default_rng(0)
    for channel in range(3):
        for number in range(each):
            pixels = rng.integers(0, 100, (8, 8, 3))
            pixels[..., channel] += 100
            name = names[(channel + (number < wrong)) % 3]
            (folder / "set" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "set" / name / f"{names[channel]}-{number:02d}.png")
    source = open_source(folder / "set")
    return Case("", source, np.full(3 * each, "clean", object), Path(), folder, 0, CPU, True)


def misplaced(case: Case) -> list[bool]:
    """Which files lie in the folder of another colour."""
    return [Path(sample.id).name.split("-")[0] != Path(sample.id).parent.name for sample in case.source.samples]


def test_neighbours_outvote_a_wrong_label(tmp_path: Path):
    case = coloured(tmp_path, 20, 2)
    assert baselines.nearest_neighbours(case).tolist() == misplaced(case)


def test_cleanlab_finds_labels_that_held_out_classifiers_do_not_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = ClassifierTraining(epochs=1, least_steps=40, backbone="none", widths=(8, 8))
    monkeypatch.setattr(baselines, "FRESH", settings)
    case = coloured(tmp_path, 40, 4)
    removed, wrong = baselines.cleanlab(case), np.array(misplaced(case))
    assert removed[wrong].sum() >= 11
    assert removed[~wrong].sum() <= 3


def test_cleanlab_is_not_asked_about_classes_too_small_to_divide(tmp_path: Path):
    assert not baselines.cleanlab(coloured(tmp_path, 4, 0)).any()
