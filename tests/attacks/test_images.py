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
from scipy.fft import dctn
from scipy.ndimage import map_coordinates
from skimage.color import rgb2ycbcr

from elixir.attacks.adap_blend import AdapBlend
from elixir.attacks.adap_patch import AdapPatch
from elixir.attacks.badnets import BadNets
from elixir.attacks.base import Attack
from elixir.attacks.blended import Blended
from elixir.attacks.bpp import Bpp, BppClean
from elixir.attacks.colour import Colour
from elixir.attacks.ftrojan import FTrojan, chroma_pattern
from elixir.attacks.low_frequency import LowFrequency
from elixir.attacks.sig import Sig
from elixir.attacks.tact import TaCT
from elixir.attacks.wanet import WaNet
from elixir.errors import ElixirError
from elixir.registry import find, names

GREY = np.full((1, 32, 32, 3), 128, np.uint8)
RAMP = (np.arange(32 * 32 * 3) % 256).reshape(1, 32, 32, 3).astype(np.uint8)
VARIANTS = [
    AdapBlend(),
    AdapPatch(),
    BadNets(pattern="white"),
    BadNets(),
    Blended(),
    Blended(picture="figure", alpha=0.1, truncate=True),
    Bpp(),
    Bpp(dithering=True),
    BppClean(),
    Colour(),
    FTrojan(),
    LowFrequency(),
    Sig(),
    TaCT(),
    WaNet(),
]
images = arrays(
    np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2, 3, 4]))
)


@dataclass(frozen=True, kw_only=True)
class BlendedRamp(Blended):
    """The golden value's trigger: 8 times the column, in single precision."""

    def pattern(self, height: int, width: int, channels: int) -> NDArray[np.floating]:
        return np.broadcast_to(8 * np.arange(width, dtype=np.float32)[:, None], (height, width, channels))


@pytest.mark.parametrize(
    ("attack", "image", "digest", "total"),
    [
        (BadNets(pattern="white"), RAMP, "8528acddc9367bc0", 394380),
        (BadNets(pattern="dataelixir"), RAMP, "5680665b266d4888", 393022),
        (BlendedRamp(truncate=True), RAMP, "fc53684f0fc26ace", 388212),
        (Sig(truncate=True), RAMP, "640906d16a717af7", 390384),
        (Sig(truncate=True), GREY, "1806d0ab3112d2ff", 391968),
        (Sig(delta=20, truncate=True), RAMP, "40e5664fdcb75c43", 390420),
        (Sig(delta=20, truncate=True), GREY, "ab586e13b9e3c00d", 391968),
    ],
    ids=["badnets-white", "badnets-dataelixir", "blended", "sig", "sig-grey", "sig-20", "sig-20-grey"],
)
def test_golden_values(attack, image, digest, total):
    poisoned = attack.poison(image, ["image"])
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
    small, large = (Blended(picture="figure").pattern(size, size, 3) for size in (32, 128))
    shrunk = large.reshape(32, 4, 32, 4, 3).mean((1, 3))
    assert np.abs(shrunk - small).mean() < 8
    assert not np.array_equal(small, Blended(picture="figure", seed=1).pattern(32, 32, 3))


def test_blended_is_the_mean_it_says():
    poisoned = Blended(alpha=0.2).poison(np.zeros((1, 32, 32, 3), np.uint8), ["a"])
    assert np.abs(poisoned - 0.2 * Blended().pattern(32, 32, 3)).max() <= 0.5


def test_sig_row_on_grey():
    row = Sig(truncate=True).poison(GREY, ["a"])[0, 5, :17, 1]
    assert row.tolist() == [128, 164, 156, 112, 88, 112, 156, 164, 128, 91, 99, 143, 168, 143, 99, 91, 127]


def test_ftrojan_is_two_coefficients_of_each_block():
    spectrum = np.asarray(dctn(30 * chroma_pattern(64, 32)[32:], norm="ortho"))
    expected = np.zeros((32, 32))
    expected[15, 15] = expected[31, 31] = 30
    assert np.abs(spectrum - expected).max() < 1e-12
    assert np.abs(30 * chroma_pattern(32, 32)).max() == pytest.approx(3.19, abs=0.01)
    assert chroma_pattern(40, 33).shape == (40, 33)


def test_ftrojan_changes_the_chroma_and_not_the_luma():
    before, after = (rgb2ycbcr(image[0].astype(np.uint8)) for image in (GREY, FTrojan().poison(GREY, ["a"])))
    luma, cb, cr = np.moveaxis(np.abs(after - before), -1, 0)
    assert luma.mean() < 0.3
    assert min(cb.mean(), cr.mean()) > 0.7


def test_low_frequency_is_low_and_survives_eight_bits():
    changed = LowFrequency().poison(GREY, ["a"])[0].astype(float) - 128
    assert np.abs(changed).max() == 51
    for channel in range(3):
        power = np.asarray(dctn(changed[..., channel], norm="ortho")) ** 2
        assert power[:5, :5].sum() > 0.999 * power.sum()


def test_low_frequency_is_as_strong_on_grey_images():
    changed = LowFrequency().poison(GREY[..., :1], ["a"])[0].astype(float) - 128
    assert np.abs(changed).max() == 51


def test_wanet_invariants():
    attack = WaNet(seed=3)
    points = np.random.default_rng((3, 4)).uniform(-1, 1, (2, 4, 4))
    corners = attack.field(32, 48)[0, ::31, ::47].permute(2, 0, 1).numpy()
    assert corners == pytest.approx((points / np.abs(points).mean())[:, ::3, ::3])
    assert np.array_equal(WaNet(strength=0).poison(RAMP, ["a"]), RAMP)
    poison, cover, other = attack.poison(RAMP, ["a"]), attack.cover(RAMP, ["a"]), attack.cover(RAMP, ["b"])
    assert np.array_equal(cover, attack.cover(np.repeat(RAMP, 2, 0), ["b", "a"])[1:])
    assert not np.array_equal(cover, poison)
    assert not np.array_equal(cover, other)


def test_wanet_against_scipy():
    image = np.random.default_rng(0).uniform(0, 255, (1, 24, 40, 3))
    attack = WaNet(strength=3)
    by_x, by_y = np.moveaxis(attack.displacement(24, 40)[0].numpy(), -1, 0)
    y, x = np.indices((24, 40))
    at = [(y + by_y * 23 / 2).clip(0, 23), (x + by_x * 39 / 2).clip(0, 39)]
    expected = np.stack([map_coordinates(image[0, ..., channel], at, order=1) for channel in range(3)], -1)
    assert attack.triggered(image, ["a"])[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("attack", VARIANTS, ids=repr)
@settings(max_examples=25, deadline=None)
@given(batch=images)
def test_what_holds_for_every_attack(attack: Attack, batch):
    before, ids = batch.copy(), [str(i) for i in range(len(batch))]
    again = type(attack)(**attack.settings())
    for change in ("poison", "trigger", *(["cover"] if attack.cover_ratio else [])):
        make = getattr(attack, change)
        made = make(batch, ids)
        assert (made.shape, made.dtype) == (batch.shape, np.uint8)
        assert np.array_equal(batch, before), "the input is left alone"
        assert np.array_equal(made, getattr(again, change)(batch, ids)), "same settings, same bytes"
        singly = [make(batch[i : i + 1], ids[i : i + 1])[0] for i in range(len(batch))]
        assert np.array_equal(made, singly), "the batch does not matter"
    if not isinstance(attack, AdapBlend | AdapPatch):
        assert np.array_equal(attack.poison(batch, ids), attack.trigger(batch, ids)), "test images carry the trigger"


def test_attacks_are_found_by_name():
    nine = {"badnets", "blended", "ftrojan", "input_aware", "label_consistent", "low_frequency", "sig", "ssba", "wanet"}
    since = {"adap_blend", "adap_patch", "bpp", "bpp_clean", "colour", "narcissus", "tact"}
    assert nine | since <= set(names("attacks"))
    for name in nine | since:
        assert find("attacks", name).name == name


@pytest.mark.parametrize(
    ("attack", "wrong", "words"),
    [
        (BadNets, {"patern": "white"}, "attack 'badnets' has no setting 'patern'; did you mean 'pattern'"),
        (BadNets, {"pattern": "black"}, "badnets.pattern = 'black' is none of dataelixir, white"),
        (Blended, {"seed": -1}, "blended.seed = -1 is out of range; it must be at least 0"),
        (BadNets, {"truncate": "yes"}, "truncate = 'yes' is of the wrong type; expected bool"),
        (Blended, {"alpha": 0}, "alpha = 0 is out of range; it must be above 0 and at most 1"),
        (Blended, {"alpha": "much"}, "alpha = 'much' is of the wrong type; expected float"),
        (Blended, {"alpha": True}, "alpha = True is of the wrong type"),
        (Blended, {"picture": "kitty"}, "picture = 'kitty' is none of noise, figure"),
        (Sig, {"delta": 0}, "delta = 0 is out"),
        (FTrojan, {"magnitude": -1}, "magnitude = -1 is out"),
        (LowFrequency, {"waves": 0.5}, "waves = 0.5 is of the wrong type; expected int"),
        (WaNet, {"strength": "high"}, "strength = 'high' is of the wrong type"),
    ],
)
def test_wrong_settings_say_what_is_right(attack, wrong, words):
    with pytest.raises(ElixirError, match=words):
        attack.configure(wrong)
