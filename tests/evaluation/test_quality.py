"""Visibility and repair against values computed by hand and by scikit-image."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from small_world import png

from elixir.data.open import open_source
from elixir.data.source import Source
from elixir.evaluation.quality import repair_quality, trigger_quality


@pytest.fixture
def worlds(tmp_path: Path) -> dict[str, Path]:
    """Three images of 16x16; the first is poisoned by +30 and repaired to +10, the second changed by +2, wrongly."""
    pixels = np.random.default_rng(0).integers(40, 200, (3, 16, 16, 3), np.uint8)
    changes = {"before": (0, 0, 0), "poisoned": (30, 0, 0), "clean": (10, 2, 0)}
    for name, added in changes.items():
        for index, (image, change) in enumerate(zip(pixels, added, strict=True)):
            path = tmp_path / name / "ab"[name == "poisoned" and index == 0] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(image + np.uint8(change)))
    return {name: tmp_path / name for name in changes}


def opened(worlds: dict[str, Path], name: str) -> Source:
    return open_source(f"folder:{worlds[name]}")


TRUTH = pa.table(
    {
        "id": ["a/0.png", "a/1.png", "a/2.png"],
        "output": ["b/0.png", "a/1.png", "a/2.png"],
        "truth": ["poisoned", "clean", "clean"],
    }
)
MANIFEST = pa.table(
    {
        "id": ["a/1.png", "a/2.png", "b/0.png"],
        "action": ["purified", "kept", "relabelled"],
        "output": ["a/1.png", "a/2.png", "a/0.png"],
    }
)


def test_repair(worlds: dict[str, Path]):
    before, poisoned, clean = (opened(worlds, name) for name in ("before", "poisoned", "clean"))
    repair = repair_quality(before, poisoned, clean, MANIFEST, TRUTH)
    assert repair["repaired"] == repair["collateral"] == 1
    assert repair["trigger_residual"] == pytest.approx(1 / 3)
    assert repair["collateral_psnr"] == pytest.approx(20 * np.log10(255 / 2))


def test_residuals_have_a_mean_and_a_median(worlds: dict[str, Path]):
    truth, manifest = TRUTH.to_pylist(), MANIFEST.to_pylist()
    for number in (3, 4):  # without a change in the repaired image, so that residuals are 1/3, 0 and 0
        for name, added in (("before", 0), ("poisoned", 30), ("clean", 0)):
            (worlds[name] / "a" / f"{number}.png").write_bytes(png(np.full((16, 16, 3), 50 + added, np.uint8)))
        truth.append({"id": f"a/{number}.png", "output": f"a/{number}.png", "truth": "poisoned"})
        manifest.append({"id": f"a/{number}.png", "action": "purified", "output": f"a/{number}.png"})
    before, poisoned, clean = (opened(worlds, name) for name in ("before", "poisoned", "clean"))
    repair = repair_quality(before, poisoned, clean, pa.Table.from_pylist(manifest), pa.Table.from_pylist(truth))
    assert repair["trigger_residual"] == pytest.approx(1 / 9)
    assert repair["trigger_residual_median"] == 0


def test_without_repaired_images_there_is_no_residual(worlds: dict[str, Path]):
    before, poisoned, clean = (opened(worlds, name) for name in ("before", "poisoned", "clean"))
    repair = repair_quality(before, poisoned, clean, MANIFEST.slice(0, 2), TRUTH)
    assert (repair["repaired"], repair["trigger_residual"], repair["trigger_residual_median"]) == (0, None, None)


def test_an_image_that_the_trigger_left_as_it_was_says_nothing(worlds: dict[str, Path]):
    poisoned = worlds["poisoned"] / "b" / "0.png"
    poisoned.write_bytes((worlds["before"] / "a" / "0.png").read_bytes())
    before, after, clean = (opened(worlds, name) for name in ("before", "poisoned", "clean"))
    repair = repair_quality(before, after, clean, MANIFEST, TRUTH)
    assert (repair["repaired"], repair["trigger_residual"]) == (1, None)
    assert trigger_quality(before, after, TRUTH) == {}


def test_trigger(worlds: dict[str, Path]):
    found = trigger_quality(opened(worlds, "before"), opened(worlds, "poisoned"), TRUTH)
    assert (found["images"], found["peak"]) == (1, 30)
    image = np.random.default_rng(0).integers(40, 200, (3, 16, 16, 3), np.uint8)[0]
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(image, image + np.uint8(30)))
    expected = structural_similarity(
        image, image + np.uint8(30), channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert found["ssim"] == pytest.approx(expected, abs=2e-3)
    assert trigger_quality(opened(worlds, "before"), opened(worlds, "before"), TRUTH.slice(1)) == {}
