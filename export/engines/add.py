"""Adding engines: to a bundle that is being written, or to an existing one, on the device that they are for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from reid.evaluation.verification.reading import read_verification
from reid.evaluation.verification.records import VERIFICATION_FILE, EngineFacts
from reid.evaluation.verification.sentences import engine_sentence
from reid.export.engines.build import build_engine
from reid.export.engines.options import EngineOptions
from reid.export.graphs import ExportedGraph, check_graphs
from reid.runtime.bundle import ENGINES_FOLDER, Bundle
from reid.runtime.model_card import ModelCard
from reid.runtime.precision import Precision
from reid.runtime.progress import SILENT, Progress

__all__ = ["add_engines", "build_engines"]

logger = logging.getLogger(__name__)


def add_engines(
    bundle: Bundle, precisions: Sequence[Precision], options: EngineOptions, progress: Progress = SILENT
) -> tuple[EngineFacts, ...]:
    """Build an engine from each of a bundle's graphs that is named, and put it beside them. Needs no PyTorch.

    Args:
        bundle: the bundle, with its hashes checked.
        precisions: the precisions to build engines of.
        options: the options to build with, targets included.
        progress: the progress to advance.

    Raises:
        ModelError: the bundle has no such graph, it is not what was verified, or it cannot be built.
        SessionError: the package is missing, or cannot build here what is asked.
        GateError: an engine's layers do not have the precision of its graph.
    """
    graphs = [bundle.graph(precision) for precision in dict.fromkeys(precisions)]
    check_graphs(bundle.root, [graph.precision for graph in graphs])
    verification = read_verification(bundle.root / VERIFICATION_FILE)
    in_fp32 = {one.precision: one.in_fp32 for one in verification.precisions}
    exported = [ExportedGraph(graph, in_fp32.get(graph.precision, ())) for graph in graphs]
    return build_engines(bundle.root, bundle.card, exported, options, progress)


def build_engines(
    folder: Path,
    card: ModelCard,
    graphs: Sequence[ExportedGraph],
    options: EngineOptions,
    progress: Progress = SILENT,
) -> tuple[EngineFacts, ...]:
    """Build an engine from each graph into a bundle's folder; see add_engines, which checks the graphs first.

    Args:
        folder: the bundle's folder.
        card: the card of the model.
        graphs: the graphs.
        options: the options to build with, targets included.
        progress: the progress to advance.
    """
    built = []
    for graph in graphs:
        engine = EngineFacts.of(build_engine(graph, folder / ENGINES_FOLDER, card, options, progress))
        logger.info("engine: %s", engine_sentence(engine))
        built.append(engine)
    return tuple(built)
