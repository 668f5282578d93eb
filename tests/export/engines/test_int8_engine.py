"""INT8 graphs become INT8 engines, built by TensorRT-RTX, which needs no GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto

import reid.export.engines.build as builder
from reid.calibration.layers import QuantizableLayers, find_layers
from reid.calibration.quantize import quantize
from reid.export.engines.build import build_engine
from reid.export.engines.options import EngineOptions
from reid.export.engines.precision_gate import check_precision
from reid.export.engines.steps import Build
from reid.export.fp16 import write_fp16_graph
from reid.export.graphs import ExportedGraph
from reid.runtime.bundle import Bundle, Graph, graph_file
from reid.runtime.engine_card import EngineCard, LayerSummary, Profile
from reid.runtime.errors import GateError
from reid.runtime.model_card import ModelCard

SMALL = EngineOptions("tensorrt-rtx", profiles=(Profile((1, 4, 8), (1, 2, 8)),), optimization_level=0)


def build(model: ModelProto, folder: Path, card: ModelCard, options: EngineOptions = SMALL) -> EngineCard:
    onnx.save(model, folder / "model.onnx")
    graph = Graph.of("int8", folder / "model.onnx")
    return build_engine(ExportedGraph(graph), folder / "engines", card, options)


def mixed(fp16: ModelProto, layers: QuantizableLayers, left: list[str]) -> tuple[ModelProto, set[str], set[str]]:
    """Give the graph, and the nodes of its convolutions in INT8 and in FP16; what ranges there are is no matter."""
    int8 = [layer.name for layer in layers if layer.name not in left]
    graph = quantize(fp16, layers, int8, dict.fromkeys(layers.inputs, 4.0))
    convolutions = {layer.node: layer.name in int8 for layer in layers if layer.op == "Conv"}
    return (
        graph,
        {n for n, is_int8 in convolutions.items() if is_int8},
        {n for n, one in convolutions.items() if not one},
    )


def nodes(names: tuple[str, ...]) -> set[str]:
    return {node for name in names for node in name.split(" + ")}


@pytest.fixture(scope="module")
def fp16(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelProto, QuantizableLayers]:
    graph, output = bundle / graph_file("fp32"), tmp_path_factory.mktemp("fp16") / "fp16.onnx"
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), dtype=np.uint8)
    assert write_fp16_graph(graph, output, frames) == ()
    return onnx.load(output), find_layers(onnx.load(graph))


@pytest.fixture(scope="module")
def card(bundle: Path) -> ModelCard:
    return Bundle.open(bundle).card


@pytest.mark.parametrize("left", [[], ["backbone.layer2.0.conv2", "backbone.layer2.0.conv2 residual"]], ids=len)
def test_every_convolution_that_is_int8_in_the_graph_reads_int8(
    fp16: tuple[ModelProto, QuantizableLayers], card: ModelCard, tmp_path: Path, left: list[str]
) -> None:
    graph, int8, others = mixed(*fp16, left)
    assert len(others) == len(left) // 2
    built = build(graph, tmp_path, card)
    summary = built.layers
    assert summary.convolutions == {"int8": len(int8)} | ({"fp16": len(others)} if others else {})
    assert int8 <= nodes(summary.int8_convolutions)
    assert not others & nodes(summary.int8_convolutions)
    assert summary.fp32_convolutions == ()
    (sidecar,) = (tmp_path / "engines").glob("*.json")
    assert EngineCard.parse(sidecar.read_bytes(), sidecar).layers == summary
    assert sidecar.stem.endswith("-int8")


def test_resnet50_of_three_levels_becomes_an_int8_engine(
    resnet50: tuple[Path, Path, ModelCard], tmp_path: Path
) -> None:
    fp32_graph, fp16_graph, card = resnet50
    graph, int8, _ = mixed(onnx.load(fp16_graph), find_layers(onnx.load(fp32_graph)), [])
    assert len(int8) == 53
    built = build(graph, tmp_path, card, EngineOptions("tensorrt-rtx"))
    assert built.layers.convolutions == {"int8": 53}
    assert int8 <= nodes(built.layers.int8_convolutions)


def test_an_engine_that_computes_in_fp16_what_is_int8_in_the_graph_fails_the_gate(
    fp16: tuple[ModelProto, QuantizableLayers], card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, int8, _ = mixed(*fp16, [])
    lost = sorted(int8)[0]

    class Betrayed(Build):
        def _inspect(self, *arguments: Any) -> Iterator[LayerSummary]:  # noqa: ANN401
            for read in Build._inspect(self, *arguments):
                left = tuple(names for names in read.int8_convolutions if lost not in names.split(" + "))
                yield read.model_copy(update={"int8_convolutions": left})

    monkeypatch.setattr(builder, "Build", Betrayed)
    told = rf"1 of {len(int8)} convolutions .* do not read INT8 \({lost}\), according to the"
    with pytest.raises(GateError, match=told):
        build(graph, tmp_path, card)
    assert not (tmp_path / "engines").exists()


def test_a_convolution_of_which_only_one_side_is_int8_is_not_asked_to_read_it(
    fp16: tuple[ModelProto, QuantizableLayers], card: ModelCard, tmp_path: Path
) -> None:
    graph, int8, _ = mixed(*fp16, [])
    weights = {tensor.name: tensor for tensor in fp16[0].graph.initializer}
    changed = next(node for node in graph.graph.node if node.op_type == "Conv")
    (original,) = (node for node in fp16[0].graph.node if node.name == changed.name)
    changed.input[1] = original.input[1]
    graph.graph.initializer.append(weights[original.input[1]])
    built = build(graph, tmp_path, card)
    assert nodes(built.layers.int8_convolutions) & int8 == int8 - {changed.name}


def test_the_gate_names_up_to_three() -> None:
    summary = LayerSummary(
        source="engine", layers={}, convolutions={"int8": 2, "fp16": 4}, int8_convolutions=("a + relu", "b + dq_b")
    )
    check_precision(summary, "int8", frozenset(), frozenset("ab"))
    check_precision(summary, "int8", frozenset())
    with pytest.raises(
        GateError, match=r"2 of 3 convolutions that are INT8 .* \(c, d\), according to the engine: build"
    ) as caught:
        check_precision(summary, "int8", frozenset(), frozenset("acd"))
    assert caught.value.exit_code == 3
    with pytest.raises(GateError, match=r"\(c, d, e, \.\.\.\)"):
        check_precision(summary, "int8", frozenset(), frozenset("cdef"))
