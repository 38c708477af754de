"""The small classifier: any size and number of scales, label order, gradients, and no dependence on the batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from elixir.models.classifier import (
    CPU_BATCH,
    SmallResNet,
    classify,
    label_gradient,
    predict,
    save_classifier,
)
from elixir.models.trained import load_trained

CPU = torch.device("cpu")


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(16, 16), (17, 23), (64, 40)])
def test_any_size_and_channel_count(channels: int, size: tuple[int, int]):
    logits, features = SmallResNet(5, channels)(torch.rand(2, channels, *size))
    assert logits.shape == (2, 5)
    assert features.shape == (2, 192)


def test_any_number_of_scales(tmp_path: Path):
    torch.manual_seed(0)
    net, x = SmallResNet(5, widths=(16, 8, 24, 12)).eval(), torch.rand(2, 3, 20, 17)
    assert [tuple(maps.shape[1:]) for maps in net.feature_maps(x)[::2]] == [
        (16, 10, 9),
        (8, 5, 5),
        (24, 3, 3),
        (12, 2, 2),
    ]
    save_classifier(net, tmp_path / "net.safetensors", list("abcde"))
    torch.testing.assert_close(load_trained(tmp_path / "net.safetensors")(x)[0], net(x)[0])


def test_classification_does_not_depend_on_the_batch():
    net = SmallResNet(5).eval().fused()
    images = torch.randint(0, 256, (70, 3, 32, 32), dtype=torch.uint8)
    logp, features = classify(net, images, CPU)
    for rows in (slice(0, 1), slice(3, 20), slice(60, 70)):
        part = classify(net, images[rows], CPU)
        assert torch.equal(part[0], logp[rows])
        assert torch.equal(part[1], features[rows])


def test_logits_follow_the_order_of_the_dataset(tmp_path: Path):
    torch.manual_seed(0)
    net, path = SmallResNet(3).eval(), tmp_path / "net.safetensors"
    save_classifier(net, path, ["stop", "yield", "50"])
    x = torch.rand(2, 3, 16, 16)
    expected = net(x)[0]
    assert torch.allclose(load_trained(path, ["50", "stop", "yield"])(x)[0], expected[:, [2, 0, 1]], atol=1e-5)
    assert torch.allclose(load_trained(path, ["00", "01", "02"])(x)[0], expected, atol=1e-5)


def test_labels_are_those_of_the_log_probabilities():
    torch.manual_seed(0)
    net = SmallResNet(5, widths=(8, 12)).eval()
    images = torch.randint(256, (CPU_BATCH + 3, 3, 16, 16), dtype=torch.uint8)
    logp, features = classify(net, images, CPU)
    labels = predict(net, images, CPU)
    assert labels.dtype == torch.int64
    assert torch.equal(labels, logp.argmax(1))
    assert features.shape == (CPU_BATCH + 3, 12)
    assert len(labels.unique()) > 1
    for row in (0, CPU_BATCH, CPU_BATCH + 2):
        assert torch.equal(classify(net, images[row : row + 1], CPU)[0][0], logp[row])
        assert predict(net, images[row : row + 1].float() / 255, CPU) == labels[row]


@pytest.fixture
def plain() -> SmallResNet:
    """A network that nothing is left out of: statistics of its normalisation differ from 0 and 1."""
    torch.manual_seed(0)
    net = SmallResNet(5, widths=(8, 12))
    net(torch.rand(64, 3, 16, 16))  # in training mode, which fills the statistics
    return net.eval()


def images_and_labels(count: int = CPU_BATCH + 3) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, 16, 16, generator=draw), torch.randint(5, (count,), generator=draw)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are computed in single precision, where they would be in a shorter format."""
    for name in ("fast_dtype", "training_dtype"):
        monkeypatch.setattr(f"elixir.models.classifier.{name}", lambda device: torch.float32)


@pytest.mark.usefixtures("exact")
def test_the_gradient_of_the_label_is_that_of_autograd(plain: SmallResNet):
    images, labels = images_and_labels()
    found = label_gradient(plain, images, labels, CPU)
    assert (found.shape, found.dtype, found.requires_grad) == (images.shape, torch.float32, False)
    for row in (0, 1, CPU_BATCH - 1, CPU_BATCH, CPU_BATCH + 2):
        x = images[row : row + 1].clone().requires_grad_(True)
        plain(x)[0][0, labels[row]].backward()
        assert x.grad is not None
        torch.testing.assert_close(found[row], x.grad[0], atol=1e-6, rtol=1e-4)
    assert not images.requires_grad
    assert images.grad is None
    assert not torch.allclose(found[0], label_gradient(plain, images[:1], (labels[:1] + 1) % 5, CPU)[0], atol=1e-4)


def test_in_a_short_format_the_gradient_has_the_same_direction(plain: SmallResNet, monkeypatch: pytest.MonkeyPatch):
    images, labels = images_and_labels(16)
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        monkeypatch.setattr("elixir.models.classifier.training_dtype", lambda device, dtype=dtype: dtype)
        gradients.append(label_gradient(plain, images, labels, CPU))
        assert gradients[-1].dtype == torch.float32
    assert (torch.cosine_similarity(*(gradient.flatten(1) for gradient in gradients)) > 0.9).all()


@pytest.mark.usefixtures("exact")
def test_the_gradient_of_the_label_is_how_the_logit_changes(plain: SmallResNet):
    images, labels = images_and_labels(4)
    found = label_gradient(plain, images, labels, CPU).double()
    direction = torch.randn(images.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    exact, step = plain.double(), 1e-7

    def logit(x: torch.Tensor) -> torch.Tensor:
        last = exact.feature_maps(x)[-1]
        return exact.head(last.mean((2, 3)) + last.amax((2, 3))).gather(1, labels[:, None])[:, 0]

    with torch.inference_mode():
        change = (logit(images + step * direction) - logit(images - step * direction)) / (2 * step)
    torch.testing.assert_close((found * direction).sum((1, 2, 3)), change, atol=1e-4, rtol=1e-4)


def test_the_gradient_does_not_depend_on_the_batch_nor_on_the_format(plain: SmallResNet):
    images, labels = images_and_labels()
    images = (255 * images).round().to(torch.uint8)
    whole = label_gradient(plain, images, labels, CPU)
    for rows in (slice(0, 1), slice(3, 20), slice(CPU_BATCH - 1, CPU_BATCH + 3)):
        assert torch.equal(label_gradient(plain, images[rows], labels[rows], CPU), whole[rows])
    assert torch.equal(label_gradient(plain, images.float() / 255, labels, CPU), whole)


@pytest.mark.usefixtures("exact")
def test_no_gradient_is_left_anywhere(plain: SmallResNet):
    images, labels = images_and_labels(2)
    with torch.no_grad():
        outside = label_gradient(plain, images, labels, CPU)
    assert outside.abs().sum() > 0
    assert not images.requires_grad
    assert all(parameter.grad is None for parameter in plain.parameters())
    quiet = label_gradient(plain.fused().requires_grad_(False), images, labels, CPU)  # as a run keeps its classifiers
    torch.testing.assert_close(quiet, outside, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("classes", [5, 7])
def test_a_copy_for_other_classes_has_the_same_body_and_a_new_head(plain: SmallResNet, classes: int):
    copy = plain.with_classes(classes)
    assert copy.head.weight.shape == (classes, 12)
    assert copy.head.bias.shape == (classes,)
    assert not torch.equal(copy.head.weight[:5], plain.head.weight)
    for name, value in plain.body.state_dict().items():
        assert torch.equal(copy.body.state_dict()[name], value)
    assert all(one is not two for one, two in zip(copy.parameters(), plain.parameters(), strict=True))
    with torch.no_grad():
        copy.head.weight.zero_()
    assert plain.head.weight.any()
    assert plain.head.out_features == 5
