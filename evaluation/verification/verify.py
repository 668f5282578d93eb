"""The gate for any session on its own device: what `reid-verify` runs. Needs no PyTorch."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace

from reid.data.dataset import Dataset
from reid.evaluation.operating_points.distributions import distributions_of
from reid.evaluation.same_camera import own_view_of
from reid.evaluation.verification.compare import Comparison, compare
from reid.evaluation.verification.records import (
    EngineFacts,
    JudgedOn,
    LayerDrift,
    LayerInFp32,
    PrecisionVerification,
    ReferenceCrops,
    Tolerance,
    Verification,
)
from reid.evaluation.verification.reference import Crops, Reference, Retrieval, embed_retrieval, facts_of
from reid.evaluation.verification.stored_retrieval import read_retrieval
from reid.runtime.bundle import Bundle
from reid.runtime.errors import ModelError
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.opening import open_session
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.session import Session, SessionInfo

__all__ = ["bundle_reference", "is_fallback", "record_of", "verification_of", "verify"]

logger = logging.getLogger(__name__)

_FALLBACK = "onnxruntime:cpu"
"""The session of the FP32 graph that stands in for PyTorch: the one that the export held to PyTorch's outputs."""


def verify(
    bundle: str | os.PathLike[str],
    dataset: Dataset,
    sessions: Sequence[Session],
    *,
    tolerance: Tolerance | None = None,
    post_processing: PostProcessing = PLAIN,
    progress: Progress = SILENT,
) -> Verification:
    """Judge sessions of a bundle's model by what they find in a data set, as the export judged its graphs.

    They are compared with PyTorch's results on this data if the bundle keeps them, and else with those of its FP32
    graph, run by ONNX Runtime on the CPU; `Verification.reference` says which.

    Args:
        bundle: the bundle.
        dataset: the data set, of which the query and gallery splits count.
        sessions: the sessions, one for each precision; they stay open.
        tolerance: the largest permitted fall; None for the usual one.
        post_processing: what rankings are compared with as well, besides plain.
        progress: follows the frames.

    Raises:
        DataError: the data does not serve a protocol.
        ModelError: a session runs another model; or it would be compared with itself.
    """
    opened = Bundle.open(bundle)
    for session in sessions:
        if session.info.card.fingerprint != opened.card.fingerprint:
            raise ModelError(f"{session.info} runs another model than {opened.root}; open a session of this bundle")
    stored = read_retrieval(opened, dataset, post_processing, progress)
    judged = sessions if stored else [session for session in sessions if not is_fallback(session.info)]
    if not judged:
        raise ModelError(
            f"{opened.root} keeps no results of PyTorch on {dataset.root}, so its FP32 graph would be compared with "
            "itself; choose another --precision or --session, or export the bundle with --verify on this data"
        )
    if len(judged) < len(sessions):
        logger.warning("fp32 is not judged: its graph stands in for PyTorch, whose results on this data are not kept")
    retrieval = stored or _by_fp32_graph(opened, dataset, post_processing, progress)
    reference = _reference(opened, dataset, retrieval, tolerance or Tolerance())
    precisions = [record_of(compare(reference, one.info.precision, one, progress)) for one in judged]
    return verification_of(reference, opened.card.fingerprint, precisions)


def is_fallback(info: SessionInfo) -> bool:
    """Return whether a session is the one that stands in for PyTorch where the bundle keeps no results on the data."""
    return (info.backend, info.device, info.precision) == ("onnxruntime", "CPU", "fp32")


def bundle_reference(
    bundle: Bundle,
    dataset: Dataset | None,
    tolerance: Tolerance,
    post_processing: PostProcessing = PLAIN,
    progress: Progress = SILENT,
) -> Reference:
    """Return what sessions of a bundle are compared with; see verify.

    Args:
        bundle: the bundle.
        dataset: the data set; None to compare on the reference crops alone.
        tolerance: the largest permitted fall.
        post_processing: what rankings are compared with as well, besides plain.
        progress: follows the frames.

    Raises:
        ModelError: what the bundle keeps cannot be read.
    """
    retrieval = None
    if dataset is not None:
        retrieval = read_retrieval(bundle, dataset, post_processing, progress)
        retrieval = retrieval or _by_fp32_graph(bundle, dataset, post_processing, progress)
    return _reference(bundle, dataset, retrieval, tolerance)


def _reference(bundle: Bundle, dataset: Dataset | None, retrieval: Retrieval | None, tolerance: Tolerance) -> Reference:
    crops = Crops.of(bundle)
    judged_on: JudgedOn = ReferenceCrops(crops=len(crops.frames))
    if dataset is not None and retrieval is not None:
        judged_on = facts_of(dataset, retrieval)
    return Reference(bundle.card.levels, crops, retrieval, judged_on, tolerance)


def _by_fp32_graph(bundle: Bundle, dataset: Dataset, post_processing: PostProcessing, progress: Progress) -> Retrieval:
    with open_session(bundle.root, _FALLBACK, "fp32") as session:
        found = embed_retrieval(
            session,
            dataset.query,
            dataset.gallery,
            view=own_view_of(dataset),
            post_processing=post_processing,
            progress=progress,
        )
    return replace(found, session=f"the bundle's FP32 graph by {found.session}", stand_in=True)


def verification_of(
    reference: Reference,
    fingerprint: str,
    precisions: Sequence[PrecisionVerification],
    engines: Sequence[EngineFacts] = (),
) -> Verification:
    """Return the record of everything that was compared with a reference."""
    return Verification(
        fingerprint=fingerprint,
        reference=reference.session,
        judged_on=reference.judged_on,
        tolerance=reference.tolerance,
        precisions=tuple(precisions),
        engines=tuple(engines),
        scores=reference.scores(),
        stand_in=reference.stand_in,
    )


def record_of(
    found: Comparison, *, drift: Sequence[LayerDrift] = (), in_fp32: Sequence[LayerInFp32] = ()
) -> PrecisionVerification:
    """Return the record of a comparison; of a graph with its layers that drifted, and those that stay in FP32."""
    return PrecisionVerification(
        precision=found.precision,
        session=found.session,
        similarity=found.similarity,
        protocols=found.protocols,
        worst_queries=found.worst_queries,
        drift=tuple(drift),
        in_fp32=tuple(in_fp32),
        failures=found.failures,
        unreadable=found.unreadable,
        queries_left_out=found.queries_left_out,
        scores=distributions_of(found.pairs),
    )
