"""Common to the metric losses: the distances in a batch, its pairs, and the hardest of them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["hardest_pairs", "pair_masks", "pairwise_distance"]


def pairwise_distance(embedding: Tensor, other: Tensor | None = None) -> Tensor:
    """Return the Euclidean distance between any two rows, or from every row to every row of another embedding.

    It is float32 whatever the input and the surrounding autocast. Differences are computed one by one: expanding the
    square into a matrix product loses small distances to rounding, and its root has an infinite gradient at 0, where
    this one has 0.

    Args:
        embedding: the embeddings, any floating dtype [B, D].
        other: other embeddings, any floating dtype [M, D]; the same ones if left out.

    Returns:
        float32 [B, M]; within one embedding [B, B], exactly 0 on the diagonal.
    """
    with torch.autocast(embedding.device.type, enabled=False):
        rows = embedding.float()
        columns = rows if other is None else other.float()
        return torch.cdist(rows, columns, compute_mode="donot_use_mm_for_euclid_dist")


def pair_masks(vehicle: Tensor) -> tuple[Tensor, Tensor]:
    """Return which pairs of a batch show the same vehicle, and which do not.

    Args:
        vehicle: the vehicle of each sample, int64 [B].

    Returns:
        positive: pairs of the same vehicle, bool [B, B]; a sample is not a positive of itself.
        negative: pairs of different vehicles, bool [B, B].
    """
    same = vehicle[:, None] == vehicle[None, :]
    return same ^ torch.eye(len(vehicle), dtype=torch.bool, device=vehicle.device), ~same


def hardest_pairs(embedding: Tensor, vehicle: Tensor) -> tuple[Tensor, Tensor]:
    """Return each sample's distance to its farthest positive and to its nearest negative.

    Args:
        embedding: the embeddings, any floating dtype [B, D].
        vehicle: the vehicle of each sample, int64 [B].

    Returns:
        farthest positive: float32 [B]; -inf if there is no positive, so that a hinge on it is 0.
        nearest negative: float32 [B]; +inf if there is no negative, likewise.
    """
    distance = pairwise_distance(embedding)
    positive, negative = pair_masks(vehicle)
    farthest = distance.masked_fill(~positive, -torch.inf).amax(dim=1)
    nearest = distance.masked_fill(~negative, torch.inf).amin(dim=1)
    return farthest, nearest
