"""The gate: does a precision answer as the reference does? Needs no PyTorch, only two sessions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.data.dataset import Split
from reid.evaluation.protocols import PROTOCOLS, EmbeddedData, Protocol, embed_data
from reid.evaluation.verification.failures import pooling_failures, retrieval_failures, similarity_failures
from reid.evaluation.verification.records import PrecisionVerification, Similarity, Tolerance
from reid.evaluation.verification.retrieval import Ranked, compare_rankings, rank, worst_queries
from reid.evaluation.verification.similarity import compare_embeddings, unusable
from reid.runtime.embedding import DEFAULT_BATCH_SIZE
from reid.runtime.errors import DataError, ModelError
from reid.runtime.model_card import Level
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.session import Session
from reid.runtime.tracklet import Frame

__all__ = ["MOST_WORST_QUERIES", "Reference", "compare_retrieval", "embed_reference", "verify_embeddings"]

MOST_WORST_QUERIES = 12


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What candidates are held against: a data set's embeddings, and what they find.

    Attributes:
        query: queries and their own tracklets, as they were given.
        gallery: gallery images and tracklets.
        data: the embeddings of both.
        ranked: by each protocol.
        device: of the session that made them.
    """

    query: Split
    gallery: Split
    data: EmbeddedData
    ranked: tuple[Ranked, ...]
    device: str


def embed_reference(
    session: Session,
    query: Split,
    gallery: Split,
    *,
    protocols: Sequence[Protocol] = tuple(PROTOCOLS.values()),
    progress: Progress = SILENT,
) -> Reference:
    """Embed queries and gallery with the reference, and rank by each protocol.

    Args:
        session: the reference.
        query: queries and their own tracklets.
        gallery: gallery images and tracklets.
        protocols: what is ranked for what.
        progress: follows one stage, the frames.

    Raises:
        DataError: the data does not serve a protocol.
        ModelError: the embeddings cannot be ranked.
    """
    data = _embedded(session, query, gallery, f"embedding with {session.device}", progress)
    ranked = tuple(rank(data, protocol) for protocol in protocols)
    if problem := unusable(_stack(data, data.embeddings)):
        raise ModelError(f"{session.device}: {problem}; train the model again")
    return Reference(query, gallery, data, ranked, session.device)


def compare_retrieval(
    reference: Reference,
    precision: str,
    session: Session,
    tolerance: Tolerance,
    *,
    levels: Sequence[Level],
    progress: Progress = SILENT,
) -> PrecisionVerification:
    """Embed the reference's data with a candidate, and compare embeddings, metrics and matches.

    Args:
        reference: of embed_reference.
        precision: the candidate's.
        session: the candidate.
        tolerance: how far it may fall.
        levels: of the model, in the order of their concatenation.
        progress: follows one stage, the frames.

    Returns:
        Without `drift`. A candidate whose embeddings cannot be ranked has a failure and no protocols.

    Raises:
        DataError: the data changed since the reference was embedded.
        ModelError: the candidate's embeddings have another size.
    """
    expected = reference.data
    actual = _embedded(session, reference.query, reference.gallery, f"verifying {precision}", progress)
    _check_same_frames(expected, actual)
    similarity = _frame_similarity(expected, actual, levels)
    if problem := unusable(_stack(actual, actual.embeddings)):
        verified = _broken(precision, session, similarity, problem)
    else:
        protocols = [PROTOCOLS[before.protocol] for before in reference.ranked]
        ranked = [rank(actual, protocol) for protocol in protocols]
        verified = _compared(precision, session, similarity, reference.ranked, ranked, tolerance)
    left_out = {"unreadable": expected.unreadable, "queries_left_out": expected.queries_left_out}
    return verified.model_copy(update=left_out)


def verify_embeddings(
    expected: NDArray[np.float32],
    candidates: Mapping[str, Session],
    frames: NDArray[np.uint8],
    tolerance: Tolerance,
    *,
    levels: Sequence[Level],
) -> tuple[PrecisionVerification, ...]:
    """Compare the candidates' embeddings, of frames and pooled, with known ones; retrieval is not verified.

    Args:
        expected: float32 [n, D], the reference's, such as those that a bundle stores of its crops.
        candidates: precision -> session.
        frames: uint8 [n, 3, H, W], the crops, resized as the card says.
        tolerance: of which `similarity` decides.
        levels: of the model, in the order of their concatenation.

    Raises:
        ModelError: the reference's embeddings cannot be ranked, or a candidate's have another size.
    """
    if problem := unusable(expected):
        raise ModelError(f"the reference embeddings are damaged ({problem}); export the bundle again")
    pooling = np.random.default_rng(0).uniform(0.1, 1, size=(3, len(frames))).astype(np.float32)
    verified = []
    for precision, session in candidates.items():
        embeddings, pooled = _run(session, frames, pooling)
        similarity = compare_embeddings(expected, embeddings, levels)
        if problem := unusable(embeddings):
            verified.append(_broken(precision, session, similarity, problem))
            continue
        own = tolerance.of(precision)
        failures = similarity_failures(precision, similarity, own)
        # Where the frames are off, their sums are too: that would only say it twice.
        failures = failures or pooling_failures(precision, similarity, own, pooling @ expected, pooled)
        verified.append(_verification(precision, session, similarity, failures))
    return tuple(verified)


def _embedded(session: Session, query: Split, gallery: Split, stage: str, progress: Progress) -> EmbeddedData:
    with np.errstate(invalid="ignore", over="ignore"):  # what overflows is a finding, and reported as one
        return embed_data(session, query, gallery, stage=stage, progress=progress)


def _run(
    session: Session, frames: NDArray[np.uint8], pooling: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Run in batches as deployment does: frame embeddings [n, D], and the pooled sums [T, D] over all batches."""
    batches = [slice(start, start + DEFAULT_BATCH_SIZE) for start in range(0, len(frames), DEFAULT_BATCH_SIZE)]
    outputs = [session.run(frames[batch], np.ascontiguousarray(pooling[:, batch])) for batch in batches]
    with np.errstate(invalid="ignore", over="ignore"):
        return np.concatenate([one for one, _ in outputs]), np.sum([pooled for _, pooled in outputs], axis=0)


def _check_same_frames(expected: EmbeddedData, actual: EmbeddedData) -> None:
    """Hold that both were made of the same files: only then is a query of one a query of the other."""
    if (expected.query, expected.gallery) != (actual.query, actual.gallery) or expected.unreadable != actual.unreadable:
        changed = sorted(set(expected.unreadable) ^ set(actual.unreadable))
        raise DataError(f"{changed[0] if changed else 'the data'} changed while it was read; verify again")


def _stack(data: EmbeddedData, entries: Iterable[tuple[Frame, ...]]) -> NDArray[np.float32]:
    return np.stack([data.embeddings[frames] for frames in entries])


def _frame_similarity(expected: EmbeddedData, actual: EmbeddedData, levels: Sequence[Level]) -> Similarity:
    single = [frames for frames in expected.embeddings if len(frames) == 1]
    return compare_embeddings(_stack(expected, single), _stack(actual, single), levels)


def _broken(precision: str, session: Session, similarity: Similarity, problem: str) -> PrecisionVerification:
    return _verification(precision, session, similarity, [f"{precision}: {problem}, so nothing can be ranked by them"])


def _compared(
    precision: str,
    session: Session,
    similarity: Similarity,
    expected: Sequence[Ranked],
    actual: Sequence[Ranked],
    tolerance: Tolerance,
) -> PrecisionVerification:
    pairs = list(zip(expected, actual, strict=True))
    comparisons = tuple(compare_rankings(before, after, tolerance) for before, after in pairs)
    lost = [query for before, after in pairs for query in worst_queries(before, after, MOST_WORST_QUERIES)]
    lost.sort(key=lambda query: query.average_precision[1] - query.average_precision[0])
    failures = similarity_failures(precision, similarity, tolerance.of(precision))
    failures += [
        failure for comparison in comparisons for failure in retrieval_failures(precision, comparison, tolerance)
    ]
    verification = _verification(precision, session, similarity, failures)
    return verification.model_copy(update={"protocols": comparisons, "worst_queries": tuple(lost[:MOST_WORST_QUERIES])})


def _verification(
    precision: str, session: Session, similarity: Similarity, failures: Sequence[str]
) -> PrecisionVerification:
    return PrecisionVerification(
        precision=precision, session=session.device, similarity=similarity, failures=tuple(failures)
    )
