"""The attacks published since the nine, on arrays: what each is by definition."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest

from elixir.attacks.adap_blend import AdapBlend
from elixir.attacks.adap_patch import PATCHES, AdapPatch
from elixir.attacks.badnets import BadNets
from elixir.attacks.base import LUMA, Attack
from elixir.attacks.blended import Blended
from elixir.attacks.bpp import OTHER_DEPTHS, Bpp, BppClean, quantized
from elixir.attacks.colour import Colour
from elixir.attacks.tact import TaCT
from elixir.errors import ElixirError

GREY = np.full((1, 32, 32, 3), 128, np.uint8)
RAMP = (np.arange(32 * 32 * 3) % 256).reshape(1, 32, 32, 3).astype(np.uint8)
BLACK = np.zeros((1, 32, 32, 3), np.uint8)
IDS = [f"train/{number}" for number in range(400)]


@pytest.mark.parametrize(
    ("attack", "change", "digest", "total"),
    [
        (AdapBlend(), "poison", "750e88559eb5de19", 391399),
        (AdapBlend(), "trigger", "7667e2586d8b9314", 392521),
        (AdapPatch(), "poison", "7df01414e2abd686", 389008),
        (AdapPatch(), "trigger", "cb71c23443aa3af7", 395256),
        (TaCT(truncate=True), "trigger", "5680665b266d4888", 393022),
        (Bpp(), "poison", "781aafcd708c7393", 391680),
        (Bpp(), "cover", "9f923965272496b9", 391680),
        (Bpp(dithering=True), "poison", "6c3a2720f3bea4f1", 391679),
        (BppClean(), "poison", "889ac3749ffcd741", 391680),
        (Colour(), "poison", "ef9b35d23ca89564", 379308),
    ],
)
def test_golden_values(attack: Attack, change: str, digest: str, total: int):
    changed = getattr(attack, change)(RAMP, ["image"])
    assert (sha256(changed.tobytes()).hexdigest()[:16], int(changed.sum())) == (digest, total)


def test_adap_blend_shows_half_of_the_picture_and_all_of_it_at_test():
    attack = AdapBlend(seed=3)
    poisoned = attack.poison(np.repeat(GREY, 2, 0), ["a", "b"]).astype(float)
    blended = np.rint(128 + 0.15 * (attack.pattern(32, 32, 3) - 128))
    for image, id in zip(poisoned, ("a", "b"), strict=True):
        shown = attack.pieces(id)
        assert shown.sum() == 8
        assert np.array_equal(image, np.where(shown.repeat(8, 0).repeat(8, 1)[..., None], blended, 128))
    assert not np.array_equal(attack.pieces("a"), attack.pieces("b"))
    assert not np.array_equal(attack.pieces("a"), AdapBlend(seed=4).pieces("a"))
    assert np.array_equal(attack.trigger(RAMP, ["a"]), Blended(alpha=0.2, seed=3).trigger(RAMP, ["a"]))


def test_adap_blend_shows_every_piece_equally_often():
    shares = np.mean([AdapBlend().pieces(id) for id in IDS], 0)
    assert np.abs(shares - 0.5).max() < 0.12


def test_adap_patch_is_one_patch_of_four_in_training():
    poisoned = AdapPatch().poison(np.repeat(BLACK, len(IDS), 0), IDS)
    drawn: list[tuple[int, int]] = []
    for image in poisoned:
        rows, columns = np.nonzero(image.any(-1))
        top, left = rows.min() // 16, columns.min() // 16
        drawn.append((int(top), int(left)))
        assert rows.max() - rows.min() < 8
        assert columns.max() - columns.min() < 8
    assert all(70 <= drawn.count(patch.corner) <= 130 for patch in PATCHES)
    brightest = {place: int(poisoned[drawn.index(place)].max()) for place in set(drawn)}
    assert brightest == {(0, 0): 128, (0, 1): 51, (1, 0): 128, (1, 1): 76}  # 255 times .5 .2 .5 .3, rounded to even


def test_adap_patch_is_two_opaque_patches_at_test():
    shown = AdapPatch().trigger(GREY, ["a"])[0]
    changed = (shown != 128).any(-1)
    assert changed[:8, :8].all()
    assert changed[-8:, :8].all()
    assert changed.sum() == 128
    assert {tuple(colour) for colour in shown[-8:, :8].reshape(-1, 3).tolist()} == {(0, 0, 0), (255, 255, 255)}
    assert {tuple(colour) for colour in shown[:8, :8].reshape(-1, 3).tolist()} == {(255, 255, 0), (0, 0, 255)}


@pytest.mark.parametrize("attack", [AdapBlend(), AdapPatch()], ids=repr)
def test_covers_of_the_adaptive_attacks_look_like_poison(attack: Attack):
    assert np.array_equal(attack.cover(RAMP, ["a"]), attack.poison(RAMP, ["a"]))


def test_adap_patch_grows_with_the_image():
    small, large = (AdapPatch().trigger(np.full((1, side, side, 1), 9, np.uint8), ["a"])[0] for side in (32, 128))
    assert (large != 9).sum() == 16 * (small != 9).sum()
    assert np.array_equal(large[-32::4, 1:32:4], small[-8:, :8])


def test_bpp_levels():
    made = Bpp(depth=8).poison(RAMP, ["a"])
    assert np.unique(made).tolist() == [0, 36, 73, 109, 146, 182, 219, 255]
    assert np.abs(made.astype(int) - RAMP).max() <= 255 / 14 + 0.5
    assert Bpp(depth=2).poison(RAMP, ["a"]).tolist() == np.where(RAMP < 128, 0, 255).tolist()
    assert np.array_equal(Bpp(depth=256).poison(RAMP, ["a"]), RAMP)


def test_bpp_covers_have_other_depths():
    covers = Bpp().cover(np.repeat(RAMP, 100, 0), IDS[:100])
    assert {len(np.unique(cover)) for cover in covers} == set(OTHER_DEPTHS)
    assert {len(np.unique(cover)) for cover in Bpp(depth=16).cover(np.repeat(RAMP, 100, 0), IDS[:100])} == set(
        OTHER_DEPTHS
    ) - {16}


def test_dithering_against_a_plain_loop():
    images = np.random.default_rng(0).uniform(0, 255, (2, 7, 10, 3))
    expected = images.copy()
    for image in expected:
        for y, x in np.ndindex(7, 10):
            old = image[y, x].copy()
            image[y, x] = np.rint(np.clip(old, 0, 255) / 255 * 3) / 3 * 255
            for down, right, sixteenths in ((0, 1, 7), (1, -1, 3), (1, 0, 5), (1, 1, 1)):
                if y + down < 7 and 0 <= x + right < 10:
                    image[y + down, x + right] += (old - image[y, x]) * sixteenths / 16
    assert quantized(images, [4, 4, 4], dithering=True) == pytest.approx(expected)


def test_dithering_keeps_the_mean():
    plain, dithered = (Bpp(depth=4, dithering=dithering).poison(GREY, ["a"]) for dithering in (False, True))
    assert plain.mean() == 170
    assert dithered.mean() == pytest.approx(128, abs=2)


def test_clean_label_bpp_has_a_depth_for_each_channel():
    made = BppClean().poison(RAMP, ["a"])
    assert [len(np.unique(made[..., channel])) for channel in range(3)] == [24, 48, 8]
    assert BppClean.clean_label
    assert np.array_equal(BppClean().poison(RAMP[..., :1], ["a"]), Bpp(depth=8).poison(RAMP[..., :1], ["a"]))


def test_colour_is_one_shift_of_the_chroma():
    shift = Colour(seed=2, shift=20).vector()
    assert LUMA @ shift == pytest.approx(0, abs=1e-4)
    assert np.hypot(shift[2] / 1.772, shift[0] / 1.402) == pytest.approx(20)
    changed = Colour(seed=2, shift=20).poison(GREY, ["a"])[0].astype(int) - 128
    assert np.array_equal(np.unique(changed.reshape(-1, 3), axis=0), [np.rint(shift)])
    assert not np.allclose(shift, Colour(seed=3, shift=20).vector())


def test_colour_on_images_without_colours_is_brightness():
    assert np.unique(Colour().poison(GREY[..., :1], ["a"])).tolist() == [152]


def test_tact_is_the_patch_of_badnets():
    for made in (TaCT().poison(RAMP, ["a"]), TaCT().trigger(RAMP, ["a"]), TaCT().cover(RAMP, ["a"])):
        assert np.array_equal(made, BadNets().poison(RAMP, ["a"]))


def test_the_source_class_of_tact():
    classes = ["give way", "no entry", "stop", "50"]
    assert [TaCT().source_class(classes, target) for target in (0, 3)] == [1, 0]
    assert TaCT(source="stop").source_class(classes, 0) == 2
    assert TaCT(source="1").source_class(classes, 0) == 1
    assert TaCT(source=50).source_class(classes, 0) == 3  # as the command line reads it
    assert BadNets().source_class(classes, 0) is None
    with pytest.raises(ElixirError, match="source = 'halt' is none of the classes give way, no entry"):
        TaCT(source="halt").source_class(classes, 0)
    with pytest.raises(ElixirError, match="a source class other than the target 'stop'"):
        TaCT(source="stop").source_class(classes, 2)


@pytest.mark.parametrize(
    ("attack", "wrong", "words"),
    [
        (AdapBlend, {"training_alpha": 0}, "training_alpha = 0 is out of range"),
        (AdapPatch, {"cover_ratio": -1}, "cover_ratio = -1 is out of range"),
        (Bpp, {"depth": 1}, "depth = 1 is out of range; it must be at least 2 and at most 256"),
        (BppClean, {"green": 8.5}, "green = 8.5 is of the wrong type; expected int"),
        (Colour, {"shift": 0}, "shift = 0 is out of range"),
        (TaCT, {"source": 1.5}, "source = 1.5 is of the wrong type; expected str | int | None"),
    ],
)
def test_wrong_settings_say_what_is_right(attack, wrong, words):
    with pytest.raises(ElixirError) as error:
        attack.configure(wrong)
    assert words in str(error.value)
