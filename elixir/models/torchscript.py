"""TorchScript files: loading, and features read from the graph, since hooks do not run inside a script."""

import warnings
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.jit._fuser import optimized_execution

from elixir.errors import ElixirError
from elixir.models.features import as_logits, comes_from, pooled

CONVOLUTIONS = ("aten::conv2d", "aten::_convolution")


def load_script(path: Path, device: torch.device) -> torch.jit.ScriptModule:
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
    """As `WithFeatures`, for a script: the head's input is made a second output of its graph."""

    def __init__(self, script: torch.jit.ScriptModule, probe: Tensor) -> None:
        super().__init__()
        self.script = script
        self.has_head, self.ends_with_head = False, False
        self._channels_first, self._run = False, None
        with torch.no_grad():
            classes = as_logits(script(probe)).shape[1]
            with suppress(RuntimeError):  # of a graph that cannot be changed so
                self._find_head(probe, classes)

    def _find_head(self, probe: Tensor, classes: int) -> None:
        graph = _without_choices(self.script)
        heads = [node for node in graph.nodes() if _is_head(node, self.script, classes)]
        if heads:
            run = _function(graph, [heads[-1].inputsAt(0), heads[-1].output()])
            output, _, made = run(self.script, probe)
            self._channels_first, self._run, self.has_head = heads[-1].kind() in CONVOLUTIONS, run, True
            self.ends_with_head = comes_from(self._pooled(made), as_logits(output))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with optimized_execution(False):  # else later calls may be other code, with other rounding
            if self._run is None:
                logits = as_logits(self.script(x))
                return logits, logits
            output, features, _ = self._run(self.script, x)
        return as_logits(output), self._pooled(features)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy that shares the function, which cannot be copied; its weights are leaves of autograd as these are."""
        copy = self.__new__(type(self))
        super(ScriptWithFeatures, copy).__init__()
        with torch.no_grad():
            copy.script = deepcopy(self.script, memo)
        for new, old in zip(copy.script.parameters(), self.script.parameters(), strict=True):
            new.requires_grad = old.requires_grad
        copy.has_head, copy.ends_with_head = self.has_head, self.ends_with_head
        copy._channels_first, copy._run = self._channels_first, self._run
        return copy.train(self.training)

    def _pooled(self, features: Tensor) -> Tensor:
        return pooled(features, channels_first=self._channels_first)


def _without_choices(script: torch.jit.ScriptModule) -> Any:
    """A copy of the graph of a script, without the branches that its settings, such as a flag, rule out."""
    graph: Any = script.inlined_graph.copy()
    changing = {"training", *(node.s("name") for node in graph.findAllNodes("prim::SetAttr"))}
    for node in graph.findAllNodes("prim::GetAttr"):
        value = _value(node.output(), script)
        if node.s("name") not in changing and isinstance(value, bool | int | float | str):
            with graph.insert_point_guard(node):
                node.output().replaceAllUsesWith(graph.insertConstant(value))
    torch._C._jit_pass_constant_propagation(graph)
    return graph


def _function(graph: Any, values: list[Any]) -> Any:
    """The function (script, images) -> (output, values) of the graph of a script."""
    outputs = graph.create("prim::TupleConstruct", [next(graph.outputs()), *values], 1)
    outputs.output().setType(torch._C.TupleType([value.type() for value in outputs.inputs()]))
    graph.appendNode(outputs)
    graph.eraseOutput(0)
    graph.registerOutput(outputs.output())
    return torch._C._create_function_from_graph("forward", graph)


def _is_head(node: Any, script: nn.Module, classes: int) -> bool:
    """Whether a node is a linear or 1x1 layer with so many outputs."""
    if node.kind() != "aten::linear" and node.kind() not in CONVOLUTIONS:
        return False
    weight = _value(node.inputsAt(1), script)
    return isinstance(weight, Tensor) and len(weight) == classes and weight[0].numel() == weight.shape[1]


def _value(value: Any, script: nn.Module) -> object:
    """What a value of the graph is if it is a constant or an attribute of the script; None for any other."""
    names: list[str] = []
    while value.node().kind() == "prim::GetAttr":
        names.insert(0, value.node().s("name"))
        value = value.node().inputsAt(0)
    if not names:
        return value.toIValue()
    found: Any = script if value.node().kind() == "prim::Param" else None
    for name in names:
        found = getattr(found, name, None)
    return found
