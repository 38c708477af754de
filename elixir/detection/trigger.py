"""What a group of samples has in common besides its content: of a fixed trigger, the trigger."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.fft import dctn, idctn
from scipy.special import logsumexp
from torch import Tensor

from elixir.data.pixels import blocks
from elixir.detection.probe import Images


def mean_image(images: Images, indices: np.ndarray) -> Tensor:
    """Mean of some images, n > 0, in grey levels, float64 (3, s, s)."""
    total = torch.zeros(images.shape, dtype=torch.float64)
    for block in blocks(indices, images.shape):
        total += images.read(block).double().sum(0)
    return total / len(indices)


def mean_residual(pixels: Images, purified: Images, indices: np.ndarray) -> Tensor:
    """Mean of raw minus purified image over n > 0 samples, float32 (3, s, s) in [-255, 255].

    Faint and fine triggers come out clean; of smooth ones purification leaves most in the image.
    """
    return (mean_image(pixels, indices) - mean_image(purified, indices)).float()


@dataclass(frozen=True)
class Benign:
    """Benign samples, with which poisoned ones are compared.

    Attributes:
        images: of all samples.
        indices: of those whose given labels are right, int64 (m,).
        label: of these, (m,).
        variance_inflation: factor on the variance of means.
    """

    images: Images
    indices: np.ndarray
    label: np.ndarray
    variance_inflation: float
    _known: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False)

    def moments(self, label: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of every frequency (DCT) over those of a label, float64 (3, s, s); zeros without any."""
        if label not in self._known:
            own = self.indices[self.label == label]
            nothing = np.zeros((2, *self.images.shape))
            self._known[label] = _spectrum_moments(self.images, own) if len(own) else (nothing[0], nothing[1])
        return self._known[label]


def mean_difference(benign: Benign, indices: np.ndarray, true_label: np.ndarray) -> Tensor:
    """Mean of n samples minus the mean of benign ones of the same true labels, float32 (3, s, s) in [-255, 255].

    It needs no purification, but contents average out only over many samples. What chance leaves of them at each
    frequency, by how much benign images vary there, is taken away with a Wiener filter. Samples of a label without
    benign ones are left out.
    """
    difference, chance, _ = _difference(benign, indices, true_label)
    return _image(_wiener(difference, benign.variance_inflation * chance))


def matched_filter(benign: Benign, indices: np.ndarray, true_label: np.ndarray, ridge: float) -> Tensor:
    """The filter that tells best, along a line, images with what n samples have in common from others; (3, s, s).

    w = d / v at each frequency (Turin 1960), where d is the mean difference, see `mean_difference`, and v the variance
    of benign images within their labels. So <w, x> of benign images x varies by about 1; w is 0 where d is.

    Args:
        ridge: added to the variance, in squared grey levels.
    """
    difference, chance, variance = _difference(benign, indices, true_label)
    kept, noise = _wiener(difference, benign.variance_inflation * chance), variance + ridge
    return _image(kept / noise / max(np.sqrt((kept**2 / noise).sum()), 1e-12))


def filtered(images: Images, indices: np.ndarray, weights: Tensor) -> np.ndarray:
    """<weights, x> of n images x in grey levels, float64 (n,); the weights are (3, s, s)."""
    parts = blocks(indices, images.shape)
    return np.concatenate([(images.read(part).flatten(1).float() @ weights.flatten()).numpy() for part in parts])


def _difference(
    benign: Benign, indices: np.ndarray, true_label: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean spectrum of n samples minus that of benign ones of the same labels, its variance by chance, and theirs.

    The last is the variance within labels, as often as each occurs; all are (3, s, s).
    """
    difference, chance, variance = np.zeros((3, *benign.images.shape))
    others = {label: int((benign.label == label).sum()) for label in np.unique(true_label).tolist()}
    known = [label for label, found in others.items() if found]
    count = max(1, int(np.isin(true_label, known).sum()))
    for label in known:
        group = indices[true_label == label]
        mean, own = benign.moments(label)
        share = len(group) / count
        difference += share * (_mean_spectrum(benign.images, group) - mean)
        chance += own * (share / count + share**2 / others[label])
        variance += share * own
    return difference, chance, variance


def mean_excess(benign: Benign, indices: np.ndarray, label: int) -> Tensor:
    """Mean of n > 0 samples minus that of benign ones of one label, as far as no other label differs from it as much.

    So it holds no content, whether the samples are of this label or of a mixture of labels, and of a trigger what no
    content looks like. float32 (3, s, s) in [-255, 255]; 0 if no benign sample has the label.
    """
    images, own = benign.images, benign.indices[benign.label == label]
    if not len(own):
        return torch.zeros(images.shape)
    mean, variance = benign.moments(label)
    others = [benign.indices[benign.label == other] for other in np.unique(benign.label) if other != label]
    content = np.max([(_mean_spectrum(images, other) - mean) ** 2 for other in others], axis=0, initial=0.0)
    chance = benign.variance_inflation * variance * (1 / len(indices) + 1 / len(own))
    return _image(_wiener(_mean_spectrum(images, indices) - mean, chance + content))


def trigger_drop(
    classify: Callable[[Tensor], np.ndarray], images: Tensor, triggers: Mapping[int, Tensor]
) -> dict[int, np.ndarray]:
    """How far the log-odds of each attacked label fall if its trigger is taken away from n images, float32 (n,) each.

    A model that has learned the trigger lets go of the label where there was one. Where there was none it hardly cares,
    whether it has learned from the image or not, and whether the image shows this label or is mistaken for it.

    Args:
        classify: from images, float in [0,1], to log-probabilities (n, k) by a model that has learned the triggers.
        images: uint8 (n, 3, s, s).
        triggers: label -> float32 (3, s, s) in [0,1] pixel units.
    """
    if not triggers:
        return {}
    x = images.float() / 255
    raw = classify(x)
    return {
        label: _log_odds(raw, label) - _log_odds(classify((x - trigger).clamp(0, 1)), label)
        for label, trigger in triggers.items()
    }


def _log_odds(logp: np.ndarray, label: int) -> np.ndarray:
    """log(p / (1 - p)) of a label, (n,), of log-probabilities (n, k); exact where p is next to 1."""
    return logp[:, label] - logsumexp(np.delete(logp, label, axis=1), axis=1)


def _wiener(spectrum: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """A spectrum (3, s, s), each coefficient times max(0, 1 - chance / coefficient^2)."""
    return np.clip(1 - chance / np.maximum(spectrum**2, 1e-12), 0, None) * spectrum


def _image(spectrum: np.ndarray) -> Tensor:
    """The image of a spectrum, float32 (3, s, s)."""
    return torch.from_numpy(np.asarray(idctn(spectrum, axes=(1, 2), norm="ortho"))).float()


def _mean_spectrum(images: Images, indices: np.ndarray) -> np.ndarray:
    """Mean of every frequency (DCT), float64 (3, s, s)."""
    return np.asarray(dctn(mean_image(images, indices).numpy(), axes=(1, 2), norm="ortho"))


def _spectrum_moments(images: Images, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of every frequency (DCT), float64 (3, s, s) each."""
    total, squares = np.zeros(images.shape), np.zeros(images.shape)
    for block in blocks(indices, images.shape):
        spectra = np.asarray(dctn(images.read(block).numpy().astype(np.float64), axes=(2, 3), norm="ortho"))
        total += spectra.sum(0)
        squares += (spectra**2).sum(0)
    mean = total / len(indices)
    return mean, np.maximum(squares / len(indices) - mean**2, 0)
