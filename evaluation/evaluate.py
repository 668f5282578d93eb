"""Retrieval metrics of a model on a data set: what `reid-eval` prints."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from reid.data.dataset import Dataset
from reid.evaluation.metrics import Metrics
from reid.evaluation.protocols import (
    PROTOCOLS,
    EmbeddedData,
    Protocol,
    embed_data,
    evaluate_protocol,
    find_protocols,
)
from reid.runtime.errors import DataError
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.session import Session

__all__ = ["evaluate", "score"]

logger = logging.getLogger(__name__)


def evaluate(
    session: Session,
    dataset: Dataset,
    protocols: Sequence[str] = tuple(PROTOCOLS),
    *,
    rerank: bool = False,
    progress: Progress = SILENT,
) -> dict[str, Metrics]:
    """Embed the queries and the gallery of a data set, and score their ranking.

    Args:
        session: the model; it stays open.
        dataset: the data set; only its query and gallery splits are used.
        protocols: names from PROTOCOLS.
        rerank: whether to use k-reciprocal re-ranking.
        progress: follows the frames as they are embedded.

    Returns:
        Name of a protocol -> metrics, for every protocol that can be evaluated on this data.

    Raises:
        DataError: a protocol is unknown, or none of them can be evaluated on this data.
    """
    chosen = find_protocols(protocols)
    data = embed_data(session, dataset.query, dataset.gallery, progress=progress)
    return score(data, chosen, rerank=rerank)


def score(data: EmbeddedData, protocols: Sequence[Protocol], *, rerank: bool = False) -> dict[str, Metrics]:
    """Score embedded data; whatever is left out of the metrics is logged as a warning.

    Args:
        data: the embedded queries and gallery.
        protocols: the protocols to score by, at least one.
        rerank: whether to use k-reciprocal re-ranking.

    Returns:
        Name of a protocol -> metrics, for every protocol that can be evaluated on this data.

    Raises:
        DataError: none of the protocols can be evaluated on this data.
    """
    outcomes = {protocol.name: _metrics_or_failure(data, protocol, rerank) for protocol in protocols}
    metrics = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Metrics)}
    failures = [outcome for outcome in outcomes.values() if isinstance(outcome, DataError)]
    if not metrics:
        raise failures[0]
    for failure in failures:
        logger.warning("%s", failure)
    _warn_of_omissions(data, metrics)
    return metrics


def _metrics_or_failure(data: EmbeddedData, protocol: Protocol, rerank: bool) -> Metrics | DataError:
    try:
        return evaluate_protocol(data, protocol, rerank=rerank)
    except DataError as failure:
        return failure


def _warn_of_omissions(data: EmbeddedData, metrics: dict[str, Metrics]) -> None:
    for name, found in metrics.items():
        if unanswerable := len(found.unanswerable):
            logger.warning("%s: %d queries have no right answer and are not counted", name, unanswerable)
    warn_of_unreadable(data.unreadable, data.queries_left_out)


def warn_of_unreadable(frames: Sequence[str], queries: Sequence[str]) -> None:
    """Log a warning of the frames that were left out, and of the queries that are not counted, by their names."""
    for names, fate in (
        (frames, "frames could not be read and were left out"),
        (queries, "queries could not be read and are not counted"),
    ):
        if names:
            logger.warning("%d %s: %s", len(names), fate, ", ".join(names[:5]) + (", ..." if len(names) > 5 else ""))
