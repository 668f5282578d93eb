"""TensorRT's own engines, where it is installed: built from the graphs, opened, and held to ONNX Runtime's CPU."""

from __future__ import annotations

from importlib.util import find_spec

from cuda_stack import context_stack
from measuring import greatest_difference, median_ms, random_batch
from proving import Proof, Skipped, prove
from session_paths import on_busy_stream, through_slots
from subjects import checkpoint, graph_of, side_of

from reid.export.engines.build import build_engine
from reid.export.engines.options import EngineOptions
from reid.export.graphs import ExportedGraph
from reid.runtime.bundle import Graph
from reid.runtime.engine_card import Profile
from reid.runtime.gpu import find_device
from reid.runtime.precision import PRECISIONS, Precision
from reid.runtime.sessions.onnxruntime import load_onnxruntime
from reid.runtime.sessions.session import run
from reid.runtime.sessions.tensorrt import load_engine
from reid.runtime.tensorrt_api import Flavor

_PROFILES = (Profile((1, 1, 2), (1, 1, 2)), Profile((1, 32, 32), (1, 8, 32)))
_SIZES = ((1, 1), (2, 2), (7, 3), (32, 8))
_LEAST_COSINE: dict[Precision, float] = {"fp32": 0.99999, "fp16": 0.999, "int8": 0.99}


def tensorrt_engines(proof: Proof) -> None:
    """Build and run each precision; TensorRT-RTX, where it is installed, only builds on a GPU that it does not know."""
    proof.needs_gpu()
    modules: dict[Flavor, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
    flavors = [flavor for flavor, module in modules.items() if find_spec(module)]
    if not flavors:
        raise Skipped("neither TensorRT nor TensorRT-RTX is installed")
    for flavor in flavors:
        for precision in reversed(PRECISIONS):  # the most telling first
            name = f"{flavor}, {precision}"
            proof.attempt(name, _engine, proof, flavor, precision)


def _engine(proof: Proof, flavor: Flavor, precision: Precision) -> None:
    if proof.seconds_left < 8:
        proof.note(f"{flavor}, {precision}", "left out: no time")
        return
    name, card = f"{flavor}, {precision}", checkpoint(proof).card
    graph = Graph.of(precision, graph_of(proof, precision))
    options = EngineOptions(flavor, profiles=_PROFILES, optimization_level=1)
    folder = proof.work / f"{flavor}-{precision}"
    folder.mkdir(exist_ok=True)
    sidecar = build_engine(ExportedGraph(graph), folder, card, options)
    proof.note(f"{name}: convolutions by precision", {sidecar.layers.source: sidecar.layers.convolutions})
    gpu = find_device()
    assert gpu is not None
    if flavor == "tensorrt-rtx" and gpu.compute_capability not in sidecar.compute_capabilities:
        proof.note(f"{name}: not opened", f"it is for {', '.join(sidecar.compute_capabilities)}")
        return
    batches = [random_batch(side_of(proof), *sizes) for sizes in _SIZES]
    with load_onnxruntime(graph.path, "cpu") as cpu:
        expected = [run(cpu, *batch) for batch in batches]
    before = context_stack()
    with load_engine(next(folder.glob("*.engine")), sidecar, card) as session:
        cosines = []
        for batch, wanted in zip([*batches, *batches], [*expected, *expected], strict=True):  # again: by CUDA graphs
            found = run(session, *batch)
            cosines.append(float((found.frame_embedding * wanted.frame_embedding).sum(axis=1).min()))
        least = _LEAST_COSINE[precision]
        proof.check(f"{name}: cosine to ONNX Runtime at least {least}", min(cosines) >= least, min(cosines))
        alone = run(session, *batches[-1])
        slots = max(greatest_difference(one, alone) for one in through_slots(session, [batches[-1]] * 4))
        proof.check(f"{name}: slots give what `run` gives", slots < 2e-3, slots)
        device = max(greatest_difference(one, alone) for one in on_busy_stream(session, batches[-1]))
        proof.check(f"{name}: device arrays give what `run` gives", device < 2e-3, device)
        many = [batches[-1]] * 6
        milliseconds = median_ms(lambda: through_slots(session, many), 5, 1) / len(many)
        proof.note(f"{name}: frames/s through slots", round(32e3 / milliseconds, 1))
    proof.check(f"{name}: contexts are as before", context_stack() == before)


if __name__ == "__main__":
    prove(tensorrt_engines)
