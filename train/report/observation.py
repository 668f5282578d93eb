"""One evaluation of a model on held-out vehicles: every frame passes through it once, for everything that is shown."""

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
from reid.evaluation.protocols import EmbeddedData, available_protocols, embed_data, evaluate_protocol
from reid.evaluation.retrieval_loss import retrieval_loss
from reid.evaluation.same_camera import OwnView
from reid.runtime.model_card import ModelCard
from reid.train.model.multi_level import MultiLevelReID
from reid.train.report.norms import recorded_norms
from reid.train.session import torch_session

__all__ = ["Observation", "observe"]


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """A model's results on held-out vehicles.

    Attributes:
        device: the device that the model ran on, in words.
        data: the embeddings.
        metrics: the metrics, by protocol.
        retrieval_loss: the loss of finding images by images.
        pairs: distances of pairs, for each level and, if there are several, for all levels together.
        norms: norms of the frames' features before L2 normalization, float32 [N], by level.
    """

    device: str
    data: EmbeddedData
    metrics: Mapping[str, Metrics]
    retrieval_loss: float
    pairs: tuple[PairDistances, ...]
    norms: Mapping[str, NDArray[np.float32]]

    def summary(self) -> dict[str, Any]:
        """Return the numbers for a row of metrics.jsonl: `held_out` by protocol, `pairs_auc` and `norm` by level."""
        held_out = {name: metrics.summary() for name, metrics in self.metrics.items()}
        held_out["i2i"]["retrieval_loss"] = self.retrieval_loss
        return {
            "held_out": held_out,
            "pairs_auc": {pairs.level: pairs.auc for pairs in self.pairs},
            "norm": {level: float(norms.mean()) for level, norms in self.norms.items()},
        }


def observe(
    model: MultiLevelReID,
    card: ModelCard,
    query: Split,
    gallery: Split,
    device: torch.device,
    *,
    view: OwnView | None = None,
) -> Observation:
    """Embed two splits and measure everything that is shown, by the protocols that they have entries for.

    Args:
        model: the model; it is moved to the device.
        card: the model's card.
        query: images of the queries and their tracklets.
        gallery: images and tracklets of the gallery.
        device: the device to run on.
        view: what rankings leave out; see `embed_data`.

    Raises:
        DataError: `evaluate_protocol` raises it.
    """
    session = torch_session(model, card, device)
    with recorded_norms(model) as recorded:
        data = embed_data(session, query, gallery, view=view)
    protocols = available_protocols(query, gallery)
    metrics = {protocol.name: evaluate_protocol(data, protocol) for protocol in protocols}
    norms = {level.name: torch.cat(own).cpu().numpy() for level, own in zip(card.levels, recorded, strict=True)}
    return Observation(str(session.info), data, metrics, retrieval_loss(data), pair_distances(data, card.levels), norms)
