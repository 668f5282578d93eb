"""Where a graph begins to drift: the judgment on layers that were compared one by one."""

from __future__ import annotations

from collections.abc import Sequence

from reid.evaluation.verification.records import LayerDrift

__all__ = ["DRIFT_THRESHOLD", "first_drift"]

DRIFT_THRESHOLD = 0.01
"""The relative error above which a layer has drifted: FP16 rounds by 0.0005, and that partly adds up over layers."""


def first_drift(drift: Sequence[LayerDrift], threshold: float = DRIFT_THRESHOLD) -> LayerDrift | None:
    """Return the earliest layer, in the order of execution, whose relative error is above `threshold`.

    A layer with values that are not finite counts as above. None where there is no such layer.
    """
    above = (layer for layer in drift if layer.relative_error > threshold or layer.not_finite)
    return min(above, key=lambda layer: layer.position, default=None)
