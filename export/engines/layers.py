"""The precision that each of an engine's layers runs in: from the inspector, the builder's log, or the network."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from reid.runtime.engine_card import LayerSummary
from reid.runtime.errors import GateError
from reid.runtime.precision import Precision

if TYPE_CHECKING:
    import tensorrt_rtx as trt

__all__ = [
    "check_precision",
    "convolutions_of",
    "quantized_convolutions_of",
    "summarize_layers",
    "summarize_log",
    "summarize_network",
]

# The first that matches counts: "UInt8" contains "Int8", and "BFloat16" contains "Float".
_PRECISIONS = (
    ("bf16", r"bf16|bfloat16"),
    ("fp8", r"fp8|float8"),
    ("fp16", r"fp16|half"),
    ("fp32", r"fp32|float"),
    ("uint8", r"uint8"),
    ("int8", r"int8"),
    ("int32", r"int32"),
    ("int64", r"int64"),
    ("bool", r"bool"),
)
_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_LOGGED = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<kind>.*?), Inputs: (?P<inputs>.*?), Constants: .*?, "
    r"Outputs: (?P<outputs>.*?), TacticName: .*?, Metadata: (?P<metadata>.*)$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer: the types of its inputs and outputs in TensorRT's words, and the names of the ONNX nodes in it."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[str, ...]

    def is_convolution(self, convolutions: Collection[str]) -> bool:
        """Return whether it convolves, perhaps as a matrix product, which a convolution of 1 x 1 can become."""
        # TensorRT calls it CaskConvolution and the like; its fusing compiler calls it a correlation, and names what it
        # fused after what is in it: __myl_CorrCast_myl0_2. What only pads or casts for a convolution is called kgen.
        fused = self.name if self.name.startswith("__myl_") and self.kind != "kgen" else ""
        does = f"{self.kind} {fused}"
        if re.search(r"conv|corr", does, re.IGNORECASE):
            return True
        return re.search(r"gemm|Fc", does) is not None and not set(convolutions).isdisjoint(self.nodes)

    def precision(self, is_convolution: bool) -> str:
        """Return the type that a convolution reads, for it may write another; else the type that the layer writes."""
        types = self.inputs or self.outputs if is_convolution else self.outputs or self.inputs
        return _precision(types[0]) if types else "none"


def summarize_layers(inspector_json: str, convolutions: Collection[str] = ()) -> LayerSummary:
    """Summarize what `EngineInspector.get_engine_information(JSON)` of TensorRT 10 or 11 returns.

    10 has one field "Format/Datatype" for a tensor, in words ("Row major linear FP16 format") or as a type ("Half");
    11 has "Format" and "Datatype". Layers that are names alone (an engine without detailed verbosity) are counted as
    "unknown". `convolutions` are the names of the graph's convolutions, by which those that became matrix products are
    known.
    """
    return _summary("engine", [_layer(entry) for entry in json.loads(inspector_json)["Layers"]], convolutions)


def _layer(entry: Any) -> _Layer:  # noqa: ANN401 - whatever the JSON holds
    if isinstance(entry, str):
        return _Layer(entry, "", ("?",), ("?",), ())
    kind = f"{entry.get('LayerType', '')} {entry.get('ParameterType', '')}"
    inputs, outputs = (tuple(map(_type, entry.get(key, ()))) for key in ("Inputs", "Outputs"))
    return _Layer(entry["Name"], kind, inputs, outputs, tuple(_NODE.findall(entry.get("Metadata", ""))))


def _type(tensor: dict[str, Any]) -> str:
    words = (tensor[key] for key in ("Datatype", "DataType", "Format/Datatype", "Format") if key in tensor)
    return str(next(words, "?"))


def summarize_log(messages: Iterable[str], convolutions: Collection[str] = ()) -> LayerSummary | None:
    """Summarize the layers that the builder logs after a build with detailed verbosity; None where it logged none.

    The log is the inspector's text on the same engine, and needs no GPU. `convolutions`: see summarize_layers.
    """
    for message in messages:
        if message.startswith("Layers:") and (found := list(_LOGGED.finditer(message))):
            return _summary("build log", [_logged_layer(match) for match in found], convolutions)
    return None


def _logged_layer(match: re.Match[str]) -> _Layer:
    inputs, outputs = (tuple(re.findall(r"Datatype: (\w+)", match[key])) for key in ("inputs", "outputs"))
    return _Layer(match["name"], match["kind"], inputs, outputs, tuple(_NODE.findall(match["metadata"])))


def convolutions_of(network: trt.INetworkDefinition, api: ModuleType) -> frozenset[str]:
    """Return the names of a network's convolutions, which are those of the graph's nodes."""
    return frozenset(layer.name for layer in _layers_of(network) if layer.type == api.LayerType.CONVOLUTION)


def quantized_convolutions_of(network: trt.INetworkDefinition, api: ModuleType) -> frozenset[str]:
    """Return the names of the convolutions in INT8: both their inputs and their weights are dequantized."""
    dequantized = _dequantized(network, api)
    return frozenset(
        layer.name
        for layer in _layers_of(network)
        if layer.type == api.LayerType.CONVOLUTION
        and layer.num_inputs > 1
        and all(layer.get_input(index).name in dequantized for index in (0, 1))
    )


def _layers_of(network: trt.INetworkDefinition) -> Iterator[trt.ILayer]:
    return (network.get_layer(index) for index in range(network.num_layers))


def _dequantized(network: trt.INetworkDefinition, api: ModuleType) -> frozenset[str]:
    pairs = (layer for layer in _layers_of(network) if layer.type == api.LayerType.DEQUANTIZE)
    return frozenset(layer.get_output(0).name for layer in pairs)


def summarize_network(network: trt.INetworkDefinition, api: ModuleType) -> LayerSummary:
    """Summarize a parsed network. A convolution between Q/DQ pairs counts as INT8: TensorRT fuses the pairs into it."""
    layers: list[_Layer] = []
    dequantized = _dequantized(network, api)
    for layer in _layers_of(network):
        inputs = [tensor for index in range(layer.num_inputs) if (tensor := layer.get_input(index)) is not None]
        outputs = [layer.get_output(index) for index in range(layer.num_outputs)]
        types = tuple("int8" if tensor.name in dequantized else tensor.dtype.name for tensor in inputs)
        layers.append(_Layer(layer.name, layer.type.name, types, tuple(t.dtype.name for t in outputs), (layer.name,)))
    return _summary("network", layers, ())


def _precision(words: str) -> str:
    found = (name for name, pattern in _PRECISIONS if re.search(pattern, words, re.IGNORECASE))
    return next(found, "unknown")


def _summary(
    source: Literal["engine", "build log", "network"], layers: list[_Layer], nodes: Collection[str]
) -> LayerSummary:
    convolutions = [layer for layer in layers if layer.is_convolution(nodes)]
    names = {
        precision: tuple(
            " + ".join(layer.nodes) or layer.name for layer in convolutions if layer.precision(True) == precision
        )
        for precision in ("fp32", "int8")
    }
    return LayerSummary(
        source=source,
        layers=dict(Counter(layer.precision(layer.is_convolution(nodes)) for layer in layers)),
        convolutions=dict(Counter(layer.precision(True) for layer in convolutions)),
        fp32_convolutions=names["fp32"],
        int8_convolutions=names["int8"],
    )


def check_precision(
    summary: LayerSummary, precision: Precision, in_fp32: frozenset[str], quantized: frozenset[str] = frozenset()
) -> None:
    """Raise GateError where an engine runs convolutions in another precision than its graph.

    Args:
        summary: the summary of the engine's layers.
        precision: the precision of the graph.
        in_fp32: the convolutions that may run in FP32 in an engine of lower precision.
        quantized: the convolutions that must read INT8.
    """
    _check_int8(summary, quantized)
    unexpected = [name for name in summary.fp32_convolutions if in_fp32.isdisjoint(name.split(" + "))]
    if precision == "fp32" or not unexpected:
        return
    total = sum(summary.convolutions.values())
    shown = ", ".join(unexpected[:3]) + (", ..." if len(unexpected) > 3 else "")
    raise GateError(
        f"{len(unexpected)} of {total} convolutions run in FP32 ({shown}), according to the {summary.source}, in an "
        f"engine that should be {precision}; precision comes from the graph: make it again with "
        f"`reid-export --{precision}`"
    )


def _check_int8(summary: LayerSummary, quantized: frozenset[str]) -> None:
    reading_int8 = {node for names in summary.int8_convolutions for node in names.split(" + ")}
    if missed := sorted(quantized - reading_int8):
        shown = ", ".join(missed[:3]) + (", ..." if len(missed) > 3 else "")
        raise GateError(
            f"{len(missed)} of {len(quantized)} convolutions that are INT8 in the graph do not read INT8 ({shown}), "
            f"according to the {summary.source}: build with a higher --optimization-level, or another version of the "
            "builder"
        )
