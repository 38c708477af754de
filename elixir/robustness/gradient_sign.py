"""FGSM and its descendants PGD, MI-FGSM, DI-FGSM and M-DI-FGSM, from the Adversarial Robustness Toolbox."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from elixir.errors import ElixirError
from elixir.randomness import numpy_seeded
from elixir.robustness.attacks import LogProbs

DIVERSE_SHARE = 0.5
MIN_SIZE = 0.9  # of the image


@dataclass(frozen=True)
class GradientSign:
    """Steps along the sign of the cross-entropy's gradient, each followed by projection; see `attacks.Attack`.

    The toolbox has no input diversity: its loops run on a classifier that sees diverse inputs, which is how Xie et al.
    2019 define DI-FGSM and M-DI-FGSM (eqs. 4, 8).

    Attributes:
        step: length of each of the `steps`, as a share of eps; IMPure's 4/255 at 16/255 (arXiv 2311.15339) is 1/4.
        random_start: begin anywhere in the budget (Madry et al. 2018).
        decay: of the momentum of L1-normalised gradients (Dong et al. 2018); None for none.
        diversity: take the gradient at `diverse` inputs (Xie et al. 2019).
    """

    steps: int = 10
    step: float = 0.25
    random_start: bool = False
    decay: float | None = None
    diversity: bool = False

    def __call__(self, log_probs: LogProbs, x: Tensor, labels: Tensor, eps: float, generator: Generator) -> Tensor:
        """See `attacks.Attack`; raises an ElixirError if the toolbox is not installed."""
        try:
            from art.attacks.evasion import ProjectedGradientDescentPyTorch
            from art.estimators.classification import PyTorchClassifier
        except ImportError as error:
            need = "fgsm, pgd and their kin need adversarial-robustness-toolbox"
            raise ElixirError(f"{need}: pip install 'dataset-elixir[benchmark]'") from error
        seen = (lambda images: log_probs(diverse(images, generator))) if self.diversity else log_probs
        with torch.no_grad():
            classes = log_probs(x[:1]).shape[1]
        loss, shape = nn.NLLLoss(reduction="sum"), tuple(x.shape[1:])
        estimator = PyTorchClassifier(
            _OnDevice(seen, x.device), loss, shape, classes, clip_values=(0.0, 1.0), device_type="cpu"
        )
        attack = ProjectedGradientDescentPyTorch(
            estimator,
            eps=eps,
            eps_step=self.step * eps,
            max_iter=self.steps,
            num_random_init=int(self.random_start),
            decay=self.decay,
            batch_size=len(x),
            verbose=False,
        )
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        with numpy_seeded(seed):  # the random start is drawn from numpy's global state
            found = attack.generate(x.cpu().numpy(), labels.cpu().numpy())
        return torch.from_numpy(found).to(x.device)


def diverse(x: Tensor, generator: Generator) -> Tensor:
    """Input diversity (Xie et al. 2019, section 3.3): half of the images (n, c, h, w) shrunk to .9 to 1, on black."""
    chosen, size, across, down = torch.rand(4, len(x), generator=generator, device=x.device)
    kept = torch.where(chosen < DIVERSE_SHARE, MIN_SIZE + (1 - MIN_SIZE) * size, torch.ones_like(size))
    theta = torch.zeros(len(x), 2, 3, device=x.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / kept
    theta[:, 0, 2] = (2 * across - 1) * (1 - kept) / kept
    theta[:, 1, 2] = (2 * down - 1) * (1 - kept) / kept
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


class _OnDevice(nn.Module):
    """A classifier on a device that the toolbox does not know: it sees tensors on the CPU alone."""

    def __init__(self, log_probs: LogProbs, device: torch.device) -> None:
        super().__init__()
        self._log_probs = log_probs
        self._device = device

    def forward(self, x: Tensor) -> Tensor:
        return self._log_probs(x.to(self._device)).cpu()
