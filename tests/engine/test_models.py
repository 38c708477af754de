"""The classifiers of a run: where they start, how they are kept, and what they are asked."""

from pathlib import Path

import numpy as np
import pytest
import torch
from foreign_networks import build, export

from elixir.engine.cost import Meter
from elixir.engine.models import Models
from elixir.errors import ElixirError
from elixir.models.backbone import FEATURES
from elixir.models.classifier import Classifier, SmallResNet, TrainableClassifier, save_classifier
from elixir.models.trained import load_trained
from elixir.models.weights import read_weights, sha256_of
from elixir.progress import Progress
from elixir.training.classifier import ClassifierTraining

CPU = torch.device("cpu")
IMAGES = torch.randint(256, (12, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
EVERY = np.arange(12)
LABELS = EVERY % 2


@pytest.fixture
def models(tmp_path: Path) -> Models:
    meter = Meter(tmp_path / "costs")
    meter.start("test")
    return Models(tmp_path / "models", ["a", "b"], CPU, meter, Progress(quiet=True))


def train(models: Models, name: str, backbone: str, epochs: int = 0, **options) -> TrainableClassifier:
    """Train for so many epochs, by default none, so that a network is kept as it starts."""
    settings = ClassifierTraining(epochs=epochs, least_steps=0, backbone=backbone, widths=(8, 12), batch=4)
    models.train(name, lambda rows: IMAGES[rows], EVERY, LABELS, settings, **options)
    path = models._path(name)
    assert {tensor.dtype for tensor in read_weights(path)[0].values()} == {torch.float16, torch.int64}
    return load_trained(path)


def same_body(one: TrainableClassifier, other: TrainableClassifier) -> bool:
    """Whether two bodies are the same in half precision, in which they are kept."""
    pairs = zip(one.body.state_dict().values(), other.body.state_dict().values(), strict=True)
    return all(a.shape == b.shape and torch.equal(a.half(), b.half()) for a, b in pairs)


def test_a_training_starts_from_the_shipped_features(models: Models):
    net = train(models, "reference", "features")
    assert same_body(net, load_trained(FEATURES))
    assert net.head.out_features == 2


def test_without_a_backbone_it_starts_from_random_weights(models: Models):
    net = train(models, "reference", "none")
    assert [len(net.body[block][0].weight) for block in (0, 2)] == [8, 12]  # type: ignore[index]
    torch.manual_seed(0)
    assert same_body(net, SmallResNet(2, widths=(8, 12)))


def test_it_starts_from_a_file(models: Models, tmp_path: Path):
    torch.manual_seed(7)
    own = SmallResNet(5, widths=(4, 6, 8))
    save_classifier(own, tmp_path / "own.safetensors", list("abcde"))
    assert same_body(train(models, "reference", str(tmp_path / "own.safetensors")), own)
    with pytest.raises(ElixirError, match="there is no weight file"):
        train(models, "clean", str(tmp_path / "none.safetensors"))


def test_it_starts_from_a_kept_classifier_rather_than_from_the_backbone(models: Models):
    reference = train(models, "reference", "none", epochs=3)
    recognizer = train(models, "recognizer-0-0", "features", initial="reference", classes=["a", "b", "flagged b"])
    assert same_body(recognizer, reference)
    assert recognizer.head.out_features == 3
    again = train(models, "clean", "features", initial="reference")
    assert not torch.equal(again.head.weight, reference.head.weight)
    assert [path.name for path in models.handed_out()] == ["reference.safetensors", "clean.safetensors"]


def test_a_torchscript_file_is_kept_once_and_handed_out_with_what_starts_from_it(models: Models, tmp_path: Path):
    script = export(build(), tmp_path / "net.pt")
    assert models.handed_out() == []
    for name, initial in (("reference", None), ("recognizer", "reference"), ("clean", None)):
        net = train(models, name, str(script), epochs=2, initial=initial)
        assert net.head.out_features == 2
    kept = models.handed_out()
    assert [path.name for path in kept] == ["reference.safetensors", "clean.safetensors", f"{sha256_of(script)}.pt"]
    assert kept[-1].read_bytes() == script.read_bytes()
    models.copy("clean", "copied")
    for one, other in zip(models.classify("clean", IMAGES), models.classify("copied", IMAGES), strict=True):
        assert np.array_equal(one, other)


def test_a_network_without_a_gradient_is_explained(tmp_path: Path):
    class Rounding(Classifier):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            features = (x.detach() * 255).round().flatten(1)
            return features[:, :2], features

    meter = Meter(tmp_path / "costs")
    meter.start("test")
    own = Models(tmp_path / "models", ["a", "b"], CPU, meter, Progress(quiet=True), Rounding())
    with pytest.raises(ElixirError, match="no gradient by its images; give a model that autograd goes through"):
        own.label_gradient("reference", IMAGES, LABELS)


def test_a_gradient_is_that_of_the_label_that_is_read(models: Models):
    train(models, "reference", "none", epochs=20)
    x = IMAGES.float() / 255
    before = models.classify("reference", x)[0]
    gradient = models.label_gradient("reference", x, LABELS)
    assert gradient.shape == x.shape
    step = 0.02 / gradient.flatten(1).norm(dim=1)[:, None, None, None]
    after = models.classify("reference", x + step * gradient)[0]
    odds = [logp[EVERY, LABELS] - logp[EVERY, 1 - LABELS] for logp in (before, after)]
    assert (odds[1] > odds[0]).mean() > 0.9
