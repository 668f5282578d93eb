"""The model that computes in floating point what its INT8 graph will compute in INT8, so that it learns to do with it.

Where the graph has a Q/DQ pair, values are rounded to INT8's steps and clipped to its range. The gradient passes as if
nothing was rounded, and is 0 where a value was clipped: Jacob et al., *Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference*, CVPR 2018. Weights are rounded as they are deployed, with the batch
normalization behind them folded in. Places and steps are the graph's and do not learn.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.fx import Node

from reid.runtime.errors import ModelError
from reid.runtime.model_card import ModelCard
from reid.train.model.multi_level import MultiLevelReID
from reid.train.model.quantization import Quantization
from reid.train.qat.bundle_graphs import Graph
from reid.train.qat.program import Product, Program

__all__ = ["FakeQuantizedReID"]

_ACTIVATIONS = (-128, 127)
_WEIGHTS = (-127, 127)
_STEPS = "weight_steps_"


class FakeQuantizedReID(MultiLevelReID):
    """A MultiLevelReID that computes with rounding all but the heads, which no graph has in INT8.

    Its state dict is the same.

    Batch normalization stays in evaluation mode: its statistics are part of what was quantized.

    Args:
        card: of the model.
        model: in PyTorch; its parts are shared.
        graph: the model's FP32 graph.
        quantization: by the names in that graph.

    Raises:
        ModelError: the quantization is of another graph.
    """

    def __init__(self, card: ModelCard, model: MultiLevelReID, graph: Graph, quantization: Quantization) -> None:
        channels = [head.get_parameter("weight").shape[1] for head in model.heads]
        size = card.preprocessing
        super().__init__(model.backbone, model.indices, channels, card.levels, size, model.architecture)
        self.load_state_dict(model.state_dict())
        self.quantization = quantization
        program = Program(self, MultiLevelReID.pooled, size.height, size.width)
        steps = _Insertion(program, graph, quantization, heads=len(self.heads)).run()
        for name, values in {**program.constants, **steps}.items():
            self.register_buffer(name, values, persistent=False)
        self._program = program.module  # has no tensors of its own
        self._inputs = tuple(program.inputs.values())

    def pooled(self, frames: Tensor) -> list[Tensor]:
        """See MultiLevelReID.pooled."""
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        return list(self._program(*(tensors[name] for name in self._inputs), frames))

    def train(self, mode: bool = True) -> FakeQuantizedReID:
        """Let all but batch normalization, and what is random in the backbone, enter training mode."""
        super().train(mode)
        self.backbone.eval()
        self.bnneck.eval()
        return self


class _Insertion:
    """Puts the rounding of a graph's Q/DQ pairs into a program, by what is at the same place in both."""

    def __init__(self, program: Program, graph: Graph, quantization: Quantization, *, heads: int) -> None:
        self._program = program
        self._fx = program.module.graph
        self._graph = graph
        self._quantization = quantization
        self._rounded: dict[tuple[Node, float], Node] = {}
        products, maxima = program.products, program.maxima
        if len(products) + heads != len(graph.products) or len(maxima) != len(graph.maxima):
            raise ModelError("the graph has other layers than the model in PyTorch; export the bundle again")
        self._products = {node.name: one for node, one in zip(graph.products, products, strict=False)}  # heads last
        self._maxima = {node.name: one for node, one in zip(graph.maxima, maxima, strict=True)}

    def run(self) -> dict[str, Tensor]:
        """Change the program, and give the weights' steps by the names of the inputs that it takes for them."""
        # Where something is read is settled first: folding changes what there is to read.
        places = [(*self._place(node), tensor) for node, tensor in self._quantization.reads.items()]
        steps = {}
        for index, (name, values) in enumerate(self._quantization.weights.items()):
            steps[f"{_STEPS}{index}"] = values
            self._round_weight(self._product(name), self._new_input(f"{_STEPS}{index}"))
        for reader, argument, tensor in places:
            self._round_input(reader, argument, self._quantization.steps[tensor])
        self._fx.eliminate_dead_code()
        self._order_inputs()
        self._fx.lint()
        self._program.module.recompile()
        return steps

    def _product(self, name: str) -> Product:
        if name not in self._products:
            raise ModelError(f"the graph has no layer {name} that could be in INT8; export the bundle again")
        return self._products[name]

    def _place(self, name: str) -> tuple[Node, int]:
        """Find the operation of a graph's node, and which of its arguments is read in INT8."""
        if name in self._maxima:
            return self._maxima[name], 0
        if name in self._graph.nodes and self._graph.nodes[name].op_type == "Add":
            return self._place_of_addition(name)
        return self._product(name).node, 0

    def _place_of_addition(self, name: str) -> tuple[Node, int]:
        """Find an addition by the product that is its other operand."""
        tensor = self._quantization.reads[name]
        other = next(one for one in self._graph.nodes[name].input if one != tensor)
        maker = self._graph.maker(other)
        output = self._product(maker.name if maker else other).output
        additions = [user for user in output.users if user.target is torch.ops.aten.add.Tensor]
        if len(additions) != 1:
            raise ModelError(f"the addition {name} has no counterpart in PyTorch; export the bundle again")
        return additions[0], 1 - additions[0].args.index(output)

    def _new_input(self, name: str) -> Node:
        with self._fx.inserting_before(next(iter(self._fx.nodes))):
            node = self._fx.placeholder(name)
        self._program.inputs[node.name] = name
        return node

    def _round_weight(self, product: Product, steps: Node) -> None:
        """Let a product use its weight as it will be deployed: with the normalization in it, and rounded."""
        node = product.node
        weight, bias = node.args[1], node.args[2] if len(node.args) > 2 else None
        with self._fx.inserting_before(node):
            if product.norm:
                folded = self._fx.call_function(_fold, (weight, bias, *product.norm.node.args[1:5], product.norm.eps))
                weight, bias = (self._fx.call_function(operator.getitem, (folded, index)) for index in range(2))
            rounded = self._fx.call_function(_round_channels, (weight, steps))
        node.args = (node.args[0], rounded, bias, *node.args[3:])
        if product.norm:
            product.norm.output.replace_all_uses_with(node)
            self._fx.erase_node(product.norm.output)
            self._fx.erase_node(product.norm.node)

    def _round_input(self, reader: Node, argument: int, step: float) -> None:
        source = reader.args[argument]
        assert isinstance(source, Node)
        if (source, step) not in self._rounded:
            with self._fx.inserting_after(source):
                self._rounded[source, step] = self._fx.call_function(_round, (source, step))
        arguments = list(reader.args)
        arguments[argument] = self._rounded[source, step]
        reader.args = tuple(arguments)

    def _order_inputs(self) -> None:
        """List the inputs as the program takes them now."""
        placeholders = [node.name for node in self._fx.nodes if node.op == "placeholder"]
        inputs = self._program.inputs
        self._program.inputs = {name: inputs[name] for name in placeholders if name in inputs}


def _round(values: Tensor, step: float) -> Tensor:
    return torch.fake_quantize_per_tensor_affine(values.float(), step, 0, *_ACTIVATIONS).to(values.dtype)


def _round_channels(weight: Tensor, steps: Tensor) -> Tensor:
    """Round [channels, ...] to steps [channels]."""
    return torch.fake_quantize_per_channel_affine(
        weight, steps, torch.zeros_like(steps, dtype=torch.int32), 0, *_WEIGHTS
    )


def _fold(
    weight: Tensor, bias: Tensor | None, gain: Tensor, shift: Tensor, mean: Tensor, variance: Tensor, eps: float
) -> Sequence[Tensor]:
    """Give weight and bias of a product with the normalization behind it, as export folds them."""
    factor = gain * torch.rsqrt(variance + eps)
    center = mean if bias is None else mean - bias
    return weight * factor.view(-1, *[1] * (weight.dim() - 1)), shift - center * factor
