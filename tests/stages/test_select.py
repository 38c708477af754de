"""Which picture takes the place of a poisoned one."""

import numpy as np

from elixir.stages.select import nearest_free


def test_the_nearest_picture_without_trigger_is_kept():
    distance = np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.1, 0.2, 0.3]])
    free = np.array([[False, True, True], [True, True, True], [False, False, False]])
    seen = np.array([[-1.0, -2, -3], [-1.0, -2, -3], [-1.0, -5, -3]])
    assert nearest_free(distance, free, seen).tolist() == [1, 2, 1]
