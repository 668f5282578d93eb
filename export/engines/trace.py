"""A session outside tolerance, with where it departs: for whoever judges one."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.verification.records import DriftSearch, PrecisionVerification
from reid.evaluation.verification.reference import Crops
from reid.export.engines.drift import MarkedEngines, Suspect, find_drift
from reid.export.engines.marked import MarkedBuilder
from reid.runtime.bundle import graph_file
from reid.runtime.engine_card import EngineCard
from reid.runtime.errors import ReidError, SessionError
from reid.runtime.imaging import as_model_input, read_frame
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.engine.session import TensorRTSession
from reid.runtime.sessions.session import Session
from reid.runtime.text import clipped, one_line

__all__ = ["SessionTrace"]


@dataclass(frozen=True, slots=True)
class SessionTrace:
    """What is needed to find where a session of a bundle departs from its graph.

    Attributes:
        graphs: the folder of the bundle's graphs.
        crops: the bundle's reference crops.
        progress: the progress to advance.
    """

    graphs: Path
    crops: Crops
    progress: Progress = SILENT

    def __call__(
        self, found: PrecisionVerification, session: Session, read_sidecar: Callable[[], EngineCard] | None = None
    ) -> PrecisionVerification:
        """Return what was found of a session, with where it departs if it is outside tolerance.

        The verdict is as it was: whatever fails here, Ctrl-C included, is only a reason why no layer is named.

        Args:
            found: what was found.
            session: the session.
            read_sidecar: returns the engine's card; None where it is no engine.
        """
        if found.verdict != "outside":  # --strict refuses what is undecided, too
            return found
        try:
            with tempfile.TemporaryDirectory(prefix="reid-engine-") as folder:
                engines = self._engines(session, read_sidecar, Path(folder))
                return self._traced(found, session, engines)
        except (Exception, KeyboardInterrupt) as error:  # whatever a second build can raise
            return found.model_copy(update={"drift_search": DriftSearch(reason=_reason(error))})

    def _engines(self, session: Session, read_sidecar: Callable[[], EngineCard] | None, folder: Path) -> MarkedEngines:
        if read_sidecar is None:
            return partial(_not_given, str(session.info))
        graph = self.graphs / graph_file(session.info.precision)
        ordinal = session.ordinal if isinstance(session, TensorRTSession) else 0
        return MarkedBuilder(read_sidecar(), session.info.card, graph, folder, ordinal, self.progress)

    def _traced(self, found: PrecisionVerification, session: Session, engines: MarkedEngines) -> PrecisionVerification:
        graph, fp32 = (self.graphs / graph_file(precision) for precision in (session.info.precision, "fp32"))
        frames = np.stack([*self._worst_queries(found, session), *self.crops.frames])
        drift = find_drift(Suspect(session, graph, fp32, frames), engines)
        return found.model_copy(update={"drift": drift.layers, "drift_search": drift.how})

    def _worst_queries(self, found: PrecisionVerification, session: Session) -> Iterator[NDArray[np.uint8]]:
        for picture in dict.fromkeys(query.query for query in found.worst_queries):
            with contextlib.suppress(ReidError):  # one picture of several
                yield as_model_input(read_frame(Path(picture)), session.info.card.preprocessing)


def _not_given(session: str, tensors: Collection[str]) -> NoReturn:
    raise SessionError(f"{session} departs from its graph, and only TensorRT gives what is inside")


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "it was interrupted"
    return str(error) if isinstance(error, ReidError) else clipped(one_line(f"{type(error).__name__}: {error}"))
