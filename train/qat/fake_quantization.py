"""A model that computes in floating point what its INT8 graph will compute in INT8, so that it learns to cope with it.

Where the graph has a Q/DQ pair, values are rounded to INT8's steps and clipped to its range. Rounding uses a
straight-through gradient, which is 0 where a value was clipped: Jacob et al., *Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference*, CVPR 2018. Weights are rounded as they are deployed, with the
batch normalization after them folded in. Places and scales are those of the graph and do not learn.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.fx import Node

from reid.runtime.errors import ModelError
from reid.runtime.model_card import ModelCard
from reid.train.model.multi_level import MultiLevelReID
from reid.train.model.quantization import Quantization
from reid.train.qat.int8_graph import GraphLayers
from reid.train.qat.program import Program, WeightedLayer

__all__ = ["FakeQuantizedReID"]

_ACTIVATIONS = (-128, 127)
_WEIGHTS = (-127, 127)
_SCALES = "weight_scales_"


class FakeQuantizedReID(MultiLevelReID):
    """A MultiLevelReID that rounds everything but the heads, which no graph has in INT8.

    Its state dict is that of a MultiLevelReID. Batch normalization stays in evaluation mode, because its statistics are
    part of the quantized weights.

    Args:
        card: the model's card.
        model: the model in PyTorch, whose parts are shared.
        layers: the layers of the model's FP32 graph.
        quantization: the Q/DQ pairs, by the names in that graph.

    Raises:
        ModelError: the quantization belongs to another graph.
    """

    def __init__(self, card: ModelCard, model: MultiLevelReID, layers: GraphLayers, quantization: Quantization) -> None:
        channels = [head.get_parameter("weight").shape[1] for head in model.heads]
        size = card.preprocessing
        super().__init__(model.backbone, model.indices, channels, card.levels, size, model.architecture)
        self.load_state_dict(model.state_dict())
        self.quantization = quantization
        program = Program(self, size.height, size.width)
        scales = _Insertion(program, layers, quantization).run()
        for name, values in {**program.constants, **scales}.items():
            self.register_buffer(name, values, persistent=False)
        self._program = program.module  # has no tensors of its own
        self._inputs = tuple(program.inputs.values())

    def pooled(self, frames: Tensor) -> list[Tensor]:
        """See MultiLevelReID.pooled."""
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        return list(self._program(*(tensors[name] for name in self._inputs), frames))

    def train(self, mode: bool = True) -> FakeQuantizedReID:
        """Enter training mode with all but batch normalization and whatever is random in the backbone."""
        super().train(mode)
        self.backbone.eval()
        self.bnneck.eval()
        return self


class _Insertion:
    """Puts the rounding of a graph's Q/DQ pairs into a program.

    Layers are matched by the names of their weights, and an addition by the layer to whose output it adds. Max pools,
    which have nothing to be known by, are matched by the order of execution.
    """

    def __init__(self, program: Program, layers: GraphLayers, quantization: Quantization) -> None:
        self._program = program
        self._fx = program.module.graph
        self._graph = layers
        self._quantization = quantization
        self._rounded: dict[tuple[Node, float], Node] = {}
        self._layers = program.weighted_layers
        if len(program.max_pools) != len(layers.max_pools):
            raise ModelError("the max pools of the graph are not those of the PyTorch model; export the bundle again")
        self._max_pools = dict(zip(layers.max_pools, program.max_pools, strict=True))

    def run(self) -> dict[str, Tensor]:
        """Change the program, and return the weights' scales by the names of the inputs that it takes for them."""
        # Places are looked up first, because folding changes the program.
        places = [(*self._place(node, tensor), tensor) for node, tensor in self._quantization.inputs.items()]
        weights = [self._graph.weight(node) for node in self._quantization.weight_scales]
        if len(set(weights)) < len(weights):
            raise ModelError("two nodes of the graph share a weight; export the bundle again")
        scales = {}
        for index, (weight, values) in enumerate(zip(weights, self._quantization.weight_scales.values(), strict=True)):
            layer = self._layer(weight)
            if values.shape != (layer.channels,):
                raise ModelError(
                    f"the graph has {values.numel()} scales for {weight}, which has {layer.channels} channels; "
                    "export the bundle again"
                )
            scales[f"{_SCALES}{index}"] = values
            self._round_weight(layer, self._new_input(f"{_SCALES}{index}"))
        for reader, argument, tensor in places:
            self._round_input(reader, argument, self._quantization.scales[tensor])
        self._fx.eliminate_dead_code()
        self._order_inputs()
        self._fx.lint()
        self._program.module.recompile()
        return scales

    def _layer(self, weight: str) -> WeightedLayer:
        if weight not in self._layers:
            raise ModelError(f"the model has no layer with the weight {weight}; export the bundle again")
        return self._layers[weight]

    def _place(self, node: str, tensor: str) -> tuple[Node, int]:
        """Return the operation of a graph's node, and which of its arguments is read in INT8."""
        if node in self._max_pools:
            return self._max_pools[node], 0
        if self._graph.is_addition(node):
            return self._residual_add(self._graph.weight_of_other_operand(node, tensor))
        return self._layer(self._graph.weight(node)).node, 0

    def _residual_add(self, weight: str) -> tuple[Node, int]:
        """Return the addition to a layer's output, and which of its arguments is the other operand."""
        output = self._layer(weight).output
        additions = [user for user in output.users if user.target is torch.ops.aten.add.Tensor]
        if len(additions) != 1:
            raise ModelError(
                f"{len(additions)} additions in PyTorch follow the layer with the weight {weight}, and one in the "
                "graph; export the bundle again"
            )
        return additions[0], 1 - additions[0].args.index(output)

    def _new_input(self, name: str) -> Node:
        with self._fx.inserting_before(next(iter(self._fx.nodes))):
            node = self._fx.placeholder(name)
        self._program.inputs[node.name] = name
        return node

    def _round_weight(self, layer: WeightedLayer, scales: Node) -> None:
        """Let a layer use its weight as it will be deployed: with the normalization folded in, and rounded."""
        node = layer.node
        weight, bias = node.args[1], node.args[2] if len(node.args) > 2 else None
        with self._fx.inserting_before(node):
            if layer.norm:
                norm = self._fx.call_function(_Norm, (*layer.norm.node.args[1:5], layer.norm.eps))
                folded = self._fx.call_function(_fold, (weight, bias, norm))
                weight, bias = (self._fx.call_function(operator.getitem, (folded, index)) for index in range(2))
            rounded = self._fx.call_function(_round_channels, (weight, scales))
        node.args = (node.args[0], rounded, bias, *node.args[3:])
        if layer.norm:
            layer.norm.output.replace_all_uses_with(node)
            self._fx.erase_node(layer.norm.output)
            self._fx.erase_node(layer.norm.node)

    def _round_input(self, reader: Node, argument: int, scale: float) -> None:
        source = reader.args[argument]
        assert isinstance(source, Node)
        if (source, scale) not in self._rounded:
            with self._fx.inserting_after(source):
                self._rounded[source, scale] = self._fx.call_function(_round, (source, scale))
        arguments = list(reader.args)
        arguments[argument] = self._rounded[source, scale]
        reader.args = tuple(arguments)

    def _order_inputs(self) -> None:
        """List the inputs in the order in which the changed program takes them."""
        placeholders = [node.name for node in self._fx.nodes if node.op == "placeholder"]
        inputs = self._program.inputs
        self._program.inputs = {name: inputs[name] for name in placeholders if name in inputs}


class _Norm(NamedTuple):
    """Parameters and statistics of a batch normalization, [channels] each."""

    gain: Tensor
    shift: Tensor
    mean: Tensor
    variance: Tensor
    eps: float


def _round(values: Tensor, scale: float) -> Tensor:
    return torch.fake_quantize_per_tensor_affine(values.float(), scale, 0, *_ACTIVATIONS).to(values.dtype)


def _round_channels(weight: Tensor, scales: Tensor) -> Tensor:
    """Round a weight [channels, ...] with scales [channels]."""
    return torch.fake_quantize_per_channel_affine(
        weight, scales, torch.zeros_like(scales, dtype=torch.int32), 0, *_WEIGHTS
    )


def _fold(weight: Tensor, bias: Tensor | None, norm: _Norm) -> Sequence[Tensor]:
    """Return weight and bias of a layer with the normalization after it folded in, as export folds it."""
    factor = norm.gain * torch.rsqrt(norm.variance + norm.eps)
    center = norm.mean if bias is None else norm.mean - bias
    return weight * factor.view(-1, *[1] * (weight.dim() - 1)), norm.shift - center * factor
