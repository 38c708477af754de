"""The trainer: deterministic, resumable, early to stop, fair to small classes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_world import png
from torch.nn import functional as F

from elixir.data.open import open_source
from elixir.errors import ElixirError
from elixir.models.backbone import FEATURES
from elixir.models.classifier import KIND, SmallResNet, TrainableClassifier, classify, save_classifier
from elixir.models.trained import load_trained
from elixir.models.weights import read_weights
from elixir.training.classifier import ClassifierTraining, augment, train_classifier, train_classifier_on
from elixir.training.frame import TrainingJob

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SETTINGS = ClassifierTraining(epochs=4, least_steps=1, batch=16, fitted=2, backbone="none")


def data(count: int = 96, size: int = 16) -> tuple[torch.Tensor, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    images = rng.integers(60, 120, (count, 3, size, size))
    images[np.arange(count), labels] += 90
    return torch.from_numpy(images.astype(np.uint8)), labels.astype(np.int64)


def train(tmp_path: Path, settings: ClassifierTraining, **options) -> TrainableClassifier:
    images, labels = data()
    return train_classifier(
        lambda rows: images[rows], np.arange(96), labels, 3, settings, tmp_path / "checkpoint", **options
    )


def same(a: TrainableClassifier, b: TrainableClassifier) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.slow
def test_the_seed_decides_the_weights(tmp_path: Path):
    assert same(train(tmp_path, SETTINGS), train(tmp_path, SETTINGS))
    assert not same(train(tmp_path, SETTINGS), train(tmp_path, replace(SETTINGS, seed=1)))


@pytest.mark.slow
def test_an_interrupted_training_ends_with_the_same_weights(tmp_path: Path):
    class Stop(Exception):
        pass

    def stop(epoch: int, accuracy: float) -> None:
        if epoch == 3:
            raise Stop

    with pytest.raises(Stop):
        train(tmp_path, SETTINGS, on_epoch=stop)
    assert (tmp_path / "checkpoint").exists()
    seen: list[int] = []
    resumed = train(tmp_path, SETTINGS, on_epoch=lambda epoch, accuracy: seen.append(epoch))
    assert seen == [3, 4]
    assert same(resumed, train(tmp_path, SETTINGS))
    assert not (tmp_path / "checkpoint").exists()


def test_it_learns_and_stops_early(tmp_path: Path):
    images, labels = data()
    epochs: list[int] = []
    settings = replace(SETTINGS, epochs=40, fitted=0.99)
    net = train(tmp_path, settings, on_epoch=lambda epoch, accuracy: epochs.append(epoch))
    assert len(epochs) < 40
    assert (classify(net, images, CPU)[0].argmax(1).numpy() == labels).mean() == 1


@pytest.mark.parametrize(
    ("count", "batch", "passes"),
    [(3, 32, 600), (640, 32, 30), (1600, 32, 12), (2500, 50, 12), (3200, 64, 12), (64_000, 64, 5)],
)
def test_small_sets_are_passed_more_often_in_smaller_batches(count: int, batch: int, passes: int):
    settings = ClassifierTraining(epochs=5, least_steps=600, batch=64)
    assert (settings.batch_of(count), settings.passes(count)) == (batch, passes)


def test_no_step_has_more_images_than_the_largest_batch():
    assert ClassifierTraining(batch=8).batch_of(100_000) == ClassifierTraining(batch=8).batch_of(10) == 8


@pytest.mark.slow
def test_a_rare_class_is_learned(tmp_path: Path):
    images, labels = data(192)
    rows = np.concatenate([np.flatnonzero(labels != 2), np.flatnonzero(labels == 2)[:4]])
    settings = replace(SETTINGS, epochs=12)
    net = train_classifier(lambda r: images[r], rows, labels[rows], 3, settings, tmp_path / "checkpoint")
    found = classify(net, images, CPU)[0].argmax(1).numpy()
    assert (found[labels == 2] == 2).mean() > 0.9


@pytest.mark.parametrize(("shift", "places"), [(0.0, 1), (1e-6, 9), (1 / 8, 25)])
def test_images_are_shifted_by_a_pixel_at_least_unless_not_at_all(shift: float, places: int):
    image = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(400, 3, 16, 16)
    shifted = augment(image, ClassifierTraining(shift=shift), np.random.default_rng(0))
    assert len(torch.unique(shifted[:, 0, 8, 8])) == places


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 40), (33, 20)])
@pytest.mark.parametrize("flip", [False, True])
def test_a_shifted_image_is_a_part_of_the_one_that_edge_pixels_surround(height: int, width: int, flip: bool):
    images = torch.randint(256, (30, 3, height, width), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    before = images.clone()
    found = augment(images, ClassifierTraining(shift=1 / 8, flip=flip), np.random.default_rng(3))
    assert torch.equal(images, before)
    assert (found.shape, found.dtype) == (images.shape, torch.uint8)
    reach = round(min(height, width) / 8)
    padded = F.pad(images.float(), (reach,) * 4, mode="replicate").to(torch.uint8)
    places = set()
    for image, whole in zip(found, padded, strict=True):
        fits = [
            (i, j, mirrored)
            for i in range(2 * reach + 1)
            for j in range(2 * reach + 1)
            for mirrored in (False, True)
            if torch.equal(image.flip(-1) if mirrored else image, whole[:, i : i + height, j : j + width])
        ]
        assert len(fits) == 1
        places.update(fits)
    assert len(places) > 15
    assert {mirrored for _, _, mirrored in places} == {False, flip}


def test_every_channel_of_an_image_gets_a_tint_of_its_own():
    images = torch.full((500, 3, 4, 4), 128, dtype=torch.uint8)
    images[:, :, 0, 0], images[:, :, 3, 3] = 250, 5
    tinted = augment(images, ClassifierTraining(shift=0, tint=0.1), np.random.default_rng(0))
    change = tinted[:, :, 1, 1].int() - 128
    assert torch.equal(tinted, (images.int() + change[..., None, None]).clamp(0, 255).byte())
    assert (change.min(), change.max()) == (-25, 25) or (change.min(), change.max()) == (-26, 26)
    assert change.float().std(0) == pytest.approx([25.5 / 3**0.5] * 3, rel=0.1)
    assert torch.corrcoef(change.float().T).fill_diagonal_(0).abs().max() < 0.15


def test_folding_keeps_the_function(tmp_path: Path):
    net = train(tmp_path, SETTINGS)
    x = torch.rand(4, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(net.fused()(x)[0], net(x)[0], atol=1e-4, rtol=1e-4)


def folder(root: Path) -> Path:
    images, labels = data(24)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        (root / "rgb"[label]).mkdir(parents=True, exist_ok=True)
        (root / "rgb"[label] / f"{index}.png").write_bytes(png(image.permute(1, 2, 0).numpy()))
    return root


def test_trained_on_a_folder(tmp_path: Path):
    source, out = open_source(folder(tmp_path / "images")), tmp_path / "out" / "classifier.safetensors"
    out.parent.mkdir()
    accuracy = train_classifier_on(TrainingJob(source, 16, out, CPU, quiet=True), replace(SETTINGS, epochs=12, batch=8))
    assert accuracy > 0.5
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    tensors, metadata = read_weights(out)
    assert json.loads(metadata[KIND])["labels"] == ["b", "g", "r"]
    assert {t.dtype for t in tensors.values()} == {torch.float16, torch.int64}
    images, labels = data()
    found = classify(load_trained(out), images, CPU)[0].argmax(1).numpy()
    assert (found == 2 - labels).mean() > 0.9


def test_a_folder_without_images_is_refused(tmp_path: Path):
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "a" / "0.png").write_bytes(b"no image")
    source = open_source(tmp_path / "images", labelled=False)
    job = TrainingJob(source, 16, tmp_path / "out.safetensors", CPU, quiet=True)
    with pytest.raises(ElixirError, match="no readable image"):
        train_classifier_on(job, SETTINGS)


def test_saved_and_loaded(tmp_path: Path):
    net = train(tmp_path, SETTINGS)
    save_classifier(net, tmp_path / "a.safetensors", ["x", "y", "z"])
    save_classifier(net, tmp_path / "b.safetensors", ["x", "y", "z"])
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert same(load_trained(tmp_path / "a.safetensors"), net)
    (tmp_path / "c.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:1000])
    with pytest.raises(ElixirError, match="truncated"):
        load_trained(tmp_path / "c.safetensors")


def test_a_checkpoint_of_other_data_is_refused(tmp_path: Path):
    def stop(epoch: int, accuracy: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, SETTINGS, on_epoch=lambda epoch, accuracy: None if epoch < 2 else stop(epoch, accuracy))
    with pytest.raises(ElixirError, match="other settings, data or start"):
        train(tmp_path, replace(SETTINGS, seed=1))
    images, labels = data()
    with pytest.raises(ElixirError, match="other settings, data or start"):
        train_classifier(lambda rows: 255 - images[rows], np.arange(96), labels, 3, SETTINGS, tmp_path / "checkpoint")
    (tmp_path / "checkpoint").write_bytes(b"half of one")
    with pytest.raises(ElixirError, match="not a readable safetensors file"):
        train(tmp_path, SETTINGS)


NOISE = torch.randint(0, 256, (24, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
NOISE_LABELS = np.arange(24) % 3


def finetune(
    folder: Path, epochs: int, start: SmallResNet, on_epoch: Callable[[int, float], None] = lambda epoch, right: None
) -> TrainableClassifier:
    settings = ClassifierTraining(epochs, least_steps=0, fitted=2, batch=12, learning_rate=4e-4)
    rows = np.arange(24)
    return train_classifier(
        lambda wanted: NOISE[wanted], rows, NOISE_LABELS, 3, settings, folder / "checkpoint", on_epoch, start=start
    )


@pytest.fixture
def start() -> SmallResNet:
    torch.manual_seed(7)
    return SmallResNet(3)


def weights(net: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


def test_starts_from_the_given_weights_but_for_the_head(tmp_path: Path, start: SmallResNet) -> None:
    found = finetune(tmp_path, 0, start)
    assert torch.equal(weights(found.body), weights(start.body))
    assert not torch.equal(found.head.weight, start.head.weight)


def test_starts_from_the_backbone_where_no_weights_are_given(tmp_path: Path) -> None:
    images, labels = data(6)

    def start_of(backbone: str) -> TrainableClassifier:
        settings = replace(SETTINGS, epochs=0, least_steps=0, backbone=backbone, widths=(8, 12))
        return train_classifier(lambda rows: images[rows], np.arange(6), labels, 3, settings, tmp_path / "checkpoint")

    own = SmallResNet(5, widths=(4, 6))
    save_classifier(own, tmp_path / "own.safetensors", list("abcde"))
    for found, expected in (
        (start_of("features"), load_trained(FEATURES)),
        (start_of(str(tmp_path / "own.safetensors")), own),
    ):
        assert found.head.out_features == 3
        assert all(torch.equal(a, b) for a, b in zip(found.body.parameters(), expected.body.parameters(), strict=True))
    assert start_of("none").head.in_features == 12


def test_for_other_classes_it_starts_with_a_head_that_the_seed_decides(tmp_path: Path) -> None:
    start = SmallResNet(5)
    one, again = finetune(tmp_path, 0, start), finetune(tmp_path, 0, start)
    assert one.head.out_features == 3
    assert same(one, again)
    assert all(torch.equal(a, b) for a, b in zip(one.body.parameters(), start.body.parameters(), strict=True))


def test_interrupted_it_ends_with_the_same_weights_and_leaves_the_start_alone(
    tmp_path: Path, start: SmallResNet
) -> None:
    before = weights(start).clone()
    through = weights(finetune(tmp_path, 3, start))
    assert not torch.equal(through, before)

    def stop(epoch: int, right: float) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(tmp_path, 3, start, stop)
    with pytest.raises(ElixirError, match="other settings, data or start"):
        finetune(tmp_path, 3, SmallResNet(3))
    assert torch.equal(weights(finetune(tmp_path, 3, start)), through)
    assert torch.equal(weights(start), before)
