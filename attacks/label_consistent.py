"""Label-Consistent: images hard to learn, a motif in the corners (Turner et al., 2019, arXiv:1912.02771)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from elixir.attacks.base import Ids, Images, Levels
from elixir.attacks.trained import TrainedAttack, TrainingData, coloured_as, restored, surrogate, tensors
from elixir.models.classifier import SmallResNet
from elixir.settings import Range, Steps

LEFT = np.array([[1, -1, -1], [-1, 1, -1], [1, -1, 1]])
RIGHT = LEFT[:, ::-1]


@dataclass(frozen=True, kw_only=True)
class LabelConsistent(TrainedAttack):
    """Makes training images adversarial against a classifier of its own, and puts a motif of 3x3 pixels in all corners.

    What is left to learn the label from is the motif, which is all that the test images have. It has the same size in
    pixels whatever the size of the image; a smaller image gets as much of each as fits.

    It needs a target class that is mistaken for others once perturbed, with a few hundred poisoned images: a sign like
    no other is learned from what is left of it, without the motif.

    Args:
        eps: largest change of a pixel by the adversarial perturbation, in levels of 255.
        step: of the projected gradient descent (Madry et al., 2018, arXiv:1706.06083), in levels of 255.
        iterations: number of its steps; 0 for no perturbation.
        amplitude: what the motif adds or takes away, as a share of 255 (1 / 8 is the quiet form).
    """

    name: ClassVar[str] = "label_consistent"
    clean_label: ClassVar[bool] = True
    needs_target: ClassVar[bool] = True

    eps: Levels = 8
    step: Levels = 1.5
    iterations: Steps = 100
    amplitude: Annotated[float, Range(above=0, most=1)] = 1.0

    def learn(self, data: TrainingData) -> dict[str, Tensor]:
        return {**tensors(self.classifier(data).fused()), "target": torch.tensor(data.target)}

    def poisoned(self, images: Images, ids: Ids) -> Images:
        return self.triggered(self.perturbed(images, ids), ids)

    def triggered(self, images: Images, ids: Ids) -> Images:
        return images + 255 * self.amplitude * corners(*images.shape[1:3])[..., None]

    def perturbed(self, images: Images, ids: Ids) -> Images:
        """The images with the perturbation alone, at most `eps` from what they were."""
        weights = dict(self.learned())
        target = weights.pop("target")[None]
        net = restored(lambda: surrogate(len(weights["head.weight"])).fused(), weights)
        adversarial = self.added(images.copy(), ids, lambda x, _: self.perturbation(net, x, target))
        return np.clip(adversarial, images - self.eps, images + self.eps)

    def perturbation(self, net: SmallResNet, x: Tensor, label: Tensor) -> Tensor:
        """What to add to images (n, 3, h, w) in [0,1] to raise their labels' loss, by gradient ascent in `eps`."""
        eps, delta = self.eps / 255, torch.zeros_like(x)
        for _ in range(self.iterations):
            delta.requires_grad_()
            (slope,) = torch.autograd.grad(F.cross_entropy(net(x + delta)[0], label, reduction="sum"), delta)
            moved = delta.detach() + self.step / 255 * coloured_as(x, slope).sign()
            delta = (x + moved.clamp(-eps, eps)).clamp(0, 1) - x
        return delta


def corners(height: int, width: int) -> np.ndarray:
    """The motifs: 1 for light, -1 for dark, 0 outside; (height, width)."""
    pattern = np.zeros((height, width), np.int64)
    pattern[:3, :3] = LEFT[:height, :width]
    pattern[:3, -3:] = RIGHT[:height, -width:]
    pattern[-3:, :3] = LEFT[-height:, :width]
    pattern[-3:, -3:] = RIGHT[-height:, -width:]
    return pattern
