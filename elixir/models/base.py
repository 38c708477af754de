"""What the stages need of a classifier, whoever made it."""

from __future__ import annotations

from torch import Tensor, nn


class Classifier(nn.Module):
    """A classifier that also shows the features its last linear layer reads."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Classify.

        Args:
            x: float32 (n, 3, h, w) in [0,1].

        Returns:
            Logits (n, k) and pooled last-stage features (n, d), both float32.
        """
        raise NotImplementedError
