"""Judging an engine right after its build, on the GPU that it was built for, before it is part of a bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reid.evaluation.verification.compare import compare
from reid.evaluation.verification.engines import judgment_of
from reid.evaluation.verification.records import Verification
from reid.evaluation.verification.reference import Reference
from reid.evaluation.verification.sentences import failure_sentence
from reid.evaluation.verification.verify import record_of
from reid.export.rejection import leave_report
from reid.runtime.engine_card import EngineCard
from reid.runtime.engine_judgment import EngineJudgment
from reid.runtime.errors import GateError, SessionError
from reid.runtime.model_card import ModelCard
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.tensorrt import load_engine

__all__ = ["EngineGate"]


@dataclass(frozen=True, slots=True)
class EngineGate:
    """The gate that an engine has to pass where this machine can run it.

    Attributes:
        bundle: the bundle that the engine is for; the report on a refused one is left beside it.
        card: the model's card.
        reference: returns what engines are compared with; it is called for the first engine that can be run.
        progress: the progress to advance.
    """

    bundle: Path
    card: ModelCard
    reference: Callable[[], Reference]
    progress: Progress = SILENT

    def __call__(self, engine: Path, sidecar: EngineCard) -> EngineJudgment:
        """Judge an engine.

        Args:
            engine: the engine's file, not yet in the bundle.
            sidecar: its card.

        Returns:
            The judgment; where this machine cannot run it, the reason.

        Raises:
            GateError: it is outside tolerance; the report is left beside the bundle.
            ModelError: it does not load on a GPU that it was built for.
        """
        try:
            session = load_engine(engine, sidecar, self.card)
        except SessionError as error:
            return EngineJudgment(reason=str(error))
        with session:
            reference = self.reference()
            found = record_of(compare(reference, sidecar.precision, session, self.progress))
        verification = Verification(
            fingerprint=self.card.fingerprint,
            reference=reference.session,
            judged_on=reference.judged_on,
            tolerance=reference.tolerance,
            precisions=(found,),
            scores=reference.scores(),
            stand_in=reference.stand_in,
        )
        if found.failures:
            first, *others = map(failure_sentence, found.failures)
            more = f" (and {len(others)} more)" if others else ""
            page = leave_report(self.bundle, verification)
            raise GateError(f"{found.session}, {first}{more}; nothing was written but the report, {page}")
        return judgment_of(found, reference.judged_on, reference.session)
