"""What the page of a training run shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.metrics import Metrics
from reid.evaluation.pairs import PairDistances
from reid.evaluation.protocols import EmbeddedData
from reid.runtime.model_card import ModelCard

__all__ = ["Setting", "TrainedRun"]


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting that is not the poster's.

    Attributes:
        name: name of the setting.
        here: its value in this run.
        poster: the poster's value.
    """

    name: str
    here: object
    poster: object


@dataclass(frozen=True, slots=True, eq=False)
class TrainedRun:
    """A finished run, as its page shows it.

    Attributes:
        name: name of the run.
        card: card of the checkpoint.
        settings: the settings that are not the poster's.
        losses: names of the metric loss and of the identity loss.
        boundaries: distances that the metric loss wants positive pairs within and negative pairs beyond; empty where
            it has none, or where it does not see the embeddings that are compared.
        rows: rows of metrics.jsonl, one for each epoch.
        device: the device that the checkpoint was evaluated on, in words.
        data: embeddings of the held-out vehicles; None where none were held out, and nothing below is known.
        metrics: metrics on the held-out vehicles, by protocol.
        pairs: distances of held-out pairs, for each level and, if there are several, for all levels together.
        norms: norms of the held-out frames' features before L2 normalization, float32 [N], by level.
    """

    name: str
    card: ModelCard
    settings: Sequence[Setting]
    losses: tuple[str, str]
    boundaries: tuple[float, ...]
    rows: Sequence[Mapping[str, Any]]
    device: str
    data: EmbeddedData | None
    metrics: Mapping[str, Metrics]
    pairs: Sequence[PairDistances]
    norms: Mapping[str, NDArray[np.float32]]

    @property
    def best_epoch(self) -> int:
        """The epoch of the checkpoint, counted from 1; 0 where it is not known."""
        return self.card.training.best_epoch or 0
