"""Comparing a session with PyTorch: embeddings, sums, metrics and matches. Needs no PyTorch, only its embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.operating_points.changes import measure_operating_points
from reid.evaluation.operating_points.pair_scores import PairScores
from reid.evaluation.protocols import PROTOCOLS, EmbeddedData
from reid.evaluation.reference_distribution import Seen, seen_by
from reid.evaluation.verification.failures import Failure, Unusable
from reid.evaluation.verification.judgment import judge_protocols
from reid.evaluation.verification.measurements import MeasuredProtocol, compare_rankings
from reid.evaluation.verification.records import ProtocolComparison, Similarity, Tolerance, WorstQuery
from reid.evaluation.verification.reference import Reference, Retrieval, embed_splits
from reid.evaluation.verification.retrieval import Ranked, pairs_of, rank, worst_queries
from reid.evaluation.verification.sentences import defect_sentence
from reid.evaluation.verification.similarity import compare_embeddings, defect_of, judged_similarities
from reid.evaluation.verification.tolerance_checks import check_changes, check_similarity, check_sums
from reid.runtime.errors import DataError, ModelError
from reid.runtime.model_card import Level
from reid.runtime.precision import Precision
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.session import Session, run

__all__ = ["MOST_WORST_QUERIES", "Comparison", "compare", "compare_on_crops", "compare_on_data", "measure"]

MOST_WORST_QUERIES = 12


@dataclass(frozen=True, slots=True)
class Comparison:
    """A session's results compared with PyTorch's.

    Attributes:
        precision: the precision that the session runs.
        session: the session, for people.
        similarity: the similarity of the frames' embeddings: the data set's, or the reference crops'.
        crops: the similarity of the reference crops' embeddings.
        protocols: the metrics of each protocol; empty where nothing was ranked.
        worst_queries: the queries that lost most average precision, most lost first.
        failures: the measurements outside tolerance.
        unreadable: the names of the frames that were left out.
        queries_left_out: the names of the queries that could not be read.
        pairs: the scores of all pairs of each protocol, without post-processing.
        seen: what the session made of the data set's tracklets; None where nothing was ranked.
    """

    precision: Precision
    session: str
    similarity: Similarity
    crops: Similarity
    protocols: tuple[ProtocolComparison, ...] = ()
    worst_queries: tuple[WorstQuery, ...] = ()
    failures: tuple[Failure, ...] = ()
    unreadable: tuple[str, ...] = ()
    queries_left_out: tuple[str, ...] = ()
    pairs: Mapping[str, PairScores] = field(default_factory=dict, compare=False)
    seen: Seen | None = field(default=None, compare=False)


def compare(reference: Reference, precision: Precision, session: Session, progress: Progress = SILENT) -> Comparison:
    """Compare a session with PyTorch on the reference crops and, where the reference has one, on a data set.

    The crops are compared in either case: they are pooled with weights other than 0 and 1, which no data set has.

    Args:
        reference: the reference to compare with.
        precision: the precision that the session runs.
        session: the session.
        progress: the progress to advance by each frame of the data set.

    Raises:
        DataError: the data changed since the reference was embedded.
        ModelError: the reference's embeddings are damaged, or the session's have another size.
    """
    on_crops = compare_on_crops(reference, precision, session)
    if reference.retrieval is None:
        return on_crops
    on_data = compare_on_data(reference, reference.retrieval, precision, session, progress)
    failures = tuple(dict.fromkeys((*on_data.failures, *on_crops.failures)))
    return replace(on_data, crops=on_crops.crops, failures=failures)


def compare_on_crops(reference: Reference, precision: Precision, session: Session) -> Comparison:
    """Compare embeddings of the reference crops, of frames and pooled; see compare."""
    expected, frames = reference.crops.embeddings, reference.crops.frames
    if defect := defect_of(expected):
        raise ModelError(f"the reference embeddings are damaged ({defect_sentence(defect)}); export the bundle again")
    pooling = np.random.default_rng(0).uniform(0.1, 1, size=(3, len(frames))).astype(np.float32)
    embeddings, pooled = _run(session, frames, pooling)
    similarity = compare_embeddings(expected, embeddings, reference.levels)
    failures: list[Failure]
    if defect := defect_of(embeddings):
        failures = [Unusable(precision=precision, defect=defect)]
    else:
        failures = [*check_similarity(precision, similarity, reference.tolerance)]
        required = judged_similarities(precision, similarity, reference.tolerance)[-1].required
        # Where the frames are off, their sums are too: that would only say it twice.
        failures = failures or [*check_sums(precision, required, pooling @ expected, pooled)]
    return Comparison(precision, str(session.info), similarity, crops=similarity, failures=tuple(failures))


def compare_on_data(
    reference: Reference, expected: Retrieval, precision: Precision, session: Session, progress: Progress = SILENT
) -> Comparison:
    """Compare embeddings, metrics and matches on a data set; see compare.

    A session whose embeddings cannot be ranked has a failure and no protocols.
    """
    splits, view = (expected.query, expected.gallery), expected.data.own_view
    actual = embed_splits(session, splits, view, f"verifying {precision}", progress)
    _check_same_frames(expected.data, actual)
    similarity = _frame_similarity(expected.data, actual, reference.levels)
    protocols: tuple[ProtocolComparison, ...] = ()
    lost: list[WorstQuery] = []
    scores: dict[str, PairScores] = {}
    seen: Seen | None = None
    failures: list[Failure]
    if defect := defect_of(actual.rows(actual.embeddings)):
        failures = [Unusable(precision=precision, defect=defect)]
    else:
        pairs = [
            (before, rank(actual, PROTOCOLS[before.protocol], before.post_processing)) for before in expected.ranked
        ]
        protocols = judge_protocols([measure(*pair, reference.tolerance) for pair in pairs])
        lost = _most_lost(pairs)
        scores = pairs_of(after for _, after in pairs)
        seen = seen_by(actual)
        failures = [*check_similarity(precision, similarity, reference.tolerance)]
        for comparison in protocols:
            failures += check_changes(precision, comparison, reference.tolerance)
    return Comparison(
        precision,
        str(session.info),
        similarity,
        crops=similarity,
        protocols=protocols,
        worst_queries=tuple(lost),
        failures=tuple(failures),
        unreadable=expected.data.unreadable,
        queries_left_out=expected.data.queries_left_out,
        pairs=scores,
        seen=seen,
    )


def measure(before: Ranked, after: Ranked, tolerance: Tolerance) -> MeasuredProtocol:
    """Measure how two models' rankings differ, and their operating points where the scores are known.

    Raises:
        DataError: the queries or the galleries differ.
    """
    found = compare_rankings(before, after, tolerance)
    if before.pairs is None or after.pairs is None:
        return found
    rates = measure_operating_points(before.pairs, after.pairs, tolerance)
    return replace(found, measurements=(*found.measurements, *rates))


def _run(
    session: Session, frames: NDArray[np.uint8], pooling: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Run in batches as deployment does: frame embeddings [n, D], and the pooled sums [T, D] over all batches."""
    limits = session.limits
    rows = [slice(start, start + limits.tracklets) for start in range(0, len(pooling), limits.tracklets)]
    batches = [slice(start, start + limits.frames) for start in range(0, len(frames), limits.frames)]
    outputs = [
        [run(session, frames[batch], np.ascontiguousarray(pooling[part, batch])) for part in rows] for batch in batches
    ]
    with np.errstate(invalid="ignore", over="ignore"):
        pooled = [np.concatenate([output.pooled for output in parts]) for parts in outputs]
        return np.concatenate([parts[0].frame_embedding for parts in outputs]), np.sum(pooled, axis=0)


def _check_same_frames(expected: EmbeddedData, actual: EmbeddedData) -> None:
    """Check that both were made of the same files: only then is a query of one a query of the other."""
    if (expected.query, expected.gallery) != (actual.query, actual.gallery) or expected.unreadable != actual.unreadable:
        changed = sorted(set(expected.unreadable) ^ set(actual.unreadable))
        raise DataError(f"{changed[0] if changed else 'the data'} changed while it was read; verify again")


def _frame_similarity(expected: EmbeddedData, actual: EmbeddedData, levels: Sequence[Level]) -> Similarity:
    single = [frames for frames in expected.embeddings if len(frames) == 1]
    return compare_embeddings(expected.rows(single), actual.rows(single), levels)


def _most_lost(pairs: Sequence[tuple[Ranked, Ranked]]) -> list[WorstQuery]:
    """Return the queries of all protocols that lost most average precision, most lost first."""
    lost = [query for before, after in pairs for query in worst_queries(before, after, MOST_WORST_QUERIES)]
    lost.sort(key=lambda query: query.average_precision[1] - query.average_precision[0])
    return lost[:MOST_WORST_QUERIES]
