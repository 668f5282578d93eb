"""Where an engine departs from its graph: the layer is named, or what is fused, or why neither can be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from marked_engines import MarkedEngines, layer_of, write_broken
from numpy.typing import NDArray

import reid.export.engines.drift as drift
from reid.evaluation.verification.drift import first_drift
from reid.evaluation.verification.graph_layers import GraphLayers
from reid.evaluation.verification.origin import how_sentence
from reid.evaluation.verification.records import DriftSearch
from reid.evaluation.verification.reference import Crops
from reid.export.engines.drift import MOST_BUILDS, DriftFound, Suspect, find_drift
from reid.runtime.bundle import Bundle, graph_file
from reid.runtime.errors import ModelError
from reid.runtime.precision import Precision
from reid.runtime.sessions.host import HostSession
from reid.runtime.sessions.onnxruntime import load_onnxruntime

BROKEN = "model.backbone.layer3.0.downsample.1.weight"
Find = Callable[[MarkedEngines], DriftFound]


@pytest.fixture(scope="module")
def sound(bundle: Path) -> Path:
    return bundle / "model.fp32.onnx"


@pytest.fixture(scope="module")
def broken(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_broken(sound, BROKEN, tmp_path_factory.mktemp("broken") / "broken.onnx")


@pytest.fixture(scope="module")
def crops(bundle: Path) -> NDArray[np.uint8]:
    return Crops.of(Bundle.open(bundle)).frames[:2]


@pytest.fixture
def find(sound: Path, broken: Path, crops: NDArray[np.uint8]) -> Find:
    """Look for the fault of an engine that gives what the broken graph does."""
    session = load_onnxruntime(broken, "cpu")
    return lambda engines: find_drift(Suspect(session, sound, sound, crops), engines)


def given(graph: Path) -> list[str]:
    """The tensors that an engine of a graph is asked to give, in the order of execution."""
    outputs = {output.name for output in onnx.load(graph).graph.output}
    return [one.tensor for one in GraphLayers(graph).layers.values() if one.tensor not in outputs]


def test_the_layer_that_is_wrong_is_named_by_one_build(sound: Path, broken: Path, find: Find) -> None:
    engines = MarkedEngines(sound, broken)
    found = find(engines)
    first = first_drift(found.layers, found.how.threshold)
    assert first is not None
    assert (first.layer, first.op, first.weight) == (layer_of(sound, BROKEN), "Conv", BROKEN)
    assert engines.built == [set(given(sound))]
    assert found.how == DriftSearch(threshold=0.01, marked=len(given(sound)), builds=1)
    assert "a fault of fusion would be gone" in how_sentence(found.how)


def test_a_tensor_that_tensorrt_removed_is_left_out(sound: Path, broken: Path, find: Find) -> None:
    (removed,) = (node.output[0] for node in onnx.load(sound).graph.node if node.name == layer_of(sound, BROKEN))
    found = find(MarkedEngines(sound, broken, absent={removed}))
    first = first_drift(found.layers, found.how.threshold)
    assert first is not None
    assert removed in next(node.input for node in onnx.load(sound).graph.node if node.name == first.layer)
    assert found.how.marked == len(given(sound)) - 1


@pytest.mark.parametrize("share", [0.0, 0.6, 0.999])
def test_a_fault_that_is_gone_where_a_tensor_is_given_is_cornered(
    share: float, sound: Path, broken: Path, find: Find
) -> None:
    tensors = given(sound)
    culprit = tensors[int(share * len(tensors))]
    found = find(engines := MarkedEngines(sound, broken, lambda marked: culprit not in marked))
    (fused,) = found.how.fused
    assert GraphLayers(sound).layers[fused].tensor == culprit
    assert found.how.builds == len(engines.built) <= MOST_BUILDS
    assert found.how.place == "fusion"
    assert "it is in what TensorRT fuses across them" in how_sentence(found.how)


def test_a_fault_that_needs_both_halves_is_not_cornered_further(sound: Path, broken: Path, find: Find) -> None:
    tensors = given(sound)
    ends = {tensors[0], tensors[-1]}
    found = find(engines := MarkedEngines(sound, broken, lambda marked: ends.isdisjoint(marked)))
    assert len(found.how.fused) == len(tensors)
    assert found.how.builds == len(engines.built) <= MOST_BUILDS


def test_no_more_than_so_many_engines_are_built(
    sound: Path, broken: Path, find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left then is known to hold the fault."""
    monkeypatch.setattr(drift, "MOST_BUILDS", 6)
    tensors = given(sound)
    for culprit in (tensors[30], tensors[-1]):
        found = find(engines := MarkedEngines(sound, broken, lambda marked, one=culprit: one not in marked))
        assert found.how.builds == len(engines.built) <= 6
        fused = [GraphLayers(sound).layers[name].tensor for name in found.how.fused]
        assert culprit in fused
        assert len(fused) <= len(tensors) / 8 + 1


def test_an_engine_that_is_right_when_it_is_built_again_is_said_to_be_so(sound: Path, find: Find) -> None:
    found = find(engines := MarkedEngines(sound, sound))
    assert engines.built == [set(given(sound)), set()]
    assert (found.how.place, found.how.fused, found.how.builds) == ("build", (), 2)
    assert first_drift(found.layers, found.how.threshold) is None


def test_an_engine_that_is_right_has_no_drift(sound: Path, crops: NDArray[np.uint8]) -> None:
    engines = MarkedEngines(sound, sound)
    with (
        load_onnxruntime(sound, "cpu") as session,
        pytest.raises(ModelError, match="on 2 frames, the session gives what its graph"),
    ):
        find_drift(Suspect(session, sound, sound, crops), engines)
    assert engines.built == []


def test_an_engine_that_is_wrong_in_batches_alone_is_said_to_be_so(
    sound: Path, broken: Path, crops: NDArray[np.uint8]
) -> None:
    right, wrong = (load_onnxruntime(path, "cpu") for path in (sound, broken))
    session = HostSession(
        right.info,
        lambda frames, pooling: (right if len(frames) == 1 else wrong).infer(frames, pooling),
        source="engine",
    )
    with pytest.raises(ModelError, match="only batches of several frames are wrong"):
        find_drift(Suspect(session, sound, sound, crops), MarkedEngines(sound, sound))


def test_embeddings_that_are_not_finite_are_wrong(sound: Path, broken: Path, crops: NDArray[np.uint8]) -> None:
    inner = load_onnxruntime(sound, "cpu")

    def infer(
        frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        embeddings, pooled = inner.infer(frames, pooling)
        return np.full_like(embeddings, np.nan), pooled

    found = find_drift(
        Suspect(HostSession(inner.info, infer, source="engine"), sound, sound, crops), MarkedEngines(sound, broken)
    )
    assert found.how.place == "build"  # the broken graph is wrong, but its embeddings are finite


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_an_engine_that_gives_what_its_graph_gives_has_the_graphs_drift(
    precision: Precision, whole_bundle: Path, crops: NDArray[np.uint8], tmp_path: Path
) -> None:
    fp32, graph = whole_bundle / "model.fp32.onnx", whole_bundle / graph_file(precision)
    other = write_broken(fp32, BROKEN, tmp_path / "other.onnx")
    with load_onnxruntime(graph, "cpu") as session:
        found = find_drift(Suspect(session, graph, other, crops), MarkedEngines(graph, graph))
    first = first_drift(found.layers, found.how.threshold)
    assert found.how == DriftSearch(threshold=0.01, place="graph")
    assert first is not None
    if precision == "fp16":
        assert first.layer == layer_of(fp32, BROKEN)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_wrong_layer_of_a_reduced_precision_is_named(
    precision: Precision, whole_bundle: Path, crops: NDArray[np.uint8], tmp_path: Path
) -> None:
    graph = whole_bundle / graph_file(precision)
    # In INT8, the first layer: those behind it drift by themselves, as so small a model does.
    name = {"fp16": "layer2.0.downsample.1.weight_as_fp16", "int8": "conv1.0.weight_int8"}[precision]
    weight = f"model.backbone.{name}"
    wrong = write_broken(graph, weight, tmp_path / "wrong.onnx")
    reader = layer_of(graph, weight)
    if precision == "int8":
        (dequantized,) = (node.output[0] for node in onnx.load(graph).graph.node if node.name == reader)
        reader = layer_of(graph, dequantized)
    engines = MarkedEngines(graph, wrong)
    with load_onnxruntime(wrong, "cpu") as session:
        found = find_drift(Suspect(session, graph, whole_bundle / "model.fp32.onnx", crops), engines)
    first = first_drift(found.layers, found.how.threshold)
    assert first is not None
    assert (first.layer, first.op) == (reader, "Conv")
    (asked,) = engines.built
    quantized = {
        n.output[0] for n in onnx.load(graph).graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")
    }
    assert asked.isdisjoint(quantized)


def test_the_frames_that_are_worst_are_looked_at(sound: Path, broken: Path, crops: NDArray[np.uint8]) -> None:
    """The engine is wrong about the last of the frames alone."""
    right, wrong = (load_onnxruntime(path, "cpu") for path in (sound, broken))

    def infer(
        frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return (wrong if np.array_equal(frames[0], crops[-1]) else right).infer(frames, pooling)

    session = HostSession(right.info, infer, source="engine")
    found = find_drift(Suspect(session, sound, sound, crops), MarkedEngines(sound, broken))
    first = first_drift(found.layers, found.how.threshold)
    assert first is not None
    assert first.layer == layer_of(sound, BROKEN)
