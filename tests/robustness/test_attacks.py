"""The nine attacks: their budget, their strength, and what they are by definition."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from elixir.errors import ElixirError
from elixir.robustness import ATTACKS, attack_names
from elixir.robustness.apgd import AutoPGD, _checkpoints, cross_entropy, difference_of_logits_ratio
from elixir.robustness.attacks import LogProbs, budget, craft, levels, margin
from elixir.robustness.gradient_sign import GradientSign, diverse
from elixir.robustness.minimal_norm import CarliniWagner, DeepFool

pytestmark = pytest.mark.slow


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def log_probs_of(world) -> LogProbs:
    return lambda x: world.net(x)[0].log_softmax(1)


def attacked(world, name: str, eps: float, seed: int = 0) -> Tensor:
    return craft(ATTACKS[name], log_probs_of(world), world.images, world.labels, eps, seeded(seed))


def accuracy(world, images: Tensor) -> float:
    return float((world.net(images / 255)[0].argmax(1) == world.labels).float().mean())


@pytest.mark.parametrize("eps", ["1/255", ".03", "1"])
@pytest.mark.parametrize("name", ATTACKS)
def test_every_8_bit_image_is_within_the_budget(world, name: str, eps: str):
    original = world.images.clone()
    found = attacked(world, name, budget(eps))
    assert found.dtype == torch.uint8
    assert torch.equal(world.images, original)
    change = (found.int() - original.int()).abs().max() / 255
    assert 0 < change <= budget(eps) + 1e-9


@given(st.integers(1, 255), st.integers(0, 2**31))
def test_rounding_keeps_any_attack_within_the_budget(near: int, seed: int):
    images = torch.randint(256, (2, 3, 4, 4), generator=seeded(seed), dtype=torch.uint8)

    def wild(logits: object, x: Tensor, labels: Tensor, eps: float, generator: torch.Generator) -> Tensor:
        return x + 3 * torch.randn(x.shape, generator=generator)

    found = craft(wild, lambda x: x, images, torch.zeros(2, dtype=torch.int64), near / 255, seeded(seed))
    assert (found.int() - images.int()).abs().max() <= near


def test_fgsm_on_a_linear_model_is_the_closed_form():
    weights = torch.randn(2, 3 * 5 * 5, generator=seeded())
    images = torch.randint(50, 200, (6, 3, 5, 5), generator=seeded(1), dtype=torch.uint8)
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    found = craft(
        ATTACKS["fgsm"], lambda x: (x.flatten(1) @ weights.T).log_softmax(1), images, labels, 8 / 255, seeded()
    )
    uphill = (weights[1 - labels] - weights[labels]).sign().view(6, 3, 5, 5)
    assert torch.equal(found.int(), images.int() + 8 * uphill.int())


def test_pgd_without_a_random_start_walks_up_the_gradient(world):
    x, eps = world.images / 255, 6 / 255
    now = x
    for _ in range(3):
        leaf = now.clone().requires_grad_()
        F.cross_entropy(world.net(leaf)[0], world.labels, reduction="sum").backward()
        assert leaf.grad is not None
        now = (now + eps / 4 * leaf.grad.sign()).clamp(0, 1).clamp(x - eps, x + eps)
    found = GradientSign(steps=3)(log_probs_of(world), x, world.labels, eps, seeded())
    torch.testing.assert_close(found, now, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["pgd", "mi-fgsm", "di-fgsm", "m-di-fgsm", "apgd-ce", "apgd-dlr", "cw", "deepfool"])
def test_every_attack_harms_and_the_iterated_ones_more_than_fgsm(world, name: str):
    fgsm, strong = (accuracy(world, attacked(world, each, 12 / 255)) for each in ("fgsm", name))
    assert strong <= fgsm if name in ("pgd", "mi-fgsm", "apgd-ce", "apgd-dlr", "cw") else strong < 0.6


@pytest.mark.parametrize("name", ["pgd", "m-di-fgsm", "apgd-dlr"])
def test_the_same_seed_gives_the_same_images(world, name: str):
    torch.rand(1)
    assert torch.equal(attacked(world, name, 8 / 255), attacked(world, name, 8 / 255))


def test_another_seed_gives_another_random_start(world):
    assert not torch.equal(attacked(world, "pgd", 8 / 255, 0), attacked(world, "pgd", 8 / 255, 1))


def test_apgd_is_not_weaker_than_the_toolbox_s(world):
    from art.attacks.evasion import AutoProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    class Logits(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return world.net(x)[0]

    estimator = PyTorchClassifier(
        Logits(), torch.nn.CrossEntropyLoss(), (3, 8, 8), 4, clip_values=(0.0, 1.0), device_type="cpu"
    )
    eps = 8 / 255
    theirs = AutoProjectedGradientDescent(
        estimator, eps=eps, eps_step=2 * eps, max_iter=20, nb_random_init=1, loss_type="cross_entropy", verbose=False
    ).generate((world.images / 255).numpy(), world.labels.numpy())
    attack = AutoPGD(cross_entropy, steps=20)
    ours = attack(log_probs_of(world), world.images / 255, world.labels, eps, seeded())
    assert accuracy(world, 255 * ours) <= accuracy(world, 255 * torch.from_numpy(theirs))


def test_apgd_looks_at_its_step_size_where_the_paper_says():
    steps, at = _checkpoints(100), 0
    places = [at := at + steps[step] for step in steps]
    assert places == list(steps) == [22, 41, 57, 70, 80, 87, 93, 99]


def test_dlr_by_hand():
    logits = torch.tensor([[5.0, 1.0, 3.0, 0.0], [5.0, 1.0, 3.0, 0.0]])
    labels = torch.tensor([0, 2])
    assert difference_of_logits_ratio(logits, labels).tolist() == [-2 / 4, 2 / 4]
    assert margin(logits, labels).tolist() == [-2, 2]
    assert difference_of_logits_ratio(7 * logits + 3, labels).tolist() == [-2 / 4, 2 / 4]
    two = torch.tensor([[3.0, 1.0]], requires_grad=True)
    loss = difference_of_logits_ratio(two, torch.tensor([0]))
    assert loss.tolist() == [-2]
    assert torch.autograd.grad(loss.sum(), two)[0].tolist() == [[-1, 1]]


def test_deepfool_crosses_a_plane_by_the_shortest_way():
    weights = torch.tensor([[1.0, 0.0, -2.0], [0.0, 1.0, 1.0]])
    x = torch.full((1, 3, 1, 1), 0.5)

    def log_probs(x: Tensor) -> Tensor:
        return (x.flatten(1) @ weights.T + torch.tensor([1.0, 0.0])).log_softmax(1)

    found = DeepFool(overshoot=0.02)(log_probs, x, torch.tensor([1]), 1.0, seeded())
    direction = torch.tensor([1.0, -1.0, -3.0]).sign().view(1, 3, 1, 1)
    torch.testing.assert_close(found - x, 1.02 * (0.5 + 1e-4) / 5 * direction, atol=0.5 / 255 + 1e-5, rtol=0)
    assert log_probs(found).argmax() == 0


def test_carlini_and_wagner_come_nearer_than_the_budget(world):
    x, eps = world.images / 255, 32 / 255
    found = CarliniWagner()(log_probs_of(world), x, world.labels, eps, seeded())
    assert accuracy(world, 255 * found) < 0.2
    assert (found - x).flatten(1).norm(dim=1).mean() < 0.5 * eps * math.sqrt(192)


def test_diverse_inputs_keep_their_size():
    x = torch.rand(64, 3, 40, 52, generator=seeded()) + 0.1
    seen = diverse(x, seeded())
    assert seen.shape == x.shape
    same = torch.isclose(seen, x, atol=1e-5).all(3).all(2).all(1)
    assert 16 < int(same.sum()) < 48
    assert seen.min() >= 0
    assert seen.max() <= x.max() + 1e-6
    black = (seen[~same] == 0).any(1).flatten(1).any(1)
    assert black.float().mean() > 0.5


def test_mistakes_are_explained():
    for text, message in (("fgsmm", "did you mean 'fgsm'"), ("zzz", "known: all, fgsm, pgd"), ("pgd,pgd", "twice")):
        with pytest.raises(ElixirError, match=message):
            attack_names(text)
    assert attack_names("all") == tuple(ATTACKS)
    assert attack_names("pgd, cw") == ("pgd", "cw")
    for text in ("0", "-1/255", "256/255", "1.1", ".003"):
        with pytest.raises(ElixirError, match="between 1/255 and 1"):
            budget(text)
    for text in ("x", "1/0", "nan", "inf", "1e999", ""):
        with pytest.raises(ElixirError, match="no number"):
            budget(text)
    assert budget("8/255") == 8 / 255
    assert [levels(budget(f"{level}/255")) for level in range(1, 256)] == list(range(1, 256))
