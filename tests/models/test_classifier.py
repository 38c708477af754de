"""The small classifier: any size and number of scales, label order, and outputs that do not depend on the batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from elixir.models.classifier import (
    CPU_BATCH,
    SmallResNet,
    classify,
    fused,
    load_small_classifier,
    predict,
    save_classifier,
)

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
    torch.testing.assert_close(load_small_classifier(tmp_path / "net.safetensors")(x)[0], net(x)[0])


def test_classification_does_not_depend_on_the_batch():
    net = fused(SmallResNet(5).eval())
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
    assert torch.allclose(load_small_classifier(path, ["50", "stop", "yield"])(x)[0], expected[:, [2, 0, 1]], atol=1e-5)
    assert torch.allclose(load_small_classifier(path, ["00", "01", "02"])(x)[0], expected, atol=1e-5)


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
