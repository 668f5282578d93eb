"""The search for an INT8 graph: as many layers in INT8 as the tolerance on retrieval allows."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reid.calibration.journal import Journal
from reid.calibration.search import BUDGET, Evaluation, Found, search
from reid.calibration.sensitivity import Sensitivity
from reid.evaluation.verification.reference import Reference
from reid.export.int8.acceptance import evaluation_of
from reid.export.int8.graph import Int8Graph
from reid.export.int8.judge import Load, choose_judge
from reid.export.int8.record import EngineTimes, Int8Record, predicted_speedup
from reid.export.verification.graphs import compare_graph, load_usual
from reid.runtime.errors import GateError
from reid.runtime.progress import SILENT, Progress, nested

__all__ = ["Int8Search"]

logger = logging.getLogger(__name__)

_CONFIRMATIONS = 2
"""Evaluations that are kept for the gate's own session where another one judges."""
_ALIKE = 0.1
"""Difference of two strains that may be noise: of the mixes with the least strain, the cheapest is taken."""
_LEAST_BUDGET = 2
"""Evaluations that a search needs."""


@dataclass(frozen=True, slots=True, eq=False)
class Int8Search:
    """Finds the mix of INT8 and FP16 that is fastest within tolerance.

    Attributes:
        graph: the INT8 graph, whose layers are searched for.
        sensitivity: the effect of each of its layers.
        reference: the reference that the graph is compared with, with the tolerance.
        journal: earlier evaluations, which are not repeated; every new one is added.
        progress: follows the evaluations, and the frames of each.
        timer: measures the time of a mix's engine, in milliseconds; None to minimize multiply-accumulates in FP16.
    """

    graph: Int8Graph
    sensitivity: Sensitivity
    reference: Reference
    journal: Journal
    progress: Progress = SILENT
    timer: Callable[[frozenset[str]], float] | None = None

    def run(self) -> Int8Record:
        """Search, and return what was found.

        Raises:
            GateError: not even all layers in FP16 are within tolerance.
        """
        load, time = self._judge(), self._remembered_time()
        confirms = load is not load_usual
        self.progress.begin("INT8 evaluations, at most", BUDGET, "evaluations")
        found = self._search(load, BUDGET - _CONFIRMATIONS * confirms, time)
        if found.in_fp16 is None:
            why = found.evaluations[-1].failures[0]
            raise GateError(
                f"even with all layers in FP16, the model is outside tolerance on {self.reference.title}: {why}; no "
                "bundle was written: lower int8_similarity in --tolerances, or export without --int8"
            )
        chosen = found.in_fp16
        if confirms:
            chosen, found = self._confirmed(found, chosen, time)
        return self._record(chosen, found.evaluations, time)

    def _search(self, load: Load, budget: int, time: Callable[[frozenset[str]], float] | None) -> Found:
        work = {layer.name: layer.macs / self.graph.layers.macs for layer in self.graph.layers}
        errors = self.sensitivity.errors
        return search(errors, work, lambda in_fp16: self.evaluate(in_fp16, load), budget=budget, time=time)

    def _judge(self) -> Load:
        with self._written(frozenset()) as path:
            return choose_judge(path, self.reference.crops)

    def evaluate(self, in_fp16: frozenset[str], load: Load) -> Evaluation:
        """Compare the graph with these layers in FP16 with PyTorch."""
        judge = "" if load is load_usual else " by OpenVINO"
        key = f"mix with {' '.join(sorted(in_fp16))}{judge}"
        evaluation = self.journal.remember(key, Evaluation, lambda: self._compare(in_fp16, load))
        self.progress.advance()
        logger.info(_sentence(evaluation, self.graph.int8_fraction(in_fp16)))
        return evaluation

    def _compare(self, in_fp16: frozenset[str], load: Load) -> Evaluation:
        with self._written(in_fp16) as path:
            found = compare_graph(self.reference, "int8", path, nested(self.progress), load)
        return evaluation_of(in_fp16, found, self.reference.tolerance)

    @contextmanager
    def _written(self, in_fp16: frozenset[str]) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "mix.onnx"
            self.graph.write(path, in_fp16)
            yield path

    def _remembered_time(self) -> Callable[[frozenset[str]], float] | None:
        timer = self.timer
        if timer is None:
            return None
        key = "time with {}".format
        return lambda mix: self.journal.remember(key(" ".join(sorted(mix))), float, lambda: timer(mix))

    def _confirmed(
        self, found: Found, in_fp16: frozenset[str], time: Callable[[frozenset[str]], float] | None
    ) -> tuple[frozenset[str], Found]:
        """Let the gate's own session judge what another one found; if it disagrees, it searches with what is left."""
        passed = [one for one in found.evaluations if one.passed]
        least = min(one.strain or 0.0 for one in passed)
        calm = [one for one in passed if (one.strain or 0.0) <= least + _ALIKE]
        second = min(calm, key=lambda one: (-self.graph.int8_fraction(one.in_fp16), len(one.in_fp16)))
        made = [*found.evaluations]
        for chosen in dict.fromkeys((in_fp16, frozenset(second.in_fp16))):
            made.append(self.evaluate(chosen, load_usual))
            if made[-1].passed:
                return chosen, Found(chosen, tuple(made))
            judged = next(one for one in passed if frozenset(one.in_fp16) == chosen)
            logger.warning(
                f"{judged.session} and {made[-1].session} disagree on an INT8 graph with {len(chosen)} layers in FP16: "
                f"it is within tolerance for the former, and for the latter {made[-1].failures[0]}"
            )
        final = in_fp16
        if BUDGET - len(made) >= _LEAST_BUDGET:
            again = self._search(load_usual, BUDGET - len(made), time)
            made += [one for one in again.evaluations if one not in made]
            final = in_fp16 if again.in_fp16 is None else again.in_fp16  # the gate has the last word
        return final, Found(final, tuple(made))

    def _record(
        self,
        in_fp16: frozenset[str],
        evaluations: tuple[Evaluation, ...],
        time: Callable[[frozenset[str]], float] | None,
    ) -> Int8Record:
        names = self.graph.layers.names
        fraction = self.graph.int8_fraction(in_fp16)
        return Int8Record(
            judged_on=self.reference.judged_on,
            in_fp16=tuple(name for name in names if name in in_fp16),
            int8_percent=100 * fraction,
            predicted_speedup=predicted_speedup(fraction),
            evaluations=evaluations,
            sensitivity=self.sensitivity,
            judged_by=evaluations[0].session,
            budget=BUDGET,
            objective="latency" if time else "macs",
            times=_times(time(in_fp16), time(frozenset(names))) if time else None,
        )


def _times(int8: float, fp16: float) -> EngineTimes:
    if int8 >= fp16:
        logger.warning(
            f"the INT8 engine is not faster than FP16 on this GPU: a batch takes {int8:.2f} ms, and {fp16:.2f} ms in "
            "FP16; export without --int8"
        )
    return EngineTimes(int8=int8, fp16=fp16)


def _sentence(evaluation: Evaluation, int8_fraction: float) -> str:
    count = len(evaluation.in_fp16)
    layers = f"{count} layer{'s' if count > 1 else ''} in FP16" if count else "all layers in INT8"
    verdict = "within tolerance" if evaluation.passed else "outside tolerance"
    fall = f", {evaluation.largest_fall[0]} {evaluation.largest_fall[1]:+.2f}" if evaluation.largest_fall else ""
    work = f"{100 * int8_fraction:.1f} % of the work in INT8"
    by = f", by {evaluation.session}" if evaluation.session else ""
    return f"int8: {layers}, {work}{fall}, similarity {evaluation.similarity:.4f}: {verdict}{by}"
