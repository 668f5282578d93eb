"""The multi-level model (Kamenou et al., poster "Multi-level Deep Learning Vehicle Re-identification").

Every level of the backbone's features becomes an embedding of its own: global max-pooling, a fully connected layer,
L2 normalization. Each has its own losses in training; at test time they are concatenated. Other parts than the
poster's are chosen by the architecture.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor, nn

from reid.runtime.model_card import Level, Preprocessing
from reid.train.model.architecture import Architecture
from reid.train.model.pooling import POOLINGS
from reid.train.model.quantization import Quantization

__all__ = ["FusedReID", "IdentityClassifiers", "MultiLevelReID"]


class MultiLevelReID(nn.Module):
    """Frames to one embedding per level. Normalization is part of the model.

    Args:
        backbone: a timm model cut to its levels (see reid.train.model.backbone).
        indices: which of its features are the levels, as `forward_intermediates` counts them.
        channels: of these features.
        levels: names and embedding sizes, in the same order.
        preprocessing: gives mean and standard deviation.
        architecture: pooling and neck; the backbone was made with the same.

    Attributes:
        quantization: where and how its weights were trained to be INT8; None where they were not.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        indices: Sequence[int],
        channels: Sequence[int],
        levels: Sequence[Level],
        preprocessing: Preprocessing,
        architecture: Architecture = Architecture(),  # noqa: B008 - immutable
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.indices = list(indices)
        self.architecture = architecture
        self.quantization: Quantization | None = None
        self.heads = nn.ModuleList(nn.Linear(width, level.size) for width, level in zip(channels, levels, strict=True))
        self.pools = nn.ModuleList(POOLINGS[architecture.pooling]() for _ in levels)
        self.bnneck = nn.ModuleList(_neck(level.size) for level in levels if architecture.bnneck)
        # Not in the state dict: the model card is where these facts live.
        for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
            scaled = 255 * torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)
            self.register_buffer(name, scaled, persistent=False)

    def features(self, frames: Tensor) -> list[Tensor]:
        """Give each level's feature before neck and L2 normalization, [N, size], for the metric losses.

        Args:
            frames: uint8 [N, 3, H, W], RGB.
        """
        return [head(vector) for head, vector in zip(self.heads, self.pooled(frames), strict=True)]

    def pooled(self, frames: Tensor) -> list[Tensor]:
        """Give what each level's fully connected layer reads, [N, channels]: its map after pooling."""
        normalized = (frames.to(self.mean.dtype) - self.mean) / self.std
        maps = self.backbone.forward_intermediates(  # type: ignore[operator]
            normalized, indices=self.indices, intermediates_only=True
        )
        return [pool(feature) for pool, feature in zip(self.pools, maps, strict=True)]

    def behind_neck(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Give what is classified, and compared at test time: the features themselves if there is no neck.

        In training a neck normalizes by the frames it is given: give it those of the whole batch.

        Args:
            features: of `features`, [N, size] each.
        """
        if not self.bnneck:
            return list(features)
        return [neck(feature.float()) for neck, feature in zip(self.bnneck, features, strict=True)]

    def forward(self, frames: Tensor) -> Tensor:
        """Embed frames, uint8 [N, 3, H, W], as the L2-normalized concatenation of all levels, [N, D]."""
        levels = [F.normalize(feature, dim=1) for feature in self.behind_neck(self.features(frames))]
        return F.normalize(torch.cat(levels, dim=1), dim=1)


def _neck(size: int) -> nn.BatchNorm1d:
    """Batch normalization without a shift, from Luo et al., *Bag of Tricks and a Strong Baseline* (BNNeck), 2019."""
    neck = nn.BatchNorm1d(size)
    neck.bias.requires_grad_(False)
    return neck


class FusedReID(nn.Module):
    """The graph that is deployed: frames and pooling in, frame embeddings and pooled sums out."""

    def __init__(self, model: MultiLevelReID) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor, pooling: Tensor) -> tuple[Tensor, Tensor]:
        """Embed uint8 [N, 3, H, W] with pooling [T, N]: frame_embedding [N, D], pooled [T, D]."""
        frame_embedding = self.model(frames)
        return frame_embedding, pooling @ frame_embedding


class IdentityClassifiers(nn.Module):
    """One linear classifier of the training identities per level; thrown away after training.

    Args:
        levels: names and embedding sizes.
        identities: number C of the training vehicles.
        cosine: give the cosine of feature and class, as the losses with a margin want it.
    """

    def __init__(self, levels: Sequence[Level], identities: int, *, cosine: bool = False) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(level.size, identities, bias=False) for level in levels)
        self.cosine = cosine

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Map each level's feature [B, size] to logits, or float32 cosines, [B, C]."""
        weights = [head.get_parameter("weight") for head in self.heads]
        give = _cosine if self.cosine else F.linear
        return [give(feature, weight) for feature, weight in zip(features, weights, strict=True)]


def _cosine(feature: Tensor, classes: Tensor) -> Tensor:
    # Margins are smaller than what autocast would lose.
    with torch.autocast(feature.device.type, enabled=False):
        return F.linear(F.normalize(feature.float(), dim=1), F.normalize(classes.float(), dim=1))
