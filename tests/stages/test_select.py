"""Which picture takes the place of a poisoned one."""

import numpy as np

from elixir.stages.select import nearest_free, tiles_to_repaint


def test_the_nearest_picture_without_trigger_is_kept():
    distance = np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.1, 0.2, 0.3]])
    free = np.array([[False, True, True], [True, True, True], [False, False, False]])
    seen = np.array([[-1.0, -2, -3], [-1.0, -2, -3], [-1.0, -5, -3]])
    assert nearest_free(distance, free, seen).tolist() == [1, 2, 1]


def test_tiles_are_repainted_where_most_samples_of_the_label_hang_on_one():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    by_tile = np.array([True, True, True, False, True, False, False, True])
    tiles = np.array([15, 15, 3, 7, 2, 2, 2, 9])
    assert tiles_to_repaint(labels, by_tile, tiles).tolist() == [15, 15, 3, 15, -1, -1, -1, 9]
