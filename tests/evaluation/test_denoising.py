"""Distances of denoised images, where they are known."""

from pathlib import Path

import numpy as np
import pytest
from small_world import png

from elixir.data.open import open_source
from elixir.evaluation.denoising import compare_denoisers
from elixir.purifiers.classical import Identity


def test_distances_of_what_is_not_denoised(tmp_path: Path):
    """Grey images stay within [0,1], so that what is left is the noise itself."""
    for index in range(4):
        path = tmp_path / "grey" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(np.full((16, 16, 3), 127, np.uint8)))
    source = open_source(tmp_path, labelled=False)
    (found,) = compare_denoisers(
        source, Identity(), [], [0.1], 4, 0, quiet=True, perceptual=lambda a, b: (a - b).abs().amax((1, 2, 3))
    )
    assert found.distance == pytest.approx(0.1 * np.sqrt(3 * 16 * 16), rel=0.05)
    assert found.psnr == pytest.approx(20, abs=0.3)
    assert 0.3 < found.perceptual < 0.5
