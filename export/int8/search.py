"""The search for an INT8 graph: as many layers in INT8 as the tolerance on retrieval allows."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

from reid.calibration.journal import Journal
from reid.calibration.search import Evaluation, order_of_return, search
from reid.calibration.sensitivity import Sensitivity
from reid.evaluation.verification.reference import Reference
from reid.evaluation.verification.sentences import failure_sentence
from reid.export.int8.graph import Int8Graph
from reid.export.int8.record import Int8Record, predicted_speedup
from reid.export.verification.graphs import compare_graph
from reid.runtime.errors import GateError
from reid.runtime.progress import SILENT, Progress

__all__ = ["Int8Search"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Int8Search:
    """Finds the mix of INT8 and FP16 that is fastest within tolerance.

    Attributes:
        graph: the INT8 graph, whose layers are searched for.
        sensitivity: the effect of each of its layers.
        reference: the reference that the graph is compared with, with the tolerance.
        journal: earlier evaluations, which are not repeated; every new one is added.
        progress: follows the frames of each evaluation.
    """

    graph: Int8Graph
    sensitivity: Sensitivity
    reference: Reference
    journal: Journal
    progress: Progress = SILENT

    def run(self) -> Int8Record:
        """Search, and return what was found.

        Raises:
            GateError: not even all layers in FP16 are within tolerance.
        """
        layers = self.graph.layers
        work = {layer.name: layer.macs / layers.macs for layer in layers}
        order = order_of_return(self.sensitivity.errors, work)
        found = search(order, self.sensitivity.errors, work, self.evaluate)
        if found.in_fp16 is None:
            why = found.evaluations[-1].failures[0]
            raise GateError(
                f"even with all layers in FP16, the model is outside tolerance on {self.reference.title}: {why}; no "
                "bundle was written: lower int8_similarity in --tolerances, or export without --int8"
            )
        fraction = self.graph.int8_fraction(found.in_fp16)
        return Int8Record(
            judged_on=self.reference.judged_on,
            in_fp16=tuple(name for name in layers.names if name in found.in_fp16),
            int8_percent=100 * fraction,
            predicted_speedup=predicted_speedup(fraction),
            evaluations=found.evaluations,
            sensitivity=self.sensitivity,
        )

    def evaluate(self, in_fp16: frozenset[str]) -> Evaluation:
        """Compare the graph with these layers in FP16 with PyTorch."""
        key = f"mix with {' '.join(sorted(in_fp16))}"
        evaluation = self.journal.remember(key, Evaluation, lambda: self._compare(in_fp16))
        logger.info(_sentence(evaluation, self.graph.int8_fraction(in_fp16)))
        return evaluation

    def _compare(self, in_fp16: frozenset[str]) -> Evaluation:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mix.onnx"
            self.graph.write(path, in_fp16)
            found = compare_graph(self.reference, "int8", path, self.progress)
        return Evaluation(
            in_fp16=tuple(sorted(in_fp16)),
            failures=tuple(map(failure_sentence, found.failures)),
            changes={
                f"{comparison.protocol} {metric}": points
                for comparison in found.protocols
                for metric, points in comparison.difference.items()
            },
            similarity=found.similarity.levels[0].minimum,
        )


def _sentence(evaluation: Evaluation, int8_fraction: float) -> str:
    layers = f"{len(evaluation.in_fp16)} layers in FP16" if evaluation.in_fp16 else "all layers in INT8"
    verdict = "within tolerance" if evaluation.passed else "outside tolerance"
    fall = f", {evaluation.largest_fall[0]} {evaluation.largest_fall[1]:+.2f}" if evaluation.largest_fall else ""
    work = f"{100 * int8_fraction:.1f} % of the work in INT8"
    return f"int8: {layers}, {work}{fall}, similarity {evaluation.similarity:.4f}: {verdict}"
