"""Common to the identity losses with a margin: the own vehicle's score against the other vehicles' scores."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

__all__ = ["own_against_others"]


def own_against_others(own: Tensor, other: Tensor, vehicle: Tensor, *, scale: float, label_smoothing: float) -> Tensor:
    """Return the cross entropy of scaled scores, which differ for a sample's own vehicle and for the others.

    Args:
        own: score of each class if it is the sample's own, float32 [B, C].
        other: score of each class if it is another, float32 [B, C].
        vehicle: index of each sample's vehicle, int64 [B], in 0..C-1.
        scale: factor of all scores.
        label_smoothing: smoothing of the target, 0 to 1.

    Returns:
        float32 scalar.
    """
    logits = scale * own.where(one_hot(vehicle, own.shape[1]).bool(), other)
    return cross_entropy(logits, vehicle, label_smoothing=label_smoothing)
