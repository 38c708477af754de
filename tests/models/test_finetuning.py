"""Training on from given weights."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from elixir.models.classifier import SmallResNet
from elixir.training.classifier import ClassifierTraining, train_classifier

IMAGES = torch.randint(0, 256, (24, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
LABELS = np.arange(24) % 3


def finetune(
    folder: Path, epochs: int, initial: SmallResNet, on_epoch: Callable[[int, float], None] = lambda epoch, right: None
) -> SmallResNet:
    settings = ClassifierTraining(epochs, least_steps=0, fitted=2, batch=12, learning_rate=4e-4)
    rows = np.arange(24)
    return train_classifier(
        lambda wanted: IMAGES[wanted], rows, LABELS, 3, settings, folder / "checkpoint", on_epoch, initial=initial
    )


@pytest.fixture
def initial() -> SmallResNet:
    torch.manual_seed(7)
    return SmallResNet(3)


def weights(net: SmallResNet) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


def test_starts_from_the_given_weights(tmp_path: Path, initial: SmallResNet) -> None:
    assert torch.equal(weights(finetune(tmp_path, 0, initial)), weights(initial))


def test_interrupted_it_ends_with_the_same_weights_and_leaves_the_initial_alone(
    tmp_path: Path, initial: SmallResNet
) -> None:
    before = weights(initial).clone()
    through = weights(finetune(tmp_path, 3, initial))
    assert not torch.equal(through, before)

    def stop(epoch: int, right: float) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(tmp_path, 3, initial, stop)
    assert torch.equal(weights(finetune(tmp_path, 3, initial)), through)
    assert torch.equal(weights(initial), before)
