"""Smoothing against a classifier whose radii are known, and its indifference to company and batch."""

import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from elixir.certification import smoothing
from elixir.certification.sampling import ABSTAIN
from elixir.certification.smoothing import SmoothedClassifier
from elixir.errors import ElixirError
from elixir.models.classifier import Classifier, SmallResNet
from elixir.purifiers.network import load_prior
from elixir.registry import find

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SIGMA = 0.25


class HalfSpace(Classifier):
    """Label 1 where the mean over the pixels exceeds 1/2: the smoothed one agrees, and its radius is the distance."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x.mean((1, 2, 3))
        return torch.stack([torch.full_like(mean, 0.5), mean], 1), mean[:, None]


class Unclipped:
    """Hands the noisy images on, and remembers them."""

    nfe = 3

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def purify(self, x: Tensor, sigma: float, noise: Tensor) -> Tensor:
        self.seen.append(x + sigma * noise)
        return self.seen[-1]

    def denoise(self, noisy: Tensor, sigma: float) -> Tensor:
        return noisy


def grey(distances: list[float], side: int = 8) -> tuple[Tensor, list[str]]:
    """Grey images at these L2 distances from the half space's boundary."""
    levels = 0.5 + torch.tensor(distances) / (3 * side * side) ** 0.5
    return levels.view(-1, 1, 1, 1).expand(-1, 3, side, side).contiguous(), [f"{d:g}" for d in distances]


def test_radii_of_a_half_space_are_distances():
    distances = [-0.6, -0.3, -0.1, 0.1, 0.2, 0.3, 0.4, 0.5]
    images, ids = grey(distances)
    smoothed = SmoothedClassifier(HalfSpace(), Unclipped(), SIGMA, CPU)
    for distance, found in zip(distances, smoothed.certify(images, ids, 100, 2000, 0.001), strict=True):
        assert found.prediction == int(distance > 0)
        assert 0.7 * abs(distance) < found.radius <= abs(distance)
        assert found.hits / found.draws == pytest.approx(norm.cdf(abs(distance) / SIGMA), abs=0.04)


def test_prediction_abstains_on_the_boundary():
    images, ids = grey([-0.3, 0.0, 0.3])
    labels = SmoothedClassifier(HalfSpace(), Unclipped(), SIGMA, CPU).predict(images, ids, 500, 0.001)
    assert labels.tolist() == [0, ABSTAIN, 1]


def test_noise_is_standard_normal_and_not_clipped():
    images, ids = grey([0.0, 0.1])
    purifier = Unclipped()
    smoothed = SmoothedClassifier(HalfSpace(), purifier, SIGMA, CPU)
    smoothed.certify(images, ids, 50, 200, 0.001)
    draws = torch.cat(purifier.seen)
    assert len(draws) == 2 * 250
    assert smoothed.cost.nfe == 3 * len(draws)
    assert len(draws.flatten(1).unique(dim=0)) == len(draws)
    assert draws.min() < 0
    assert draws.max() > 1
    assert (draws.mean() - 0.5).abs() < 0.005
    assert draws.std() == pytest.approx(SIGMA, rel=0.01)


def test_company_order_and_room_do_not_matter(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    classifier = SmallResNet(4, widths=(8, 12)).eval()
    images = torch.rand(5, 3, 16, 16)
    ids = list("abcde")
    for purifier in (load_prior(None, CPU), find("purifiers", "none")(None, CPU)):

        def certify(rows: list[int], room: int, purifier=purifier) -> list:
            monkeypatch.setattr(smoothing, "CPU_IMAGES", room)
            smoothed = SmoothedClassifier(classifier, purifier, SIGMA, CPU)
            return smoothed.certify(images[rows], [ids[row] for row in rows], 10, 30, 0.01)

        whole = certify([0, 1, 2, 3, 4], room=16)
        assert certify([0, 1, 2, 3, 4], room=2) == whole
        assert certify([4, 2], room=16) == [whole[4], whole[2]]
        assert certify([3], room=1) == [whole[3]]


def test_noise_belongs_to_seed_id_and_sigma():
    def drawn(seed: int = 0, id: str = "a", sigma: float = SIGMA) -> Tensor:
        purifier = Unclipped()
        SmoothedClassifier(HalfSpace(), purifier, sigma, CPU, seed).certify(grey([0.0])[0], [id], 5, 5, 0.1)
        return (torch.cat(purifier.seen) - 0.5) / sigma

    assert torch.equal(drawn(), drawn())
    for other in (drawn(seed=1), drawn(id="b"), drawn(sigma=0.5)):
        assert not torch.isclose(drawn(), other).any(1).any()


def test_images_of_several_sizes():
    images = [("a", torch.zeros(3, 8, 8)), ("b", torch.ones(3, 8, 8)), ("c", torch.ones(3, 9, 5))]
    smoothed = SmoothedClassifier(HalfSpace(), Unclipped(), SIGMA, CPU)
    found = dict(smoothed.certify_each(images, 10, 100, 0.01, adaptive=True))
    assert {id: certificate.prediction for id, certificate in found.items()} == {"a": 0, "b": 1, "c": 1}


@pytest.mark.parametrize(
    ("sigma", "n0", "n", "alpha", "message"),
    [
        (0.0, 10, 10, 0.1, "sigma must be greater than 0"),
        (0.1, 0, 10, 0.1, "at least one draw"),
        (0.1, 10, 0, 0.1, "at least one draw"),
        (0.1, 10, 10, 1.0, "alpha is a probability"),
    ],
)
def test_senseless_settings(sigma: float, n0: int, n: int, alpha: float, message: str):
    with pytest.raises(ElixirError, match=message):
        SmoothedClassifier(HalfSpace(), Unclipped(), sigma, CPU).certify(*grey([0.1]), n0, n, alpha)
