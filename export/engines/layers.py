"""The precision that each of an engine's layers runs in: from the inspector, the builder's log, or the network."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from reid.runtime.engine_card import LayerSummary
from reid.runtime.tensorrt_api import TensorRT

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = [
    "convolutions_of",
    "is_log_of_layers",
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
# What the name of a kernel says of the types that it reads: sm80_xmma_fprop_implicit_gemm_i8i8_i8i32_f32_...
_TACTICS = (
    ("int8", r"i8i8|i8i32|imma"),
    ("fp16", r"f16f16|h16816|h1688|h884|hmma"),
    ("fp32", r"f32f32|sgemm|scudnn|ffma"),
)
_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_LOGGED = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<kind>.*?), Inputs: (?P<inputs>.*?), Constants: .*?, "
    r"Outputs: (?P<outputs>.*?), TacticName: .*?, Metadata: (?P<metadata>.*)$",
    re.MULTILINE,
)
# What TensorRT 10 logs: "Layer(CaskConvolution): conv1 + relu1, Tactic: 0x2a, x[Half(-9,3,9,9)] -> y[Half(-9,8,9,9)]".
_LOGGED_BY_10 = re.compile(
    r"^Layer\((?P<kind>[^)]*)\): (?P<name>.*), Tactic: \w+, (?P<inputs>.*?) ?-> (?P<outputs>.*)$", re.MULTILINE
)
_LOG_HEADS = ("Layers:", "Engine Layer Information:")


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer: the types of its inputs and outputs in TensorRT's words, and the names of the ONNX nodes in it.

    `hints` are types that its weights and its kernel tell.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[str, ...]
    hints: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The names of the nodes in it: "conv1 + relu1", as TensorRT 10 names the layer itself."""
        return " + ".join(self.nodes) or re.sub(r" \[profile \d+\]$", "", self.name)

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
        found = _precision(types[0]) if types else "none"
        told = (_precision(hint) for hint in self.hints)
        return next(told, "unknown") if is_convolution and found in ("unknown", "none") else found


def summarize_layers(inspector_json: str, convolutions: Collection[str] = ()) -> LayerSummary:
    """Summarize what `EngineInspector.get_engine_information(JSON)` of TensorRT 10 or 11 returns.

    10 has one field "Format/Datatype" for a tensor, in words ("Row major linear FP16 format") or as a type ("Half");
    11 has "Format" and "Datatype". Without a context that knows the sizes of a batch, 10 says "N/A due to dynamic
    shapes": then a convolution is judged by its weights and by its kernel. What says neither, and layers that are names
    alone (of an engine without detailed verbosity), are "unknown". `convolutions` are the names of the graph's
    convolutions, by which those that became matrix products, and those of which nothing is said, are known.
    """
    return _summary("engine", [_layer(entry) for entry in json.loads(inspector_json)["Layers"]], convolutions)


def _layer(entry: Any) -> _Layer:  # noqa: ANN401 - whatever the JSON holds
    if isinstance(entry, str):
        return _Layer(entry, "", ("?",), ("?",), ())
    kind = f"{entry.get('LayerType', '')} {entry.get('ParameterType', '')}"
    inputs, outputs = (tuple(map(_type, entry.get(key, ()))) for key in ("Inputs", "Outputs"))
    nodes = tuple(_NODE.findall(entry.get("Metadata", "")))
    return _Layer(entry["Name"], kind, inputs, outputs, nodes, tuple(_hints(entry)))


def _hints(entry: dict[str, Any]) -> Iterator[str]:
    weights, tactic = entry.get("Weights"), str(entry.get("TacticName", ""))
    yield from [str(weights["Type"])] if isinstance(weights, dict) and "Type" in weights else []
    yield from (kind for kind, pattern in _TACTICS if re.search(pattern, tactic))


def _type(tensor: dict[str, Any]) -> str:
    words = (tensor[key] for key in ("Datatype", "DataType", "Format/Datatype", "Format") if key in tensor)
    return str(next(words, "?"))


def summarize_log(messages: Iterable[str], convolutions: Collection[str] = ()) -> LayerSummary | None:
    """Summarize the layers that the builder logs after a build with detailed verbosity; None where it logged none.

    The log is the inspector's text on the same engine, and needs no GPU. `convolutions`: see summarize_layers.
    """
    for message in filter(is_log_of_layers, messages):
        layers = [*map(_logged_layer, _LOGGED.finditer(message)), *map(_logged_by_10, _LOGGED_BY_10.finditer(message))]
        if layers:
            return _summary("build log", layers, convolutions)
    return None


def is_log_of_layers(message: str) -> bool:
    """Return whether a message of the builder lists an engine's layers."""
    return message.startswith(_LOG_HEADS)


def _logged_by_10(match: re.Match[str]) -> _Layer:
    inputs, outputs = (tuple(re.findall(r"\[(\w+)\([-\d,:]*\)\]", match[key])) for key in ("inputs", "outputs"))
    return _Layer(match["name"], match["kind"], inputs, outputs, ())


def _logged_layer(match: re.Match[str]) -> _Layer:
    inputs, outputs = (tuple(re.findall(r"Datatype: (\w+)", match[key])) for key in ("inputs", "outputs"))
    return _Layer(match["name"], match["kind"], inputs, outputs, tuple(_NODE.findall(match["metadata"])))


def convolutions_of(network: trt.INetworkDefinition, api: TensorRT) -> frozenset[str]:
    """Return the names of a network's convolutions, which are those of the graph's nodes."""
    return frozenset(layer.name for layer in _layers_of(network) if layer.type == api.LayerType.CONVOLUTION)


def quantized_convolutions_of(network: trt.INetworkDefinition, api: TensorRT) -> frozenset[str]:
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


def _dequantized(network: trt.INetworkDefinition, api: TensorRT) -> frozenset[str]:
    pairs = (layer for layer in _layers_of(network) if layer.type == api.LayerType.DEQUANTIZE)
    return frozenset(layer.get_output(0).name for layer in pairs)


def summarize_network(network: trt.INetworkDefinition, api: TensorRT) -> LayerSummary:
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
    convolutions = [(layer.label, layer.precision(True)) for layer in layers if layer.is_convolution(nodes)]
    named = {
        precision: tuple(label for label, found in convolutions if found == precision) for precision in ("fp32", "int8")
    }
    known = {node for label, found in convolutions if found != "unknown" for node in label.split(" + ")}
    return LayerSummary(
        source=source,
        layers=dict(Counter(layer.precision(layer.is_convolution(nodes)) for layer in layers)),
        convolutions=dict(Counter(found for _, found in convolutions)),
        fp32_convolutions=named["fp32"],
        int8_convolutions=named["int8"],
        unknown_convolutions=tuple(sorted(set(nodes) - known)),
    )
