"""What ResNet-50 v1.5 costs at 224 x 224 pixels, the network that speeds are published for."""

from __future__ import annotations

from collections.abc import Iterator

from reid.bench.costs.record import GraphCost, LayerCost
from reid.runtime.precision import Precision

__all__ = ["resnet50_cost"]

_STAGES = ((3, 64, 56), (4, 128, 28), (6, 256, 14), (3, 512, 7))
"""Of each stage: its blocks, the channels inside a block, the side of what it gives, in pixels."""

_BYTES = {"fp32": 4, "fp16": 2, "int8": 1}


def resnet50_cost(precision: Precision) -> GraphCost:
    """Return the cost of a frame, with all layers and tensors in a precision.

    The network is that of He et al., *Deep Residual Learning* (CVPR 2016), with the stride in the 3 x 3 convolutions;
    layers fuse as in `reid.bench.costs.graph`.
    """
    layers = tuple(_layers(precision))
    return GraphCost(
        flops=sum(layer.flops for layer in layers),
        weight_bytes=sum(layer.weight_bytes for layer in layers),
        activation_bytes=sum(layer.activation_bytes for layer in layers),
        layers=layers,
    )


def _layers(precision: Precision) -> Iterator[LayerCost]:
    yield _product("stem", precision, 3 * 224**2, 3 * 7 * 7, 64, 112)
    yield _without_weights("max pooling", "MaxPool", precision, 64 * (112**2 + 56**2))
    channels, side = 64, 56
    for stage, (blocks, width, after) in enumerate(_STAGES, 1):
        for block in range(blocks):
            name, given, out = f"stage {stage}, block {block}", channels * side**2, 4 * width
            yield _product(f"{name}, reduce", precision, given, channels, width, side)
            yield _product(f"{name}, 3 x 3", precision, width * side**2, 9 * width, width, after)
            if block == 0:
                yield _product(f"{name}, shortcut", precision, given, channels, out, after)
            shortcut = out * after**2
            yield _product(f"{name}, expand", precision, width * after**2 + shortcut, width, out, after)
            channels, side = out, after
    yield _without_weights("average pooling", "AveragePool", precision, channels * (side**2 + 1))
    yield _product("classifier", precision, channels, channels, 1000, 1)


def _product(name: str, precision: Precision, reads: int, row: int, channels: int, side: int) -> LayerCost:
    """Return a convolution that reads a number of elements, and has `row` products for each of its outputs."""
    outputs, size = channels * side**2, _BYTES[precision]
    return LayerCost(
        name=name,
        op="Conv",
        flops=2 * row * outputs,
        weight_bytes=size * row * channels,
        activation_bytes=size * (reads + outputs),
        precision=precision,
    )


def _without_weights(name: str, op: str, precision: Precision, elements: int) -> LayerCost:
    size = _BYTES[precision] * elements
    return LayerCost(name=name, op=op, flops=0, weight_bytes=0, activation_bytes=size, precision=precision)
