"""SELECT: the place in the sorted list of candidates."""

import numpy as np

from elixir.stages.paper.candidates import select


def test_place_in_the_list_that_begins_with_the_raw_image() -> None:
    distance = np.array([0.4, 0.1, 0.3, 0.2])  # sorted with the raw image: raw, 1, 3, 2, 0
    assert select(distance, 0.8) == 0  # int(0.8 * 5) = 4
    assert select(distance, 0.79) == 2
    assert select(distance, 0.2) == 1
    assert select(distance, 0) == 1  # never the raw image itself
    assert select(distance, 1) == 0
    assert select(np.arange(50) / 50, 0.8) == 39  # int(0.8 * 51) = 40
    assert select(np.array([0.5]), 0.8) == 0
