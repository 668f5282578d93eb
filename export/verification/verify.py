"""Every graph of a bundle beside PyTorch: on a data set's retrieval metrics, or on the reference crops alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid.export.verification.drift import drifted_layers
from reid.export.verification.gate import verify_embeddings, verify_retrieval
from reid.export.verification.records import PrecisionVerification, Tolerance, Verification
from reid.runtime.bundle import graph_file
from reid.runtime.datasets.dataset import Dataset
from reid.runtime.sessions.onnxruntime import OnnxRuntimeSession, best_device
from reid.runtime.sessions.session import Session
from reid.train.checkpoint import Checkpoint
from reid.train.session import TorchSession
from reid.train.session import best_device as best_torch_device

__all__ = ["verify_graphs"]

_DRIFT_FRAMES = 4


def verify_graphs(
    checkpoint: Checkpoint,
    folder: Path,
    kept_in_fp32: Mapping[str, Mapping[str, float]],
    frames: NDArray[np.uint8],
    expected: NDArray[np.float32],
    *,
    data: Dataset | None,
    tolerance: Tolerance,
    on_frames: Callable[[int, int], None],
) -> Verification:
    """Compare a folder's graphs with PyTorch.

    Args:
        checkpoint: the model.
        folder: holds a graph of each precision.
        kept_in_fp32: precision -> layers that had to stay in FP32, with their peak values.
        frames: uint8 [n, 3, H, W], the reference crops.
        expected: float32 [n, D], PyTorch's embeddings of these.
        data: whose queries and gallery are embedded; None compares the reference crops only.
        tolerance: how far a graph may fall.
        on_frames: called with (frames embedded, frames in all).
    """
    levels = checkpoint.card.levels
    reference = TorchSession(checkpoint.model, checkpoint.card, best_torch_device())
    with contextlib.ExitStack() as stack:
        candidates: dict[str, Session] = {
            precision: stack.enter_context(OnnxRuntimeSession(folder / graph_file(precision), best_device()))
            for precision in kept_in_fp32
        }
        found = on_crops = verify_embeddings(expected, candidates, frames, tolerance, levels=levels)
        if data is not None:
            found = verify_retrieval(
                reference, candidates, data.query, data.gallery, tolerance, levels=levels, on_frames=on_frames
            )
            # The crops are pooled with weights other than 0 and 1, which no data set has.
            found = tuple(_with_failures(one, other.failures) for one, other in zip(found, on_crops, strict=True))
    return Verification(
        fingerprint=checkpoint.card.fingerprint,
        reference=reference.device,
        data=_facts(data, len(frames), found[0]),
        retrieval=data is not None,
        tolerance=tolerance,
        precisions=tuple(_explain(one, kept_in_fp32[one.precision], folder, frames) for one in found),
    )


def _with_failures(verified: PrecisionVerification, more: Sequence[str]) -> PrecisionVerification:
    return verified.model_copy(update={"failures": tuple(dict.fromkeys((*verified.failures, *more)))})


def _facts(data: Dataset | None, crops: int, first: PrecisionVerification) -> dict[str, str | int]:
    if data is None:
        return {"reference crops": crops}
    return {
        "name": data.root.resolve().name,
        "layout": data.layout,
        "query images": len(data.query.images),
        "gallery images": len(data.gallery.images),
        "unreadable frames, left out": len(first.unreadable),
    }


def _explain(
    verified: PrecisionVerification, kept_in_fp32: Mapping[str, float], folder: Path, frames: NDArray[np.uint8]
) -> PrecisionVerification:
    """Add what had to stay in FP32 and, where something is outside tolerance, the layers that drifted."""
    drift = (
        drifted_layers(folder / graph_file("fp32"), folder / graph_file(verified.precision), frames[:_DRIFT_FRAMES])
        if verified.failures and verified.precision != "fp32"
        else ()
    )
    return verified.model_copy(update={"drift": drift, "kept_in_fp32": dict(kept_in_fp32)})
