"""One look at a model on held-out vehicles: every frame goes through it once, and all that is shown comes from that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reid.data.dataset import Split
from reid.evaluation.metrics import Metrics
from reid.evaluation.pairs import PairDistances, pair_distances
from reid.evaluation.protocols import PROTOCOLS, EmbeddedData, embed_data, evaluate_protocol
from reid.runtime.model_card import ModelCard
from reid.train.model.multi_level import MultiLevelReID
from reid.train.report.norms import recorded_norms
from reid.train.session import torch_session

__all__ = ["Observation", "observe"]


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """What a model made of held-out vehicles.

    Attributes:
        device: that it ran on, in words.
        data: the embeddings.
        metrics: by protocol.
        pairs: distances, a level each, then of all levels if there are two.
        norms: by level, of the frames' features before L2 normalization, float32 [N].
    """

    device: str
    data: EmbeddedData
    metrics: Mapping[str, Metrics]
    pairs: tuple[PairDistances, ...]
    norms: Mapping[str, NDArray[np.float32]]

    def summary(self) -> dict[str, Any]:
        """Give the numbers for a row of metrics.jsonl: `held_out` by protocol, `pairs_auc` and `norm` by level."""
        return {
            "held_out": {name: metrics.summary() for name, metrics in self.metrics.items()},
            "pairs_auc": {pairs.level: pairs.auc for pairs in self.pairs},
            "norm": {level: float(lengths.mean()) for level, lengths in self.norms.items()},
        }


def observe(model: MultiLevelReID, card: ModelCard, query: Split, gallery: Split, device: torch.device) -> Observation:
    """Embed two splits and measure what there is to see.

    Args:
        model: it is moved to the device.
        card: of the model.
        query: images with their own tracklets.
        gallery: images and tracklets.
        device: to run on.

    Raises:
        DataError: as for `evaluate_protocol`.
    """
    session = torch_session(model, card, device)
    with recorded_norms(model) as lengths:
        data = embed_data(session, query, gallery)
    metrics = {name: evaluate_protocol(data, protocol) for name, protocol in PROTOCOLS.items()}
    norms = {level.name: torch.cat(own).cpu().numpy() for level, own in zip(card.levels, lengths, strict=True)}
    return Observation(str(session.info), data, metrics, pair_distances(data, card.levels), norms)
