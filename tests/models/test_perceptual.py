"""The perceptual distance: its definition, and that nothing visible escapes it."""

from pathlib import Path

import pytest
import torch
from foreign_networks import save_timm
from torch.nn import functional as F

from elixir.errors import ElixirError
from elixir.models.backbone import load_backbone
from elixir.models.classifier import SmallResNet, save_classifier
from elixir.models.perceptual import PerceptualDistance, load_perceptual

X = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
Y = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def classifier() -> SmallResNet:
    """With biases as training gives them, without which normalised features do not see contrast."""
    torch.manual_seed(0)
    net = SmallResNet(4, widths=(32, 32)).eval()
    for name, parameter in net.named_parameters():
        if name.endswith("1.bias"):
            torch.nn.init.normal_(parameter, std=0.5)
    return net


def test_it_is_the_mean_over_places_of_normalised_features() -> None:
    net = classifier()
    expected = torch.zeros(2)
    for index in range(4):
        features = []
        for image in (X, Y):
            x = F.pixel_unshuffle((image - 0.5) * 4, 2)
            for block in net.body[: index + 1]:
                x = block(x)
            features.append(F.normalize(x, dim=1))
        expected += (features[0] - features[1]).square().sum(1).mean((1, 2))
    found = PerceptualDistance(net)(X, Y)
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, rtol=1e-3)


def test_it_is_a_distance_for_any_size() -> None:
    distance = PerceptualDistance(classifier())
    for size in ((1, 1), (7, 12), (33, 64)):
        x, y = torch.rand(2, 3, *size), torch.rand(2, 3, *size)
        assert torch.equal(distance(x, x), torch.zeros(2))
        assert torch.equal(distance(x, y), distance(y, x))
        assert (distance(x, y) > 0).all()


@pytest.mark.parametrize("channel", [0, 1, 2, slice(None)])
def test_an_image_of_the_wrong_colour_or_brightness_is_led_back(channel: int | slice) -> None:
    distance, image = PerceptualDistance(classifier()), F.avg_pool2d(X, 4)
    start = image.clone()
    start[:, channel] += 0.15
    x = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        distance(x, image).sum().backward()
        optimizer.step()
    assert (start - image).mean((2, 3)).abs().max() > 0.14
    assert (x - image).mean((2, 3)).abs().max() < 0.03


def test_weights_are_fixed_and_read_from_a_file(tmp_path: Path) -> None:
    save_classifier(classifier(), tmp_path / "features.safetensors", list("abcd"))
    distance = load_perceptual(tmp_path / "features.safetensors", torch.device("cpu"))
    assert torch.equal(distance(X, Y), PerceptualDistance(classifier())(X, Y))
    assert not any(parameter.requires_grad for parameter in distance.parameters())
    save_timm(tmp_path / "timm.safetensors")
    other = load_backbone(f"timm:test_resnet@{tmp_path / 'timm.safetensors'}")
    assert other is not None
    save_classifier(other, tmp_path / "other.safetensors", ["a"])
    with pytest.raises(ElixirError, match=r"other\.safetensors' has another backbone"):
        load_perceptual(tmp_path / "other.safetensors", torch.device("cpu"))
    with pytest.raises(ElixirError, match="no weight file"):
        load_perceptual(tmp_path / "missing.safetensors", torch.device("cpu"))
