from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir.attacks.poison import Plan
from elixir.errors import ElixirError

LABELS = np.repeat(np.arange(-1, 4), [5, 40, 30, 20, 10])


@given(seed=st.integers(0, 2**32), select=st.sampled_from(["any", "non_target", "target"]), target=st.integers(0, 3))
def test_a_draw_is_valid_and_repeatable(seed, select, target):
    plan = Plan(rate=0.08, select=select, seed=seed)
    chosen = plan.draw(LABELS, target)
    assert len(set(chosen.tolist())) == len(chosen) == 8
    assert (LABELS[chosen] >= 0).all()
    assert select == "any" or ((LABELS[chosen] == target) == (select == "target")).all()
    assert np.array_equal(chosen, plan.draw(LABELS, target))


def test_what_the_rate_is_of():
    assert len(Plan(rate=0.5, rate_of="class", select="target").draw(LABELS, 2)) == 10
    assert len(Plan(rate=0.5, rate_of="class", select="non_target").draw(LABELS, 2)) == 10
    assert len(Plan(rate=0.5, rate_of="dataset").draw(LABELS, 2)) == 50
    assert len(Plan(rate=0).draw(LABELS, 2)) == 0


def test_one_source_class():
    chosen = Plan(rate=0.1, select="source").draw(LABELS, 2, source=1)
    assert LABELS[chosen].tolist() == [1] * 10
    with pytest.raises(ElixirError, match="is 40, but select=source leaves only 30"):
        Plan(rate=0.4, select="source").draw(LABELS, 2, source=1)


def test_unusable_samples_are_replaced_and_the_others_stay():
    plain = Plan().draw(LABELS, 0)
    chosen = Plan().draw(LABELS, 0, usable=lambda index: index != plain[0])
    assert len(chosen) == len(plain)
    assert plain[0] not in chosen
    assert set(plain[1:]) < set(chosen)


def test_covers_are_other_samples():
    poisoned = Plan().draw(LABELS, 0)
    covers = Plan().draw_covers(LABELS, poisoned, 2, lambda index: index % 7 != 0)
    assert len(set(covers.tolist())) == len(covers) == 20
    assert not set(covers.tolist()) & set(poisoned.tolist())
    assert (LABELS[covers] >= 0).all()
    assert (covers % 7 != 0).all()
    assert len(Plan().draw_covers(LABELS, poisoned, 0, lambda _: True)) == 0
    assert set(LABELS[Plan().draw_covers(LABELS, poisoned, 2, lambda _: True, without=(0, 2))]) == {1, 3}
    with pytest.raises(ElixirError, match="10 poisoned samples take 100 cover samples, and only 90 are left"):
        Plan().draw_covers(LABELS, poisoned, 10, lambda _: True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rate": 0.001}, "less than one sample"),
        ({"rate": 0.9, "select": "target"}, "leaves only 10"),
        ({"rate": 1.5}, "at least 0 and at most 1"),
        ({"rate": float("nan")}, "at least 0 and at most 1"),
        ({"select": "all"}, "select = 'all' is none of any, non_target, target, source"),
        ({"rate_of": "half"}, "rate_of = 'half' is none of dataset, class"),
    ],
)
def test_impossible_plans(settings, words):
    with pytest.raises(ElixirError, match=words):
        Plan(**settings).draw(LABELS, 3)
