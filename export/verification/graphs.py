"""Every graph of a bundle beside PyTorch, and the layers to blame where one is outside tolerance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reid.evaluation.verification.compare import Comparison, compare
from reid.evaluation.verification.graph_drift import drifted_layers
from reid.evaluation.verification.records import PrecisionVerification
from reid.evaluation.verification.reference import Crops, Reference
from reid.evaluation.verification.verify import record_of
from reid.export.graphs import ExportedGraph
from reid.runtime.precision import Precision
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.graph import GraphSession
from reid.runtime.sessions.onnxruntime import best_device, load_onnxruntime

__all__ = ["ComparedGraph", "compare_graph", "compare_graphs", "describe", "load_usual"]

_DRIFT_FRAMES = 4


@dataclass(frozen=True, slots=True)
class ComparedGraph:
    """A graph and how it compares with PyTorch."""

    exported: ExportedGraph
    comparison: Comparison


def load_usual(path: Path) -> GraphSession:
    """Load a graph with ONNX Runtime, on a GPU where there is one: the session by which graphs are judged."""
    return load_onnxruntime(path, best_device())


def compare_graph(
    reference: Reference,
    precision: Precision,
    path: Path,
    progress: Progress = SILENT,
    load: Callable[[Path], GraphSession] = load_usual,
) -> Comparison:
    """Run a graph and compare it with PyTorch; see `evaluation.verification.compare`.

    Args:
        reference: the reference to compare with.
        precision: the precision of the graph.
        path: the ONNX file, of the same model.
        progress: the progress to advance by each frame.
        load: opens the graph.
    """
    with load(path) as session:
        return compare(reference, precision, session, progress)


def compare_graphs(
    reference: Reference, graphs: Sequence[ExportedGraph], progress: Progress = SILENT
) -> tuple[ComparedGraph, ...]:
    """Compare graphs with PyTorch, one after the other; see compare_graph."""
    return tuple(
        ComparedGraph(one, compare_graph(reference, one.graph.precision, one.graph.path, progress)) for one in graphs
    )


def describe(compared: ComparedGraph, fp32: Path, crops: Crops) -> PrecisionVerification:
    """Make the record of a comparison; where something is outside tolerance, with the layers that drifted.

    Args:
        compared: the graph and its comparison.
        fp32: the FP32 graph, with which layers are compared.
        crops: the reference crops, of which a few are run for that.
    """
    graph, found = compared.exported.graph, compared.comparison
    drifts = bool(found.failures) and graph.precision != "fp32"
    drift = drifted_layers(fp32, graph.path, crops.frames[:_DRIFT_FRAMES]) if drifts else ()
    return record_of(found, drift=drift, in_fp32=compared.exported.in_fp32)
