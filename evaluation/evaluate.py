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
    protocols_of,
)
from reid.evaluation.same_camera import SameCamera, own_view, own_view_of
from reid.runtime.errors import DataError
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.session import Session

__all__ = ["evaluate", "note_protocols", "score", "score_protocols", "warn_of_unanswerable", "warn_of_unreadable"]

logger = logging.getLogger(__name__)


def evaluate(
    session: Session,
    dataset: Dataset,
    protocols: Sequence[str] | None = None,
    *,
    expand_queries: int = 0,
    rerank: bool = False,
    same_camera: SameCamera | None = None,
    progress: Progress = SILENT,
) -> dict[str, Metrics]:
    """Embed the queries and the gallery of a data set, and score their ranking.

    Of a data set with several test sets, these are the first one's, and the first draw's of its gallery;
    `evaluate_test_sets` scores all of them.

    Args:
        session: the model; it stays open.
        dataset: the data set; only its query and gallery splits are used.
        protocols: names from PROTOCOLS; None for those that the data has entries for.
        expand_queries: the number of gallery entries that each query is averaged with first; 0 for none.
        rerank: whether to use k-reciprocal re-ranking.
        same_camera: whether gallery entries of the query's vehicle and camera are kept or dropped; None to drop them
            where cameras can tell a right answer.
        progress: follows the frames as they are embedded.

    Returns:
        Name of a protocol -> metrics, for every protocol that can be evaluated on this data.

    Raises:
        DataError: a protocol is unknown, the data has no entries for one that was named, or none of them can be
            evaluated on this data.
    """
    named = None if protocols is None else find_protocols(protocols)
    chosen = protocols_of(dataset.query, dataset.gallery, named)
    if named is None:
        note_protocols(chosen)
    view = own_view_of(dataset, same_camera)
    data = embed_data(session, dataset.query, dataset.gallery, view=view, progress=progress)
    return score(data, chosen, post_processing=PostProcessing(expand_queries, rerank))


def score(
    data: EmbeddedData,
    protocols: Sequence[Protocol],
    *,
    post_processing: PostProcessing = PLAIN,
    same_camera: SameCamera | None = None,
) -> dict[str, Metrics]:
    """Score embedded data; whatever is left out of the metrics is logged as a warning.

    Args:
        data: the embedded queries and gallery.
        protocols: the protocols to score by, at least one.
        post_processing: what is done before the ranking.
        same_camera: another rule than that of the data; see evaluate.

    Returns:
        Name of a protocol -> metrics, for every protocol that can be evaluated on this data.

    Raises:
        DataError: none of the protocols can be evaluated on this data.
    """
    if same_camera not in (None, data.same_camera):
        data = data.leaving_out(own_view(data.query, data.gallery, same_camera))
    metrics = score_protocols(data, protocols, post_processing)
    warn_of_unreadable(data.unreadable, data.queries_left_out)
    return metrics


def score_protocols(
    data: EmbeddedData, protocols: Sequence[Protocol], post_processing: PostProcessing = PLAIN, *, where: str = ""
) -> dict[str, Metrics]:
    """Score by each protocol; log a warning of those that cannot be scored, and of queries without a right answer.

    Args:
        data: see score.
        protocols: see score.
        post_processing: see score.
        where: what the warnings begin with.

    Raises:
        DataError: none of the protocols can be evaluated on this data.
    """
    outcomes = {protocol.name: _metrics_or_failure(data, protocol, post_processing) for protocol in protocols}
    metrics = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Metrics)}
    failures = [outcome for outcome in outcomes.values() if isinstance(outcome, DataError)]
    if not metrics:
        raise failures[0]
    for failure in failures:
        logger.warning("%s%s", where, failure)
    for name, found in metrics.items():
        warn_of_unanswerable(f"{where}{name}", len(found.unanswerable))
    return metrics


def _metrics_or_failure(data: EmbeddedData, protocol: Protocol, post_processing: PostProcessing) -> Metrics | DataError:
    try:
        return evaluate_protocol(data, protocol, post_processing)
    except DataError as failure:
        return failure


def note_protocols(chosen: Sequence[Protocol]) -> None:
    """Log a warning of the protocols that are left out because the data has nothing to rank by them."""
    if missing := [name for name, protocol in PROTOCOLS.items() if protocol not in chosen]:
        are = "is" if len(missing) == 1 else "are"
        logger.warning("%s %s left out: the data has no tracklets to rank", " and ".join(missing), are)


def warn_of_unanswerable(where: str, queries: int) -> None:
    """Log a warning of the queries of a protocol that have no right answer, if there are any."""
    if queries:
        logger.warning("%s: %d queries have no right answer and are not counted", where, queries)


def warn_of_unreadable(frames: Sequence[str], queries: Sequence[str]) -> None:
    """Log a warning of the frames that were left out, and of the queries that are not counted, by their names."""
    for names, fate in (
        (frames, "frames could not be read and were left out"),
        (queries, "queries could not be read and are not counted"),
    ):
        if names:
            logger.warning("%d %s: %s", len(names), fate, ", ".join(names[:5]) + (", ..." if len(names) > 5 else ""))
