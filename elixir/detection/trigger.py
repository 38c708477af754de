"""What a group of samples has in common besides its content: of a fixed trigger, the trigger."""

from __future__ import annotations

import numpy as np
import torch
from scipy.fft import dctn, idctn
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


def mean_difference(
    pixels: Images,
    indices: np.ndarray,
    true_label: np.ndarray,
    benign: np.ndarray,
    benign_label: np.ndarray,
    variance_inflation: float,
) -> Tensor:
    """Mean of some samples minus the mean of benign ones of the same true labels.

    It needs no purification, but contents average out only over many samples. What chance leaves of them at each
    frequency, by how much benign images vary there, is taken away with a Wiener filter.

    Args:
        indices: int64 (n,); those of a label without benign samples are left out.
        true_label: of these, (n,).
        benign: indices of samples whose given labels are right, int64 (m,).
        benign_label: of these, (m,).
        variance_inflation: factor on the variance of means.

    Returns:
        float32 (3, s, s) in [-255, 255].
    """
    difference, chance = np.zeros(pixels.shape), np.zeros(pixels.shape)
    others = {int(label): benign[benign_label == label] for label in np.unique(true_label)}
    known = [label for label, found in others.items() if len(found)]
    count = max(1, int(np.isin(true_label, known).sum()))
    for label in known:
        group = indices[true_label == label]
        mean, variance = _spectrum_moments(pixels, others[label])
        share = len(group) / count
        difference += share * (_mean_spectrum(pixels, group) - mean)
        chance += variance * (share / count + share**2 / len(others[label]))
    return _wiener(difference, variance_inflation * chance)


def mean_excess(
    pixels: Images,
    indices: np.ndarray,
    label: int,
    benign: np.ndarray,
    benign_label: np.ndarray,
    variance_inflation: float,
) -> Tensor:
    """Mean of n > 0 samples minus that of benign ones of one label, as far as no other label differs from it as much.

    So it holds no content, whether the samples are of this label or of a mixture of labels, and of a trigger what no
    content looks like. Arguments and result are those of `mean_difference`; 0 if no benign sample has the label.
    """
    own = benign[benign_label == label]
    if not len(own):
        return torch.zeros(pixels.shape)
    mean, variance = _spectrum_moments(pixels, own)
    others = np.unique(benign_label[benign_label != label])
    differences = [(_mean_spectrum(pixels, benign[benign_label == other]) - mean) ** 2 for other in others]
    content = np.max(differences, axis=0, initial=0.0)
    difference = _mean_spectrum(pixels, indices) - mean
    return _wiener(difference, variance_inflation * variance * (1 / len(indices) + 1 / len(own)) + content)


def _wiener(spectrum: np.ndarray, chance: np.ndarray) -> Tensor:
    """The image of a spectrum (3, s, s), each coefficient times max(0, 1 - chance / coefficient^2)."""
    kept = np.clip(1 - chance / np.maximum(spectrum**2, 1e-12), 0, None)
    return torch.from_numpy(np.asarray(idctn(kept * spectrum, axes=(1, 2), norm="ortho"))).float()


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
