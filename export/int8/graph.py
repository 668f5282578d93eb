"""The INT8 graph with any choice of layers: Q/DQ pairs around these, everything else as in the FP16 graph."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from reid.calibration.layers import QuantizableLayers
from reid.calibration.quantize import quantize
from reid.export.graphs import save_graph

__all__ = ["Int8Graph"]


@dataclass(frozen=True, slots=True, eq=False)
class Int8Graph:
    """The INT8 graph, except for the choice of its layers.

    Attributes:
        fp16: the FP16 graph.
        layers: the layers to choose from, which are those of the FP32 graph.
        amax: tensor -> the largest absolute value that INT8 can represent in it.
        weight_scales: layer -> float32 [output channels], the scales that its weights were trained for.
    """

    fp16: ModelProto
    layers: QuantizableLayers
    amax: Mapping[str, float]
    weight_scales: Mapping[str, NDArray[np.float32]] | None = None

    def write(self, path: Path, in_fp16: Collection[str]) -> None:
        """Write the graph with every layer in INT8 but the named ones."""
        in_int8 = self.in_int8(in_fp16)
        graph = quantize(self.fp16, self.layers, in_int8, self.amax, weight_scales=self.weight_scales)
        save_graph(graph, path, "int8")

    def int8_fraction(self, in_fp16: Collection[str]) -> float:
        """Return the fraction of all multiply-accumulates that is in INT8, 0 to 1."""
        return self.layers.fraction(self.in_int8(in_fp16))

    def in_int8(self, in_fp16: Collection[str]) -> list[str]:
        """Return the names of all layers but the named ones, in the order of execution."""
        return [name for name in self.layers.names if name not in in_fp16]
