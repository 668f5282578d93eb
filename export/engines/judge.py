"""Judging an engine right after its build, on the GPU that it was built for, before it is part of a bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reid.evaluation.verification.compare import compare
from reid.evaluation.verification.engines import judgment_of
from reid.evaluation.verification.origin import failure_with_origin
from reid.evaluation.verification.records import PrecisionVerification
from reid.evaluation.verification.reference import Reference
from reid.evaluation.verification.verify import record_of, verification_of
from reid.export.engines.trace import SessionTrace
from reid.export.rejection import leave_report
from reid.runtime.engine_card import EngineCard
from reid.runtime.engine_judgment import EngineJudgment
from reid.runtime.errors import GateError, SessionError
from reid.runtime.model_card import ModelCard
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.session import Session
from reid.runtime.sessions.tensorrt import load_engine

__all__ = ["EngineGate"]


@dataclass(frozen=True, slots=True)
class EngineGate:
    """The gate that an engine has to pass where this machine can run it.

    Attributes:
        bundle: the bundle that the engine is for; the report on a refused one is left beside it.
        graphs: the folder of its graphs; that of the bundle, or of one that is being written.
        card: the model's card.
        reference: returns what engines are compared with; it is called for the first engine that can be run.
        progress: the progress to advance.
    """

    bundle: Path
    graphs: Path
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
            if found.failures:
                raise self._refusal(reference, found, session, sidecar)
        return judgment_of(found, reference.judged_on, reference.session)

    def _refusal(
        self, reference: Reference, found: PrecisionVerification, session: Session, sidecar: EngineCard
    ) -> GateError:
        """Leave the report, at once and then with where the engine departs; return the error that says so."""
        leave_report(self.bundle, verification_of(reference, self.card.fingerprint, [found]))
        traced = SessionTrace(self.graphs, reference.crops, self.progress)(found, session, lambda: sidecar)
        verification = verification_of(reference, self.card.fingerprint, [traced])
        page = leave_report(self.bundle, verification)
        said = failure_with_origin(verification)
        return GateError(f"{found.session}, {said}; nothing was written but the report, {page}")
