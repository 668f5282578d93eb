"""The multi-level model (Kamenou et al., poster "Multi-level Deep Learning Vehicle Re-identification").

Every level of the backbone's features becomes an embedding of its own: global max-pooling, a fully connected layer,
L2 normalization. Each level has its own losses in training; at test time the levels are concatenated. The architecture
may choose other parts than the poster's, and the levels may have weights.
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
    """Maps frames to one embedding per level. Normalization is part of the model.

    Args:
        backbone: a timm model cut to its levels (see reid.train.model.backbone).
        indices: indices of the features that are the levels, for `forward_intermediates`.
        channels: number of channels of each of these features.
        levels: names, embedding sizes and weights of the levels, in the same order.
        preprocessing: the preprocessing, which has mean and standard deviation.
        architecture: pooling and neck; the backbone was made with the same.

    Attributes:
        weights: what each level is multiplied by where the levels are concatenated.
        quantization: the places and scales in INT8 that the model was trained for; None where there are none.
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
        self.weights = [level.weight for level in levels]
        self.architecture = architecture
        self.quantization: Quantization | None = None
        self.heads = nn.ModuleList(nn.Linear(width, level.size) for width, level in zip(channels, levels, strict=True))
        self.pools = nn.ModuleList(POOLINGS[architecture.pooling]() for _ in levels)
        self.bnneck = nn.ModuleList(_neck(level.size) for level in levels if architecture.bnneck)
        # Not in the state dict, because these facts live in the model card.
        for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
            scaled = 255 * torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)
            self.register_buffer(name, scaled, persistent=False)

    def features(self, frames: Tensor) -> list[Tensor]:
        """Return each level's feature before neck and L2 normalization, [N, size], for the metric losses.

        Args:
            frames: the frames, uint8 [N, 3, H, W], RGB.
        """
        return [head(vector) for head, vector in zip(self.heads, self.pooled(frames), strict=True)]

    def pooled(self, frames: Tensor) -> list[Tensor]:
        """Return the input of each level's fully connected layer, [N, channels]: the pooled feature map."""
        normalized = (frames.to(self.mean.dtype) - self.mean) / self.std
        maps = self.backbone.forward_intermediates(  # type: ignore[operator]
            normalized, indices=self.indices, intermediates_only=True
        )
        return [pool(feature) for pool, feature in zip(self.pools, maps, strict=True)]

    def after_neck(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return what is classified, and compared at test time: the features themselves if there is no neck.

        In training a neck normalizes over the frames it is given, so give it those of the whole batch.

        Args:
            features: the levels' features as `features` returns them, [N, size] each.
        """
        if not self.bnneck:
            return list(features)
        return [neck(feature.float()) for neck, feature in zip(self.bnneck, features, strict=True)]

    def forward(self, frames: Tensor) -> Tensor:
        """Embed frames, uint8 [N, 3, H, W], as the L2-normalized concatenation of all weighted levels, [N, D]."""
        features = self.after_neck(self.features(frames))
        levels = [_of_length(feature, weight) for feature, weight in zip(features, self.weights, strict=True)]
        return F.normalize(torch.cat(levels, dim=1), dim=1)


def _of_length(feature: Tensor, length: float) -> Tensor:
    normalized = F.normalize(feature, dim=1)
    return normalized if length == 1 else length * normalized


def _neck(size: int) -> nn.BatchNorm1d:
    """Return batch normalization without a shift: BNNeck, Luo et al., *Bag of Tricks and a Strong Baseline*, 2019."""
    neck = nn.BatchNorm1d(size)
    neck.bias.requires_grad_(False)
    return neck


class FusedReID(nn.Module):
    """The deployed graph: frames and pooling in, frame embeddings and pooled sums out."""

    def __init__(self, model: MultiLevelReID) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor, pooling: Tensor) -> tuple[Tensor, Tensor]:
        """Embed uint8 [N, 3, H, W] with pooling [T, N]: frame_embedding [N, D], pooled [T, D]."""
        frame_embedding = self.model(frames)
        return frame_embedding, pooling @ frame_embedding


class IdentityClassifiers(nn.Module):
    """One linear classifier of the training identities per level; discarded after training.

    Args:
        levels: names and embedding sizes of the levels.
        identities: number C of training vehicles.
        cosine: whether to return the cosine of feature and class, which the losses with a margin need.
    """

    def __init__(self, levels: Sequence[Level], identities: int, *, cosine: bool = False) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(level.size, identities, bias=False) for level in levels)
        self.cosine = cosine

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Map each level's feature [B, size] to logits, or float32 cosines, [B, C]."""
        weights = [head.get_parameter("weight") for head in self.heads]
        classify = _cosine if self.cosine else F.linear
        return [classify(feature, weight) for feature, weight in zip(features, weights, strict=True)]


def _cosine(feature: Tensor, classes: Tensor) -> Tensor:
    # Autocast would lose more than the margins.
    with torch.autocast(feature.device.type, enabled=False):
        return F.linear(F.normalize(feature.float(), dim=1), F.normalize(classes.float(), dim=1))
