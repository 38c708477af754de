"""TorchScript files: loading, and features read from the graph, since hooks do not run inside a script."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elixir.errors import ElixirError
from elixir.models.features import as_logits, pooled, warn_of_missing_head

CONVOLUTIONS = ("aten::conv2d", "aten::_convolution")


def load_script(path: Path, device: torch.device) -> nn.Module:
    """Load a TorchScript file in evaluation mode. Raises ElixirError for anything else, such as a pickle."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated but remains what people have
            return torch.jit.load(path, map_location=device).eval()
    except (RuntimeError, ValueError, OSError) as error:
        raise ElixirError(
            f"{str(path)!r} is not a TorchScript file. Pickled models and weights can run code and are not opened: "
            "export the model with torch.jit.trace(model, example).save(file), or save its weights as safetensors "
            "and give timm:NAME@FILE.safetensors"
        ) from error


class ScriptWithFeatures(nn.Module):
    """As `WithFeatures`, for a script: the last linear layer's input is made a second output of its graph."""

    def __init__(self, script: nn.Module, probe: Tensor) -> None:
        super().__init__()
        with torch.no_grad():
            classes = as_logits(script(probe)).shape[1]
        self._run = None
        try:
            self._run, self._channels_first = _expose_features(script, classes)
        except (RuntimeError, LookupError):
            warn_of_missing_head("the TorchScript file")
            self.script = script

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self._run is None:
            logits = as_logits(self.script(x))
            return logits, logits
        output, features = self._run(x)
        return as_logits(output), pooled(features, channels_first=self._channels_first)


def _expose_features(script: nn.Module, classes: int) -> tuple[Any, bool]:
    """The script as a function that returns (output, input of the last linear or 1x1 layer with `classes` outputs).

    Raises: LookupError: no such layer is on the way that every input takes. RuntimeError: the script is no one graph.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = torch.jit.freeze(script, optimize_numerics=False).graph.copy()  # pyright: ignore[reportArgumentType]
    heads = [node for node in graph.nodes() if _is_head(node, classes)]
    if not heads:
        raise LookupError(classes)
    pair = graph.create("prim::TupleConstruct", [next(graph.outputs()), heads[-1].inputsAt(0)], 1)
    pair.output().setType(torch._C.TupleType([value.type() for value in pair.inputs()]))
    graph.appendNode(pair)
    graph.eraseOutput(0)
    graph.registerOutput(pair.output())
    graph.eraseInput(0)  # the module itself, whose weights freezing has made constants
    return torch._C._create_function_from_graph("forward", graph), heads[-1].kind() in CONVOLUTIONS


def _is_head(node: Any, classes: int) -> bool:
    if node.kind() != "aten::linear" and node.kind() not in CONVOLUTIONS:
        return False
    weight = node.inputsAt(1).toIValue()
    return isinstance(weight, Tensor) and len(weight) == classes and weight[0].numel() == weight.shape[1]
