"""The body of a network of other people's, under a head for the classes of a dataset."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elixir.models.classifier import TrainableClassifier
from elixir.models.foreign import Foreign
from elixir.models.of_torchscript import keep_script
from elixir.models.preprocessing import Prepare

CPU = torch.device("cpu")


class Transferred(TrainableClassifier):
    """A foreign network up to the input of its last linear layer, or up to its end if it has none, and a new head.

    All of its weights can be trained. What a TorchScript file has made constant cannot: all weights if it was frozen,
    and if it was traced in evaluation mode the statistics of its batch normalisation.
    """

    def __init__(self, foreign: Foreign, classes: int) -> None:
        super().__init__()
        self.prepare = Prepare(foreign.preprocessing, foreign.channels)
        self.body, output, features = foreign.with_features(CPU)
        self.body.requires_grad_(True)
        self.head = nn.Linear((features if self.body.ends_with_head else output).shape[1], classes)
        self._record = foreign.record()
        self._script = foreign.script

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        output, features = self.body(self.prepare(x))
        features = features if self.body.ends_with_head else output
        return self.head(features).float(), features.float()

    def record(self) -> dict[str, Any]:
        return {"backbone": self._record}

    def write_beside(self, folder: Path) -> None:
        """Copy the TorchScript file, if it is one, under a name that tells its contents."""
        if self._script is not None:
            keep_script(self._script, folder)
