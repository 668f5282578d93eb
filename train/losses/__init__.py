"""One loss a file, each of which reads like its formula."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from reid.train.losses.identity import IdentityLoss
from reid.train.losses.multi_level import MultiLevelLoss
from reid.train.losses.rll import RankedListLoss
from reid.train.losses.ssl import SSLLoss
from reid.train.losses.triplet import TripletLoss

__all__ = ["METRIC_LOSSES", "IdentityLoss", "MultiLevelLoss", "RankedListLoss", "SSLLoss", "TripletLoss"]

METRIC_LOSSES: dict[str, Callable[[], nn.Module]] = {
    "triplet": TripletLoss,
    "ssl": SSLLoss,
    "rll": RankedListLoss,
}
"""The metric losses by the name that ``--loss`` takes, with their known settings."""
