"""The losses, one per file, each written like its formula."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from reid.train.losses.arcface import ArcFaceLoss
from reid.train.losses.circle import CircleLoss
from reid.train.losses.cosface import CosFaceLoss
from reid.train.losses.cross_batch import CrossBatchRankedListLoss
from reid.train.losses.identity import IdentityLoss
from reid.train.losses.memory import EmbeddingMemory
from reid.train.losses.multi_level import MultiLevelLoss
from reid.train.losses.rll import RankedListLoss
from reid.train.losses.soft_triplet import SoftMarginTripletLoss
from reid.train.losses.ssl import SSLLoss
from reid.train.losses.triplet import TripletLoss

__all__ = [
    "IDENTITY_LOSSES",
    "METRIC_LOSSES",
    "ArcFaceLoss",
    "CircleLoss",
    "CosFaceLoss",
    "CrossBatchRankedListLoss",
    "EmbeddingMemory",
    "IdentityLoss",
    "MultiLevelLoss",
    "RankedListLoss",
    "SSLLoss",
    "SoftMarginTripletLoss",
    "TripletLoss",
]

METRIC_LOSSES: dict[str, Callable[[], nn.Module]] = {
    "triplet": TripletLoss,
    "ssl": SSLLoss,
    "rll": RankedListLoss,
}
"""The metric losses, with their published settings, by their names in ``--loss``."""

IDENTITY_LOSSES: dict[str, Callable[[float], nn.Module]] = {
    "softmax": IdentityLoss,
    "cosface": CosFaceLoss,
    "arcface": ArcFaceLoss,
    "circle": CircleLoss,
}
"""The identity losses, made from a label smoothing, by their names in `Recipe.identity_loss`. All but softmax take
cosines instead of logits."""
