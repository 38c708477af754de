"""P-values without a model of the scores: exact for samples of the same kind, whatever the scores are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir.detection.conformal import attainable_rate, p_values

SCORES = st.lists(st.integers(-5, 5), min_size=1, max_size=30)


@given(SCORES, SCORES, st.integers(1, 3), st.integers(0, 100))
def test_a_p_value_is_the_share_of_benign_samples_that_are_as_strange(
    new: list[int], benign: list[int], models: int, seed: int
):
    rng = np.random.default_rng(seed)
    fold = rng.integers(0, models, len(benign))
    scores = rng.integers(-5, 6, (len(new), models))
    stranger = [sum(b >= own[model] for b, model in zip(benign, fold, strict=True)) for own in scores]
    expected = (1 + np.array(stranger)) / (len(benign) + 1)
    np.testing.assert_array_equal(p_values(scores, np.array(benign), fold), expected)


@pytest.mark.parametrize("wanted", [0.001, 0.02, 0.1, 0.5])
@given(scores=st.lists(st.integers(-50, 50), min_size=2, max_size=60))
def test_among_samples_of_one_kind_no_more_are_named_than_was_stated(wanted: float, scores: list[int]):
    """Each takes the role of the new sample once, the others that of the benign ones."""
    every = np.array(scores, float)
    rate = attainable_rate(wanted, len(every) - 1)
    p = [p_values(every[[i], None], np.delete(every, i), np.zeros(len(every) - 1, int))[0] for i in range(len(every))]
    assert np.mean(np.array(p) <= rate) <= rate + 1e-12
    if len(set(scores)) == len(scores):
        assert sorted(p) == pytest.approx(np.arange(1, len(every) + 1) / len(every))


def test_few_samples_state_no_lower_rate_than_that_of_the_strangest_of_them():
    assert attainable_rate(0.001, 999) == 0.001
    assert attainable_rate(0.001, 99) == 0.01
    assert attainable_rate(0.001, 0) == 1.0
