"""Adding engines: to a bundle that is being written, or to an existing one, on the device that they are for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from reid.data.dataset import Dataset
from reid.evaluation.verification.reading import read_verification
from reid.evaluation.verification.records import VERIFICATION_FILE, EngineFacts, Tolerance
from reid.evaluation.verification.sentences import engine_sentence
from reid.evaluation.verification.verify import bundle_reference
from reid.export.engines.build import build_engine
from reid.export.engines.judge import EngineGate
from reid.export.engines.options import EngineOptions
from reid.export.graphs import ExportedGraph, check_graphs
from reid.export.rejection import rejected_folder
from reid.runtime.bundle import ENGINES_FOLDER, Bundle
from reid.runtime.files.manifest import remove_replaceable
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.precision import Precision
from reid.runtime.progress import SILENT, Progress

__all__ = ["EngineTrial", "add_engines", "build_engines"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineTrial:
    """What engines are run on and held to before they are added to a bundle.

    Attributes:
        data: the data set; None to run them on the reference crops alone.
        tolerance: the largest permitted fall.
        post_processing: what rankings are compared with as well, besides plain.
    """

    data: Dataset | None = None
    tolerance: Tolerance = field(default_factory=Tolerance)
    post_processing: PostProcessing = PLAIN


def add_engines(
    bundle: Bundle,
    precisions: Sequence[Precision],
    options: EngineOptions,
    progress: Progress = SILENT,
    trial: EngineTrial | None = None,
) -> tuple[EngineFacts, ...]:
    """Build an engine from each of a bundle's graphs that is named, and put it beside them. Needs no PyTorch.

    An engine that this machine can run is judged before it is added; of others, the sidecar says why it was not.

    Args:
        bundle: the bundle, with its hashes checked.
        precisions: the precisions to build engines of.
        options: the options to build with, targets included.
        progress: the progress to advance.
        trial: what they are run on; None for the reference crops.

    Raises:
        ModelError: the bundle has no such graph, it is not what was verified, or it cannot be built.
        SessionError: the package is missing, or cannot build here what is asked.
        GateError: an engine's layers do not have the precision of its graph, or it is outside tolerance. Then the
            report is left in `rejected_folder(bundle.root)`.
    """
    trial = trial or EngineTrial()
    graphs = [bundle.graph(precision) for precision in dict.fromkeys(precisions)]
    check_graphs(bundle.root, [graph.precision for graph in graphs])
    verification = read_verification(bundle.root / VERIFICATION_FILE)
    in_fp32 = {one.precision: one.in_fp32 for one in verification.precisions}
    exported = [ExportedGraph(graph, in_fp32.get(graph.precision, ())) for graph in graphs]
    reference = partial(bundle_reference, bundle, trial.data, trial.tolerance, trial.post_processing, progress)
    gate = EngineGate(bundle.root, bundle.root, bundle.card, cache(reference), progress)
    engines = build_engines(bundle.root, exported, options, gate)
    remove_replaceable(rejected_folder(bundle.root))
    return engines


def build_engines(
    folder: Path, graphs: Sequence[ExportedGraph], options: EngineOptions, gate: EngineGate
) -> tuple[EngineFacts, ...]:
    """Build an engine from each graph into a bundle's folder; see add_engines, which checks the graphs first.

    Args:
        folder: the folder, which may be the bundle's before it is whole.
        graphs: the graphs.
        options: the options to build with, targets included.
        gate: the gate that each engine has to pass.
    """
    built = []
    for graph in graphs:
        sidecar = build_engine(graph, folder / ENGINES_FOLDER, gate.card, options, gate.progress, gate)
        engine = EngineFacts.of(sidecar)
        logger.info("engine: %s", engine_sentence(engine))
        built.append(engine)
    return tuple(built)
