"""A model's forward pass as a graph of ATen operations, which can be looked at and changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from reid.train.model.multi_level import MultiLevelReID

__all__ = ["Norm", "Product", "Program"]

_Forward: TypeAlias = Callable[[MultiLevelReID, Tensor], Any]

_ATEN = torch.ops.aten
_PRODUCTS = (_ATEN.conv2d.default, _ATEN.conv2d.padding, _ATEN.linear.default)
_NORM = _ATEN._native_batch_norm_legit_no_training.default
_MAXIMA = (_ATEN.amax.default, _ATEN.adaptive_max_pool2d.default)


@dataclass(frozen=True, slots=True)
class Norm:
    """The batch normalization right behind a product.

    Attributes:
        node: gives a tuple.
        output: takes the first of it.
        name: of its module.
        eps: what is added to the variance.
    """

    node: Node
    output: Node
    name: str
    eps: float


@dataclass(frozen=True, slots=True)
class Product:
    """A convolution or matrix product with a weight of the model.

    Attributes:
        node: reads the activation as its first argument.
        weight: name in the state dict.
        bias: name in the state dict; None where there is none.
        norm: that alone reads it, which export folds into it.
    """

    node: Node
    weight: str
    bias: str | None
    norm: Norm | None

    @property
    def output(self) -> Node:
        """What the folded product gives."""
        return self.norm.output if self.norm else self.node


class Program:
    """A pass in evaluation mode, without side effects, for any number of frames.

    Args:
        model: on the CPU. Its weights are not part of the program.
        forward: of the model and frames uint8 [N, 3, H, W].
        height: of the frames.
        width: of the frames.

    Attributes:
        module: takes a value for each of `inputs`, then the frames.
        inputs: placeholder -> name of the model's parameter or buffer.
        constants: tensors that the program has beside the model's, by the name in `inputs`.
    """

    def __init__(self, model: MultiLevelReID, forward: _Forward, height: int, width: int) -> None:
        was_training = model.training
        # Neither 0 nor 1, which would be taken for constants.
        frames = torch.zeros(4, 3, height, width, dtype=torch.uint8)
        shapes = {"frames": {0: torch.export.Dim("frames")}}
        exported = torch.export.export(_Pass(model.eval(), forward), (frames,), dynamic_shapes=shapes)
        model.train(was_training)
        exported = exported.run_decompositions({})  # makes copies of what is changed in place
        signature = exported.graph_signature
        lifted = signature.inputs_to_lifted_tensor_constants
        named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **lifted}
        self.module: GraphModule = exported.graph_module
        self.inputs = {placeholder: name.removeprefix("model.") for placeholder, name in named.items()}
        self.constants = {name: exported.constants[name] for name in lifted.values()}
        for node in self.module.graph.find_nodes(op="call_function", target=_ATEN._assert_tensor_metadata.default):
            self.module.graph.erase_node(node)  # which forbids autocast
        self.module.recompile()

    @property
    def products(self) -> list[Product]:
        """In the order of execution."""
        found = []
        for node in self.module.graph.nodes:
            if node.target in _PRODUCTS and (weight := self._name(node.args[1])):
                bias = self._name(node.args[2]) if len(node.args) > 2 else None
                found.append(Product(node, weight, bias, self._norm_behind(node)))
        return found

    @property
    def maxima(self) -> list[Node]:
        """The pools that take the largest value, in the order of execution."""
        return [node for node in self.module.graph.nodes if node.target in _MAXIMA]

    def _name(self, argument: Any) -> str | None:  # noqa: ANN401 - whatever an operation takes
        return self.inputs.get(argument.name) if isinstance(argument, Node) else None

    def _norm_behind(self, node: Node) -> Norm | None:
        users = list(node.users)
        if len(users) != 1 or users[0].target is not _NORM:
            return None
        norm = users[0]
        mean = self._name(norm.args[3])
        assert mean is not None  # statistics are buffers
        output = next(user for user in norm.users if user.args[1] == 0)
        return Norm(norm, output, mean.removesuffix(".running_mean"), float(norm.args[6]))  # type: ignore[arg-type]


class _Pass(nn.Module):
    """What `torch.export` takes: a module whose forward is the pass."""

    def __init__(self, model: MultiLevelReID, forward: _Forward) -> None:
        super().__init__()
        self.model = model
        self._forward_of = forward

    def forward(self, frames: Tensor) -> Any:  # noqa: ANN401 - whatever the pass gives
        return self._forward_of(self.model, frames)
