"""Every attack on arrays: golden values and what holds for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from elixir.attacks.badnets import BadNets
from elixir.attacks.base import Attack
from elixir.attacks.blended import Blended
from elixir.errors import ElixirError
from elixir.registry import find, names

RAMP = (np.arange(32 * 32 * 3) % 256).reshape(1, 32, 32, 3).astype(np.uint8)
VARIANTS = [BadNets(pattern="white"), BadNets(), Blended(), Blended(picture="figure", alpha=0.1, truncate=True)]
images = arrays(
    np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2, 3, 4]))
)


@dataclass(frozen=True, kw_only=True)
class BlendedRamp(Blended):
    """The golden value's trigger: 8 times the column, in single precision."""

    def trigger(self, height: int, width: int, channels: int) -> NDArray[np.floating]:
        return np.broadcast_to(8 * np.arange(width, dtype=np.float32)[:, None], (height, width, channels))


@pytest.mark.parametrize(
    ("attack", "digest", "total"),
    [
        (BadNets(pattern="white"), "8528acddc9367bc0", 394380),
        (BadNets(pattern="dataelixir"), "5680665b266d4888", 393022),
        (BlendedRamp(truncate=True), "fc53684f0fc26ace", 388212),
    ],
    ids=["badnets-white", "badnets-dataelixir", "blended"],
)
def test_golden_values(attack, digest, total):
    poisoned = attack.poison(RAMP, ["ramp"])
    assert (sha256(poisoned.tobytes()).hexdigest()[:16], int(poisoned.sum())) == (digest, total)


def test_rounding_is_within_one_level_of_truncating():
    rounded, truncated = (BlendedRamp(truncate=cut).poison(RAMP, ["ramp"]).astype(int) for cut in (False, True))
    assert set(np.unique(rounded - truncated)) == {0, 1}


def test_badnets_patches_have_their_size_at_any_resolution():
    for size in (32, 224):
        for attack, pixels in ((BadNets(pattern="white"), 9), (BadNets(), 16)):
            image = np.full((1, size, size, 3), 100, np.uint8)
            changed = (attack.poison(image, ["a"]) != image).any(-1)[0]
            assert changed.sum() == pixels
            assert changed[-int(pixels**0.5) :, -int(pixels**0.5) :].all()


def test_badnets_grey_patch():
    corner = BadNets().poison(np.full((1, 8, 8, 1), 9, np.uint8), ["a"])[0, -4:, -4:, 0]
    assert corner[::2, ::2].tolist() == [[226, 105], [179, 122]]


def test_blended_covers_the_whole_image_with_the_same_picture():
    small, large = (Blended(picture="figure").trigger(size, size, 3) for size in (32, 128))
    shrunk = large.reshape(32, 4, 32, 4, 3).mean((1, 3))
    assert np.abs(shrunk - small).mean() < 8
    assert not np.array_equal(small, Blended(picture="figure", seed=1).trigger(32, 32, 3))


def test_blended_is_the_mean_it_says():
    poisoned = Blended(alpha=0.2).poison(np.zeros((1, 32, 32, 3), np.uint8), ["a"])
    assert np.abs(poisoned - 0.2 * Blended().trigger(32, 32, 3)).max() <= 0.5


@pytest.mark.parametrize("attack", VARIANTS, ids=repr)
@settings(max_examples=25, deadline=None)
@given(batch=images)
def test_what_holds_for_every_attack(attack: Attack, batch):
    before, ids = batch.copy(), [str(i) for i in range(len(batch))]
    poisoned = attack.poison(batch, ids)
    assert (poisoned.shape, poisoned.dtype) == (batch.shape, np.uint8)
    assert np.array_equal(batch, before), "the input is left alone"
    assert np.array_equal(poisoned, type(attack)(**attack.settings()).poison(batch, ids)), "same settings, same bytes"
    singly = [attack.poison(batch[i : i + 1], ids[i : i + 1])[0] for i in range(len(batch))]
    assert np.array_equal(poisoned, singly), "the batch does not matter"


def test_attacks_are_found_by_name():
    assert {"badnets", "blended"} <= set(names("attacks"))
    for name in ("badnets", "blended"):
        assert find("attacks", name).name == name


@pytest.mark.parametrize(
    ("attack", "wrong", "words"),
    [
        (BadNets, {"patern": "white"}, "did you mean 'pattern'"),
        (BadNets, {"pattern": "black"}, "known: dataelixir, white"),
        (Blended, {"seed": -1}, "seed is -1"),
        (BadNets, {"truncate": "yes"}, "truncate is 'yes'"),
        (Blended, {"alpha": 0}, "alpha is 0"),
        (Blended, {"alpha": "much"}, "alpha is 'much'"),
        (Blended, {"picture": "kitty"}, "known: noise, figure"),
    ],
)
def test_wrong_settings_say_what_is_right(attack, wrong, words):
    with pytest.raises(ElixirError, match=words):
        attack.configure(wrong)
