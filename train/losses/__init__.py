"""One loss per file, each of which reads like its formula."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

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
"""The metric losses by the name that ``--loss`` takes, with their known settings."""

IDENTITY_LOSSES: dict[str, Callable[[float], nn.Module]] = {
    "softmax": IdentityLoss,
    "cosface": CosFaceLoss,
    "circle": CircleLoss,
}
"""The identity losses by the name that `Recipe.identity_loss` takes: label smoothing -> loss. All but softmax are given
cosines instead of logits."""
