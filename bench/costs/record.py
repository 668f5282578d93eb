"""What a graph costs and what a device can do, as stored."""

from __future__ import annotations

from reid.bench.records import NotNegative, Positive, Record
from reid.runtime.precision import Precision

__all__ = ["GraphCost", "LayerCost", "Roofline"]


class LayerCost(Record):
    """One layer of a graph, for one frame.

    Attributes:
        name: the node's name.
        op: its ONNX operator.
        flops: floating-point operations, a multiplication and an addition being two.
        weight_bytes: the bytes of its weights, read once a batch.
        activation_bytes: the bytes of its inputs and outputs, read or written once a frame.
        precision: the precision that it computes in.
    """

    name: str
    op: str
    flops: NotNegative
    weight_bytes: NotNegative
    activation_bytes: NotNegative
    precision: Precision


class GraphCost(Record):
    """What a graph costs for one frame: the sums over its layers, with what fuses into a layer counted with it."""

    flops: NotNegative
    weight_bytes: NotNegative
    activation_bytes: NotNegative
    layers: tuple[LayerCost, ...] = ()


class Roofline(Record):
    """The peaks of a device (Williams et al., *Roofline*, Communications of the ACM 2009).

    Attributes:
        operations_per_s: by precision.
        bytes_per_s: to and from the device's main memory.
        source: how they are known: "measured in this run", or where they are published.
    """

    operations_per_s: dict[Precision, Positive]
    bytes_per_s: Positive
    source: str
