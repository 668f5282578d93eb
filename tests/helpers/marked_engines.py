"""What stands in for engines that give tensors of layers: ONNX Runtime, with a graph that may be broken."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

from reid.export.engines.drift import Run


@dataclass
class MarkedEngines:
    """Builds engines that are broken or sound, depending on the tensors that they give.

    Attributes:
        sound: the graph of an engine that is right.
        broken: the graph of one that is wrong.
        is_broken: says of the tensors that an engine gives whether it is wrong.
        absent: tensors that engines do not give though they are asked to: TensorRT may have removed them.
        built: the tensors of each engine that was built.
    """

    sound: Path
    broken: Path
    is_broken: Callable[[set[str]], bool] = lambda tensors: True
    absent: Collection[str] = ()
    built: list[set[str]] = field(default_factory=list)

    @contextmanager
    def __call__(self, tensors: Collection[str]) -> Iterator[Run]:
        self.built.append(set(tensors))
        model = onnx.load(self.broken if self.is_broken(set(tensors)) else self.sound)
        present = {output.name for output in model.graph.output}
        added = [name for name in tensors if name not in present and name not in self.absent]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in added)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        names = [*present, *added]

        def run(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            assert {name: array.dtype.name for name, array in inputs.items()} == {
                "frames": "uint8",
                "pooling": "float32",
            }
            return dict(zip(names, session.run(names, dict(inputs)), strict=True))

        yield run


def write_broken(graph: Path, weight: str, path: Path) -> Path:
    """Write a graph in which a layer gives its channels in reverse order; return its path."""
    model = onnx.load(graph)
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == weight)
    values = np.ascontiguousarray(numpy_helper.to_array(tensor)[::-1])
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)
    return path


def layer_of(graph: Path, weight: str) -> str:
    """Return the name of the layer that reads a weight."""
    (node,) = (node for node in onnx.load(graph).graph.node if weight in node.input)
    return str(node.name)
