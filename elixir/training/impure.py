"""Training of IMPure (arXiv 2311.15339): rebuild clean images first, then clean images from adversarial ones.

Every image draws how much its hidden patches keep of themselves, so that one network serves "mask" and "noise" mode at
any time of the schedule, and how much Gaussian noise it gets, as the probe of a sanitization adds.
"""

from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from elixir.errors import ElixirError
from elixir.models.backbone import FEATURES
from elixir.models.classifier import Classifier
from elixir.models.impure import ARCHITECTURES, KIND, MASKED, ImpureNet, load_impure
from elixir.models.perceptual import PerceptualDistance, load_perceptual
from elixir.models.weights import sha256_of
from elixir.training.denoiser import DenoiserTraining, TrainingRun, log_uniform, noised, train_denoiser, training_on
from elixir.training.frame import TrainingJob

RESIDUALS = (2, 4)  # of the adversarial image one patch in 2, 3 or 4 is put back


@dataclass(frozen=True)
class ImpureTraining(DenoiserTraining):
    """Settings of the first stage, and what both have.

    Args:
        architecture: a name in `elixir.models.impure.ARCHITECTURES`; the same in both stages.
        sigma_min: least Gaussian noise on an image that gets any, in [0,1] pixel units.
        sigma_max: most; in between, the logarithm is uniform.
        noisy: share of images that get Gaussian noise.
        pixel_time: the pixels of a hidden group are diffused to a time below this, its features below `feature_time`.
        masked: share of images whose hidden group is masked instead.
    """

    kind = KIND

    steps: int = 9000
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    architecture: str = "small"
    sigma_min: float = 0.03
    sigma_max: float = 0.6
    noisy: float = 0.5
    pixel_time: int = 600
    feature_time: int = 800
    masked: float = 0.25


@dataclass(frozen=True)
class FineTuning(ImpureTraining):
    """Settings of the second stage, which is nearer to the times at which the network is used.

    Args:
        strengths: of the attack, in [0,1] pixel units, equally likely.
        attack_steps: gradients of PGD.
        perceptual: weight of the perceptual distance beside that of the pixels, which is 1; makes both about as large.
        features_sha256: of the classifier behind the perceptual distance; a training goes on with no other.
    """

    steps: int = 4500
    learning_rate: float = 3e-4
    noisy: float = 0.25
    pixel_time: int = 300
    feature_time: int = 600
    strengths: tuple[float, ...] = (0.0, 4 / 255, 8 / 255, 16 / 255)
    attack_steps: int = 4
    perceptual: float = 0.05
    features_sha256: str | None = None


def pretrain(run: TrainingRun, settings: ImpureTraining) -> float:
    """Train a network to rebuild clean images by the mean absolute difference; see `train_denoiser`."""
    torch.manual_seed(settings.seed)
    net = ImpureNet(settings.architecture).to(run.device)

    def loss_of(clean: Tensor, generator: torch.Generator) -> Tensor:
        return (rebuilt(net, clean, settings, generator) - clean).abs().mean()

    return train_denoiser(run, settings, net, loss_of)


def fine_tune(run: TrainingRun, settings: FineTuning, initial: ImpureNet, distance: PerceptualDistance) -> float:
    """Tune the network `initial`, in a copy, to rebuild the clean images behind adversarial ones.

    The loss is the mean absolute difference of output and clean image, plus the perceptual distance of the two after
    some patches of the adversarial image have been put back into the output. `distance` is on `run.device`; its
    classifier is the one that is attacked. For the rest see `train_denoiser`.
    """
    if initial.architecture != ARCHITECTURES[settings.architecture]:
        raise ElixirError(f"the network to fine-tune is not of the architecture {settings.architecture!r}")
    device = run.device
    net = deepcopy(initial).requires_grad_(True).to(device)
    strengths = torch.tensor(settings.strengths, device=device)

    def loss_of(clean: Tensor, generator: torch.Generator) -> Tensor:
        chosen = torch.randint(len(strengths), (len(clean), 1, 1, 1), generator=generator, device=device)
        seen = pgd(distance.classifier, clean, strengths[chosen], settings.attack_steps, generator)
        out = rebuilt(net, seen, settings, generator)
        mixed = mix_patches(out, seen, net.architecture.patch, generator)
        return (out - clean).abs().mean() + settings.perceptual * distance(mixed, clean).mean()

    return train_denoiser(run, settings, net, loss_of)


def rebuilt(net: ImpureNet, seen: Tensor, settings: ImpureTraining, generator: torch.Generator) -> Tensor:
    """Output of the network for images (n, 3, h, w) under noise and hiding drawn from the settings."""
    number, device = len(seen), seen.device
    sigma = noise_levels(number, settings, generator)
    noisy = noised(seen, sigma, generator)
    pixel_time = torch.randint(settings.pixel_time, (number,), generator=generator, device=device)
    feature_time = torch.randint(settings.feature_time, (number,), generator=generator, device=device)
    masked = torch.rand(number, generator=generator, device=device) < settings.masked
    keep = net.attenuation(seen.shape, pixel_time, feature_time.masked_fill(masked, MASKED), generator)
    return net(noisy, sigma, keep)


def noise_levels(number: int, settings: ImpureTraining, generator: torch.Generator) -> Tensor:
    """Deviations (n,) in [0,1] pixel units: 0, or uniform in the logarithm."""
    share, u = torch.rand((2, number), generator=generator, device=generator.device)
    return torch.where(share < settings.noisy, log_uniform(settings.sigma_min, settings.sigma_max, u), 0.0)


def mix_patches(rebuilt: Tensor, seen: Tensor, patch: int, generator: torch.Generator) -> Tensor:
    """Put 1/2, 1/3 or 1/4 of the patches of the input back into the output, as a residual of the attack.

    Both are (n, 3, h, w), h and w multiples of `patch`; of p patches, p // 2, p // 3 or p // 4 are those of `seen`.
    """
    number, _, height, width = rebuilt.shape
    rows, columns = height // patch, width // patch
    device = rebuilt.device
    order = torch.rand((number, rows * columns), generator=generator, device=device).argsort(1).argsort(1)
    least, most = RESIDUALS
    one_in = torch.randint(least, most + 1, (number, 1), generator=generator, device=device)
    mask = (order < rows * columns // one_in).view(number, 1, rows, columns)
    return torch.where(mask.repeat_interleave(patch, 2).repeat_interleave(patch, 3), seen, rebuilt)


def pgd(model: Classifier, x: Tensor, eps: Tensor, steps: int, generator: torch.Generator) -> Tensor:
    """Projected gradient descent from a random start, away from the label that the model gives the images.

    Madry et al. 2018 (section 2.1), with steps of 2 * eps / `steps`. Returns images in [0,1], within `eps` of `x`.

    Args:
        model: in evaluation mode, with parameters that need no gradient.
        x: float32 (n, 3, h, w) in [0,1].
        eps: largest change of a pixel, float32 (n, 1, 1, 1) in [0,1] pixel units; 0 leaves an image as it is.
        steps: gradients.
        generator: of the start, on the device of `x`.
    """
    with torch.no_grad():
        labels = model(x)[0].argmax(1)
    start = 2 * torch.rand(x.shape, generator=generator, device=x.device) - 1
    low, high = (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)
    adversarial = torch.minimum(torch.maximum(x + eps * start, low), high)
    for _ in range(steps):
        adversarial.requires_grad_()
        with torch.enable_grad():
            loss = F.cross_entropy(model(adversarial)[0], labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, adversarial)
        moved = adversarial.detach() + 2 * eps / steps * gradient.sign()
        adversarial = torch.minimum(torch.maximum(moved, low), high)
    return adversarial


def train_impure_on(
    job: TrainingJob, settings: ImpureTraining, initial: Path | None = None, features: Path | None = None
) -> float:
    """Pre-train or fine-tune, as the class of the settings says, on the images of a source; see `training_on`.

    For the second stage, `initial` is what the first has written, and `features` the classifier to attack and for the
    perceptual distance, None for the shipped one. An ElixirError if the stage does not go with them.
    """
    if not isinstance(settings, FineTuning):
        if initial is not None or features is not None:
            raise ElixirError("pre-training starts from nothing: leave out --initial and --features")
        with training_on(job, settings) as run:
            return pretrain(run, settings)
    if initial is None:
        raise ElixirError("fine-tuning starts from a pre-trained network: give its file with --initial")
    settings = replace(settings, features_sha256=sha256_of(features or FEATURES))
    net, distance = load_impure(initial), load_perceptual(features, job.device)
    with training_on(job, settings) as run:
        return fine_tune(run, settings, net, distance)
