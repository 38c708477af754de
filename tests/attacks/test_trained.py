"""The attacks that learn from the data: Label-Consistent, Narcissus, SSBA and Input-aware, on a few tiny images."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from hashlib import sha256

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional as F

from elixir.attacks.input_aware import Artist, InputAware
from elixir.attacks.label_consistent import LabelConsistent, corners
from elixir.attacks.narcissus import Narcissus
from elixir.attacks.ssba import SSBA, Decoder, Encoder, similarity
from elixir.attacks.trained import Painter, TrainedAttack, TrainingData, restored, surrogate, tensors
from elixir.errors import ElixirError
from elixir.progress import Progress

pytestmark = pytest.mark.slow

SIZE = 16
GREY = np.full((1, 32, 32, 3), 128, np.uint8)
SMALL: list[TrainedAttack] = [
    LabelConsistent(size=SIZE, training_steps=40, iterations=12),
    SSBA(size=SIZE, training_steps=200, bits=4, bound=24),
    InputAware(size=SIZE, training_steps=60),
    Narcissus(size=SIZE, training_steps=40, iterations=30),
]
batches = arrays(
    np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 2, 3, 4]))
)


def shapes(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows, columns and squares of a colour on another; uint8 (count, 16, 16, 3) and int64 labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = np.broadcast_to(rng.uniform(60, 200, (count, 1, 1, 3)), (count, SIZE, SIZE, 3)).copy()
    for image, label, at in zip(images, labels, rng.integers(1, SIZE - 5, count), strict=True):
        rows, columns = (slice(at, at + 4) if label in kinds else slice(None) for kinds in ((0, 2), (1, 2)))
        image[rows, columns] = rng.uniform(0, 255, 3)
    return (images + rng.normal(0, 8, images.shape)).clip(0, 255).astype(np.uint8), labels


IMAGES, LABELS = shapes(24, seed=1)
IDS = [f"test/{i}" for i in range(len(IMAGES))]


def training_data(colours: bool = True) -> TrainingData:
    images, labels = shapes(240)
    planes = torch.from_numpy(images if colours else images[..., :1].repeat(3, -1)).permute(0, 3, 1, 2)
    return TrainingData(lambda rows: planes[torch.from_numpy(rows)], labels, 3, 2, Progress(quiet=True))


@cache
def codec() -> tuple[Encoder, Decoder]:
    attack = SMALL[1]
    assert isinstance(attack, SSBA)
    return attack.codec(training_data())


@cache
def learned(name: str) -> TrainedAttack:
    attack = next(attack for attack in SMALL if attack.name == name)
    return attack.with_weights(tensors(codec()[0]) if name == "ssba" else attack.learn(training_data()))


def in_planes(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


@pytest.mark.slow
@pytest.mark.parametrize("name", [attack.name for attack in SMALL])
@settings(max_examples=5)
@given(batch=batches)
def test_what_holds_for_every_trained_attack(name, batch):
    attack, before, ids = learned(name), batch.copy(), [str(i) for i in range(len(batch))]
    for make in (attack.poison, attack.trigger, *([attack.cover] if attack.cover_ratio else [])):
        made = make(batch, ids)
        assert (made.shape, made.dtype) == (batch.shape, np.uint8)
        assert np.array_equal(batch, before), "the input is left alone"
        singly = [make(batch[i : i + 1], ids[i : i + 1])[0] for i in range(len(batch))]
        assert np.array_equal(made, singly), "the batch does not matter"


@pytest.mark.parametrize("attack", SMALL, ids=lambda attack: attack.name)
def test_the_same_seed_learns_the_same(attack: TrainedAttack):
    short = replace(attack, training_steps=3)
    first, again, other = (replace(short, seed=seed).learn(training_data()) for seed in (0, 0, 1))
    assert save(first) == save(again) != save(other)


@pytest.mark.parametrize("attack", SMALL, ids=lambda attack: attack.name)
def test_weights_survive_a_file(attack: TrainedAttack):
    fitted = learned(attack.name)
    stored = save(fitted.weights)
    assert len(stored) < 2**21
    random = torch.get_rng_state()
    again = attack.with_weights(load(stored))
    assert np.array_equal(fitted.poison(IMAGES[:3], IDS[:3]), again.poison(IMAGES[:3], IDS[:3]))
    assert torch.equal(random, torch.get_rng_state()), "poisoning draws nothing from the global generator"


@pytest.mark.parametrize("attack", SMALL, ids=lambda attack: attack.name)
def test_an_attack_that_has_learned_nothing_says_so(attack: TrainedAttack):
    with pytest.raises(ElixirError, match="has to learn from the data first"):
        attack.poison(IMAGES[:1], IDS[:1])


@pytest.mark.parametrize(
    ("attack", "wrong", "words"),
    [
        (LabelConsistent, {"size": 4}, "size = 4 is out"),
        (SSBA, {"training_steps": 0}, "training_steps = 0 is out"),
        (LabelConsistent, {"eps": -1}, "eps = -1 is out"),
        (LabelConsistent, {"step": 0}, "step = 0 is out"),
        (LabelConsistent, {"amplitude": 2}, "amplitude = 2 is out"),
        (LabelConsistent, {"iterations": 1.5}, "iterations = 1.5 is of the wrong type"),
        (Narcissus, {"eps": 0}, "eps = 0 is out of range; it must be above 0 and at most 255"),
        (Narcissus, {"iterations": 0}, "iterations = 0 is out"),
        (Narcissus, {"gain": 0}, "gain = 0 is out of range; it must be above 0"),
        (SSBA, {"bits": 0}, "bits = 0 is out of range; it must be at least 1 and at most 256"),
        (SSBA, {"bound": "faint"}, "bound = 'faint' is of the wrong type"),
        (InputAware, {"density": 1}, "density = 1 is out of range; it must be above 0 and below 1"),
        (InputAware, {"lambda_div": -1}, "lambda_div = -1 is out"),
        (InputAware, {"lambda_norm": float("inf")}, "lambda_norm = inf is out"),
        (InputAware, {"cover_ratio": None}, "cover_ratio = None is of the wrong type"),
    ],
)
def test_wrong_settings_say_what_is_right(attack, wrong, words):
    with pytest.raises(ElixirError, match=words):
        attack.configure(wrong)


@pytest.mark.parametrize(("amplitude", "digest"), [(1, "ef88a21714e1ee21"), (32 / 255, "da40a884621330b1")])
def test_label_consistent_golden_values(amplitude, digest):
    triggered = LabelConsistent(amplitude=amplitude, truncate=True).trigger(GREY, ["grey"])
    assert sha256(triggered.tobytes()).hexdigest()[:16] == digest
    assert (triggered != GREY).any(-1).sum() == 36


def test_label_consistent_motifs_in_small_images():
    assert corners(1, 1).tolist() == [[1]]
    assert corners(2, 7).tolist() == [[-1, 1, -1, 0, -1, 1, -1], [1, -1, 1, 0, 1, -1, 1]]
    whole, small = corners(32, 32), corners(6, 6)
    assert np.array_equal(small, whole[[0, 1, 2, -3, -2, -1]][:, [0, 1, 2, -3, -2, -1]])


@pytest.mark.slow
@pytest.mark.parametrize("truncate", [False, True])
def test_label_consistent_perturbation_is_as_large_as_it_says(truncate):
    attack = replace(learned("label_consistent"), truncate=truncate).with_weights(learned("label_consistent").weights)
    inside = corners(SIZE, SIZE) == 0
    change = attack.poison(IMAGES, IDS).astype(int) - IMAGES
    assert np.abs(change[:, inside]).max() == 8
    larger = IMAGES.repeat(3, 1).repeat(3, 2)
    change = attack.poison(larger, IDS).astype(int) - larger
    assert 4 < np.abs(change[:, corners(3 * SIZE, 3 * SIZE) == 0]).max() <= 8


def test_label_consistent_perturbation_raises_the_loss_of_the_target():
    attack = learned("label_consistent")
    assert isinstance(attack, LabelConsistent)
    weights = {name: tensor for name, tensor in attack.weights.items() if name != "target"}
    net = restored(lambda: surrogate(3).fused(), weights)
    own = IMAGES[LABELS == 2]
    noise = np.random.default_rng(0).choice([-8, 8], own.shape)
    loss = [
        F.cross_entropy(net(in_planes(images.astype(np.float32)))[0], torch.full((len(own),), 2)).item()
        for images in (own, (own + noise).clip(0, 255), attack.perturbed(own.astype(float), IDS[: len(own)]))
    ]
    assert loss[2] > 2 * max(loss[:2])


def test_narcissus_is_one_noise_within_its_bound_and_three_times_as_much_at_test():
    attack = learned("narcissus")
    grey = np.full((2, SIZE, SIZE, 3), 128, np.uint8)
    poisoned, shown = (make(grey, ["a", "b"]).astype(int) - 128 for make in (attack.poison, attack.trigger))
    assert np.array_equal(poisoned[0], poisoned[1]), "the same noise for every image"
    assert 8 < np.abs(poisoned).max() <= 16
    assert np.abs(shown - 3 * poisoned).max() <= 2, "what rounding leaves"
    for truncate in (False, True):
        for large in (IMAGES, IMAGES.repeat(3, 1).repeat(3, 2), IMAGES[..., :1]):
            cut = replace(attack, truncate=truncate).with_weights(attack.weights)
            change = cut.poison(large, IDS).astype(int) - large
            assert 4 < np.abs(change).max() <= 16


def test_narcissus_noise_points_into_the_target_class():
    attack, data = learned("narcissus"), training_data()
    assert isinstance(attack, Narcissus)
    net = attack.classifier(data).fused()
    random = np.random.default_rng(0).choice([-16, 16], IMAGES.shape[1:])

    def loss(images: np.ndarray, target: int = 2) -> float:
        logits, _ = net(in_planes(images.astype(np.float32)))
        return F.cross_entropy(logits, torch.full((len(images),), target)).item()

    for images, make, gain in ((IMAGES[LABELS == 2], attack.poison, 1), (IMAGES[LABELS != 2], attack.trigger, 3)):
        others = min(loss(images), loss((images + gain * random).clip(0, 255)))
        assert loss(make(images, IDS[: len(images)])) < 0.7 * others
    other = replace(attack).noise(net, replace(data, target=0))
    assert not torch.equal(other, attack.weights["noise"]), "it is made for the target"


def test_narcissus_noise_is_grey_where_there_are_no_colours():
    attack = replace(learned("narcissus"), training_steps=3, iterations=3)
    noise = attack.learn(training_data(colours=False))["noise"]
    assert torch.equal(noise, noise[:1].expand_as(noise))
    assert noise.any()


def test_narcissus_needs_images_of_the_target_class():
    data = training_data()
    with pytest.raises(ElixirError, match="needs images of the target class"):
        Narcissus(size=SIZE, training_steps=1).learn(replace(data, labels=data.labels % 2))


def test_narcissus_changes_no_label_and_needs_a_target():
    assert Narcissus.clean_label
    assert Narcissus.needs_target
    assert Narcissus().one_target


def test_ssba_secret_can_be_read_from_poisoned_images():
    attack, decoder = learned("ssba"), codec()[1]
    assert isinstance(attack, SSBA)
    with torch.no_grad():
        hidden, plain = (
            (decoder(in_planes(images))[0] > 0) == (attack.secret() > 0)
            for images in (attack.poison(IMAGES, IDS), IMAGES)
        )
    assert hidden.float().mean() > 0.99
    assert plain.float().mean() < 0.9


def test_ssba_residual_is_within_its_bound_and_the_images_own():
    change = learned("ssba").poison(IMAGES, IDS).astype(int) - IMAGES
    assert 2 < np.abs(change).max() <= 24
    assert np.abs(change - change[:1]).mean() > 0.1 * np.abs(change).mean()


def test_ssba_secrets_belong_to_the_seed():
    first, again, other = (SSBA(seed=seed).secret() for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (20,)


def test_ssba_hides_the_secret_in_grey_levels_where_there_are_no_colours():
    attack = replace(SMALL[1], training_steps=3)
    assert isinstance(attack, SSBA)
    encoder, _ = attack.codec(training_data(colours=False))
    change = encoder(in_planes(IMAGES[..., :1].repeat(3, -1)), torch.ones(len(IMAGES), 4))
    assert torch.equal(change, change[:, :1].expand_as(change))


def test_similarity_of_one_window_is_the_formula():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(size=(2, 8, 8))
    covariance = np.cov(a.ravel(), b.ravel(), bias=True)
    luminance = (2 * a.mean() * b.mean() + 0.01**2) / (a.mean() ** 2 + b.mean() ** 2 + 0.01**2)
    structure = (2 * covariance[0, 1] + 0.03**2) / (np.trace(covariance) + 0.03**2)
    measured = similarity(*(torch.from_numpy(x)[None, None] for x in (a, b)))
    assert measured.item() == pytest.approx(luminance * structure)


def test_input_aware_masks_are_small_and_each_image_has_its_own():
    attack = learned("input_aware")
    artist = restored(Artist, {name: t for name, t in attack.weights.items() if name != "bank"})
    masks = artist.mask(in_planes(IMAGES))
    assert masks.shape == (len(IMAGES), 1, SIZE, SIZE)
    assert masks.min() > 0
    assert masks.max() < 1
    assert 0.01 < masks.mean() < 0.06
    assert all((masks[0] - other).abs().max() > 0.1 for other in masks[1:])


def test_input_aware_covers_have_the_trigger_of_another_image():
    attack = learned("input_aware")
    poisoned, covered = attack.poison(IMAGES, IDS), attack.cover(IMAGES, IDS)
    assert all((one != other).any() for one, other in zip(poisoned, covered, strict=True))
    assert not np.array_equal(covered, attack.cover(IMAGES, IDS[::-1])), "the id decides which"
    assert attack.cover_ratio == 1


def test_painters_take_any_size():
    painter = Painter(3, 2, width=4).eval()
    assert [painter(torch.zeros(1, 3, side, side + 1)).shape[-2:] for side in (1, 5, 8)] == [(1, 2), (5, 6), (8, 9)]
