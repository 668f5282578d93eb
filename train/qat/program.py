"""A model's forward pass as a graph of ATen operations, which can be inspected and changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from reid.runtime.errors import ModelError
from reid.train.model.multi_level import MultiLevelReID

__all__ = ["Norm", "Program", "WeightedLayer"]

_ATEN = torch.ops.aten
_WEIGHTED = (_ATEN.conv2d.default, _ATEN.conv2d.padding, _ATEN.linear.default)
_NORM = _ATEN._native_batch_norm_legit_no_training.default
_MAX_POOLS = (_ATEN.amax.default, _ATEN.adaptive_max_pool2d.default)


@dataclass(frozen=True, slots=True)
class Norm:
    """The batch normalization right after a layer.

    Attributes:
        node: the operation, whose result is a tuple.
        output: takes the first element of that tuple.
        eps: the small number that is added to the variance.
    """

    node: Node
    output: Node
    eps: float


@dataclass(frozen=True, slots=True)
class WeightedLayer:
    """A convolution or matrix product with a weight of the model.

    Attributes:
        node: the operation, whose first argument is the activation.
        norm: the normalization that is the only reader of its output, and that export therefore folds into it.
    """

    node: Node
    norm: Norm | None

    @property
    def channels(self) -> int:
        """The number of output channels."""
        weight = self.node.args[1]
        assert isinstance(weight, Node)
        return int(weight.meta["val"].shape[0])

    @property
    def output(self) -> Node:
        """The output of the folded layer."""
        return self.norm.output if self.norm else self.node


class Program:
    """`MultiLevelReID.pooled` in evaluation mode, without side effects, for any number of frames.

    Args:
        model: the model, on the CPU. Its weights are not part of the program.
        height: height of the frames.
        width: width of the frames.

    Attributes:
        module: takes a value for each of `inputs`, then the frames.
        inputs: name of the model's parameter or buffer, by placeholder.
        constants: tensors that the program needs beside the model's, by their names in `inputs`.
    """

    def __init__(self, model: MultiLevelReID, height: int, width: int) -> None:
        was_training = model.training
        # A size of 0 or 1 would be taken for a constant.
        frames = torch.zeros(4, 3, height, width, dtype=torch.uint8)
        shapes = {"frames": {0: torch.export.Dim("frames")}}
        exported = torch.export.export(_Pooled(model.eval()), (frames,), dynamic_shapes=shapes)
        model.train(was_training)
        exported = exported.run_decompositions({})  # replaces in-place operations by functional ones
        signature = exported.graph_signature
        lifted = signature.inputs_to_lifted_tensor_constants
        named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **lifted}
        self.module: GraphModule = exported.graph_module
        self.inputs = {placeholder: name.removeprefix("model.") for placeholder, name in named.items()}
        self.constants = {name: exported.constants[name] for name in lifted.values()}
        for node in self.module.graph.find_nodes(op="call_function", target=_ATEN._assert_tensor_metadata.default):
            self.module.graph.erase_node(node)  # it forbids autocast
        self.module.recompile()

    @property
    def weighted_layers(self) -> dict[str, WeightedLayer]:
        """The convolutions and matrix products by the name of their weight in the state dict.

        Raises:
            ModelError: two of them share a weight.
        """
        found: dict[str, WeightedLayer] = {}
        for node in self.module.graph.nodes:
            if node.target in _WEIGHTED and (weight := self._name(node.args[1])):
                if weight in found:
                    raise ModelError(f"{weight} is used twice: quantization-aware training cannot tell the uses apart")
                found[weight] = WeightedLayer(node, _norm_after(node))
        return found

    @property
    def max_pools(self) -> list[Node]:
        """The operations that take the largest value, in the order of execution."""
        return [node for node in self.module.graph.nodes if node.target in _MAX_POOLS]

    def _name(self, argument: Any) -> str | None:  # noqa: ANN401 - whatever an operation takes
        return self.inputs.get(argument.name) if isinstance(argument, Node) else None


def _norm_after(node: Node) -> Norm | None:
    users = list(node.users)
    if len(users) != 1 or users[0].target is not _NORM:
        return None
    norm = users[0]
    output = next(user for user in norm.users if user.args[1] == 0)
    return Norm(norm, output, float(norm.args[6]))  # type: ignore[arg-type]


class _Pooled(nn.Module):
    """What `torch.export` takes: a module whose forward pass is `MultiLevelReID.pooled`."""

    def __init__(self, model: MultiLevelReID) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> list[Tensor]:
        return MultiLevelReID.pooled(self.model, frames)  # not what a subclass makes of it
