"""Every graph of a bundle beside PyTorch: on a data set's retrieval metrics, or on the reference crops alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from reid.evaluation.verification.records import PrecisionVerification, Verification
from reid.export.verification.drift import drifted_layers
from reid.export.verification.judge import Judge, describe
from reid.export.watcher import Watcher
from reid.runtime.bundle import graph_file
from reid.runtime.model_card import ModelCard

__all__ = ["verify_graphs"]

_DRIFT_FRAMES = 4


def verify_graphs(
    card: ModelCard,
    folder: Path,
    kept_in_fp32: Mapping[str, Mapping[str, float]],
    judge: Judge,
    watcher: Watcher,
) -> Verification:
    """Compare a folder's graphs with PyTorch.

    Args:
        card: of the model.
        folder: holds a graph of each precision.
        kept_in_fp32: precision -> layers that had to stay in FP32, with their peak values.
        judge: what they are compared on.
        watcher: is told how it goes.
    """
    found = [
        judge.compare(
            precision,
            folder / graph_file(precision),
            card.levels,
            partial(watcher.on_progress, f"verifying {precision}"),
        )
        for precision in kept_in_fp32
    ]
    return Verification(
        fingerprint=card.fingerprint,
        reference=judge.reference.device if judge.reference else "PyTorch on CPU",
        data=_facts(judge, found[0]),
        retrieval=judge.reference is not None,
        tolerance=judge.tolerance,
        precisions=tuple(_explain(one, kept_in_fp32[one.precision], folder, judge) for one in found),
    )


def _facts(judge: Judge, first: PrecisionVerification) -> dict[str, str | int]:
    if judge.data is None:
        return {"reference crops": len(judge.crops)}
    return {
        "name": judge.data.root.resolve().name,
        "layout": describe(judge.data),
        "query images": len(judge.data.query.images),
        "gallery images": len(judge.data.gallery.images),
        "unreadable frames, left out": len(first.unreadable),
    }


def _explain(
    verified: PrecisionVerification, kept_in_fp32: Mapping[str, float], folder: Path, judge: Judge
) -> PrecisionVerification:
    """Add what had to stay in FP32 and, where something is outside tolerance, the layers that drifted."""
    drift = (
        drifted_layers(
            folder / graph_file("fp32"), folder / graph_file(verified.precision), judge.crops[:_DRIFT_FRAMES]
        )
        if verified.failures and verified.precision != "fp32"
        else ()
    )
    return verified.model_copy(update={"drift": drift, "kept_in_fp32": dict(kept_in_fp32)})
