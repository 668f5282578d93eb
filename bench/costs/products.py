"""ONNX graphs of nothing but products, as bytes: what a library is at its fastest with. Needs no onnx."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.runtime.files.protobuf import bytes_field, varint_field
from reid.runtime.precision import Precision

__all__ = ["INPUT", "OUTPUT", "Products"]

INPUT, OUTPUT = "x", "y"

_IR_VERSION, _OPSET = 9, 19
_FLOAT, _INT8, _FLOAT16 = 1, 3, 10
_INTEGERS_ATTRIBUTE = 7


@dataclass(frozen=True, slots=True)
class Products:
    """A chain of equal products, of activations with weights: matrix products, or 3 x 3 convolutions.

    Attributes:
        kind: "MatMul" or "Conv".
        precision: what it computes in; for "int8", pairs of Q and DQ surround all operands.
        rows: of "MatMul" the rows; of "Conv" the frames, which have 14 x 14 pixels.
        channels: how many numbers each row or pixel has, before and after.
        length: the number of products.
    """

    kind: str
    precision: Precision
    rows: int
    channels: int
    length: int = 2

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the input and of the output."""
        return (self.rows, self.channels) if self.kind == "MatMul" else (self.rows, self.channels, 14, 14)

    @property
    def flops(self) -> int:
        """The floating-point operations of a run, a multiplication and an addition being two."""
        taps = 1 if self.kind == "MatMul" else 9
        return 2 * self.length * int(np.prod(self.shape)) * self.channels * taps

    def given(self) -> NDArray[np.generic]:
        """Return an input."""
        return np.full(self.shape, 0.5, np.float16 if self.precision == "fp16" else np.float32)

    def onnx(self) -> bytes:
        """Return the graph's file."""
        kind = _FLOAT16 if self.precision == "fp16" else _FLOAT
        parts = (
            *(bytes_field(1, node) for node in self._nodes()),
            bytes_field(2, b"products"),
            *(bytes_field(5, tensor) for tensor in self._initializers()),
            bytes_field(11, _value(INPUT, kind, self.shape)),
            bytes_field(12, _value(OUTPUT, kind, self.shape)),
        )
        opset = bytes_field(8, bytes_field(1, b"") + varint_field(2, _OPSET))
        return varint_field(1, _IR_VERSION) + opset + bytes_field(7, b"".join(parts))

    def _nodes(self) -> Iterator[bytes]:
        quantized = self.precision == "int8"
        attributes = [_integers("kernel_shape", (3, 3)), _integers("pads", (1, 1, 1, 1))] if self.kind == "Conv" else []
        weights = "w"
        if quantized:
            weights = "w_dq"
            yield _node("DequantizeLinear", ("w", "scale", "zero"), weights)
        name = INPUT
        for index in range(self.length):
            if quantized:
                yield from _pair(name, f"{name}_dq")
                name = f"{name}_dq"
            after = OUTPUT if index == self.length - 1 else f"product_{index}"
            if not quantized:
                yield _node(self.kind, (name, weights), after, attributes)
            else:
                yield _node(self.kind, (name, weights), f"{after}_raw", attributes)
                yield from _pair(f"{after}_raw", after)
            name = after

    def _initializers(self) -> Iterator[bytes]:
        shape = (self.channels, self.channels) if self.kind == "MatMul" else (self.channels, self.channels, 3, 3)
        random = np.random.default_rng(0)
        if self.precision == "int8":
            yield _tensor("w", _INT8, random.integers(-127, 128, shape).astype(np.int8))
            yield _tensor("scale", _FLOAT, np.array(0.01, np.float32))
            yield _tensor("zero", _INT8, np.array(0, np.int8))
            return
        small = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))  # so that a chain's numbers do not grow
        yield _tensor("w", _FLOAT16 if self.precision == "fp16" else _FLOAT, small.astype(self.given().dtype))


def _pair(name: str, after: str) -> Iterator[bytes]:
    yield _node("QuantizeLinear", (name, "scale", "zero"), f"{after}_q")
    yield _node("DequantizeLinear", (f"{after}_q", "scale", "zero"), after)


def _node(op: str, inputs: tuple[str, ...], output: str, attributes: list[bytes] | None = None) -> bytes:
    given = b"".join(bytes_field(1, name.encode()) for name in inputs)
    facts = bytes_field(2, output.encode()) + bytes_field(3, f"make {output}".encode()) + bytes_field(4, op.encode())
    return given + facts + b"".join(bytes_field(5, attribute) for attribute in attributes or ())


def _integers(name: str, values: tuple[int, ...]) -> bytes:
    integers = b"".join(varint_field(8, value) for value in values)
    return bytes_field(1, name.encode()) + integers + varint_field(20, _INTEGERS_ATTRIBUTE)


def _tensor(name: str, kind: int, values: NDArray[np.generic]) -> bytes:
    dimensions = b"".join(varint_field(1, size) for size in values.shape)
    return dimensions + varint_field(2, kind) + bytes_field(8, name.encode()) + bytes_field(9, values.tobytes())


def _value(name: str, kind: int, shape: tuple[int, ...]) -> bytes:
    dimensions = b"".join(bytes_field(1, varint_field(1, size)) for size in shape)
    tensor = varint_field(1, kind) + bytes_field(2, dimensions)
    return bytes_field(1, name.encode()) + bytes_field(2, bytes_field(1, tensor))
