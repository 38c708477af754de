"""Gradients through purifiers: exact where there is one, BPDA where not, averaged where chance is at work."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from elixir.models.denoiser import CONSISTENCY, EPSILON, PRIOR, load_denoiser
from elixir.models.weights import SHIPPED
from elixir.purifiers import network
from elixir.purifiers.classical import Identity, Jpeg, Median
from elixir.purifiers.network import load_consistency, load_prior
from elixir.robustness import ATTACKS
from elixir.robustness.attacks import craft
from elixir.robustness.defended import Defended, differentiable, is_random

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


class Wobble:
    """Random and smooth."""

    nfe = 1

    def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        return (x + sigma * noise).sin().square()

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        return noisy.sin().square()


@pytest.fixture
def x() -> Tensor:
    return torch.rand(3, 3, 10, 10, generator=torch.Generator().manual_seed(0))


def gradient(function, x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(function(leaf).sum(), leaf)[0]


def test_bpda_passes_the_gradient_unchanged(x: Tensor):
    weight = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    compressed = Jpeg().denoise(x, 0.1)

    def purify(images: Tensor) -> Tensor:
        return Jpeg().denoise(images, 0.1)

    torch.testing.assert_close(gradient(lambda images: differentiable(purify, images) * weight, x), weight)
    torch.testing.assert_close(differentiable(purify, x.clone().requires_grad_()), compressed)


def test_a_purifier_in_inference_mode_is_one_without_a_gradient(x: Tensor):
    @torch.inference_mode()
    def purify(images: Tensor) -> Tensor:
        return 3 * images

    torch.testing.assert_close(gradient(lambda images: differentiable(purify, images), x), torch.ones_like(x))


def test_a_gradient_comes_back_exactly_however_small(x: Tensor):
    def purify(images: Tensor) -> Tensor:
        return images.half().square().float()

    plain = gradient(lambda images: purify(images), x)
    small = gradient(lambda images: 1e-12 * differentiable(purify, images), x)
    torch.testing.assert_close(1e12 * small, plain, atol=2e-3, rtol=2e-3)
    assert gradient(lambda images: 1e-12 * purify(images), x).abs().max() == 0


@pytest.mark.parametrize(
    ("load", "kind", "epsilon"), [(load_prior, PRIOR, 0), (load_consistency, CONSISTENCY, EPSILON)]
)
def test_the_gradient_of_a_network_is_its_own(x: Tensor, load, kind, epsilon, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(network, "fast_dtype", lambda device: torch.float32)
    purifier = load(None, CPU)
    net = load_denoiser(SHIPPED / f"{kind.removeprefix('elixir.')}.safetensors", kind, epsilon=epsilon)
    noise, weight = torch.randn(2, *x.shape, generator=torch.Generator().manual_seed(2))

    def purify(images: Tensor) -> Tensor:
        return purifier.purify(images, 0.1, noise)

    plain = gradient(lambda images: weight * net(images + 0.1 * noise, torch.full((3,), 0.1)).clamp(0, 1), x)
    torch.testing.assert_close(gradient(lambda images: weight * differentiable(purify, images), x), plain)


def test_expectation_over_transformation_is_the_mean_of_the_gradients(world, x: Tensor):
    labels = torch.tensor([0, 1, 2])
    defended = Defended(world.net, Wobble(), 0.3, 5, CPU)
    generator = torch.Generator().manual_seed(7)

    def loss(images: Tensor) -> Tensor:
        return F.nll_loss(defended.log_probs(images, generator), labels, reduction="sum")

    averaged = gradient(loss, x)
    noise = torch.randn(15, 3, 10, 10, generator=torch.Generator().manual_seed(7)).unflatten(0, (5, 3))

    def loss_of(draw: Tensor, images: Tensor) -> Tensor:
        purified = Wobble().purify(images, 0.3, draw)
        return F.cross_entropy(world.net(purified)[0], labels, reduction="sum")

    each = [gradient(lambda images, draw=draw: loss_of(draw, images), x) for draw in noise]
    torch.testing.assert_close(averaged, torch.stack(each).mean(0))


def test_what_is_not_random_is_drawn_once(world, x: Tensor):
    calls: list[int] = []

    class Counting(Median):
        def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
            calls.append(len(x))
            return super().purify(x, sigma, noise)

    defended = Defended(world.net, Counting(), 0.1, 5, CPU)
    calls.clear()
    defended.log_probs(x, torch.Generator())
    assert calls == [3]
    assert is_random(Identity(), 0.1, x)
    assert not is_random(Jpeg(), 0.1, x)


def test_without_a_purifier_it_is_the_classifier(world, x: Tensor):
    defended = Defended(world.net, None, 0.1, 5, CPU)
    assert torch.equal(defended.log_probs(x, torch.Generator()), world.net(x)[0].log_softmax(1))
    assert defended.purify(x, 0, ["a", "b", "c"]) is x


@pytest.mark.parametrize("purifier", [Median(), Wobble()])
def test_an_adaptive_attack_is_stronger_than_a_static_one(world, purifier):
    defended = Defended(world.net, purifier, 0.05, 4, CPU)
    ids = [str(index) for index in range(len(world.images))]

    def left(attacked: Defended) -> float:
        """Mean log-probability of the true label behind the purifier."""
        generator = torch.Generator().manual_seed(0)
        found = craft(
            ATTACKS["pgd"],
            lambda x: attacked.log_probs(x, generator),
            world.images,
            world.labels,
            8 / 255,
            generator,
        )
        seen = world.net(defended.purify(found / 255, 0, ids))[0].log_softmax(1)
        return float(seen.gather(1, world.labels[:, None]).mean())

    assert left(defended) < left(Defended(world.net, None, 0.05, 4, CPU)) - 0.05


def test_an_image_and_its_twin_meet_the_same_noise(world, x: Tensor):
    defended = Defended(world.net, Wobble(), 0.1, 2, CPU)
    two = defended.purify(x[:2], 5, ["a", "b"])
    assert torch.equal(two[1:], defended.purify(x[1:2], 5, ["b"]))
    assert not torch.equal(two[1:], defended.purify(x[1:2], 6, ["b"]))
