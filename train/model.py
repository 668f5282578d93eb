"""The multi-level model (Kamenou et al., poster "Multi-level Deep Learning Vehicle Re-identification").

Every level of the backbone's features becomes an embedding of its own: global max-pooling, a fully connected layer,
L2 normalisation. Each has its own losses in training; at test time they are concatenated.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor, nn

from reid.runtime.model_card import Level, Preprocessing

__all__ = ["FusedReID", "IdentityClassifiers", "MultiLevelReID"]


class MultiLevelReID(nn.Module):
    """Frames to one embedding per level. Normalisation is part of the model.

    Args:
        backbone: a timm model cut to its levels (see reid.train.backbone).
        indices: which of its features are the levels, as `forward_intermediates` counts them.
        channels: of these features.
        levels: names and embedding sizes, in the same order.
        preprocessing: gives mean and standard deviation.
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
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.indices = list(indices)
        self.heads = nn.ModuleList(nn.Linear(width, level.size) for width, level in zip(channels, levels, strict=True))
        # Not in the state dict: the model card is where these facts live.
        for name, values in (("mean", preprocessing.mean), ("std", preprocessing.std)):
            scaled = 255 * torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)
            self.register_buffer(name, scaled, persistent=False)

    def features(self, frames: Tensor) -> list[Tensor]:
        """Give each level's feature before L2 normalisation, [N, size], which is what classifiers are trained on.

        Args:
            frames: uint8 [N, 3, H, W], RGB.
        """
        normalised = (frames.to(self.mean.dtype) - self.mean) / self.std
        maps = self.backbone.forward_intermediates(  # type: ignore[operator]
            normalised, indices=self.indices, intermediates_only=True
        )
        return [head(feature.amax(dim=(2, 3))) for head, feature in zip(self.heads, maps, strict=True)]

    def forward(self, frames: Tensor) -> Tensor:
        """Embed frames, uint8 [N, 3, H, W], as the L2-normalised concatenation of all levels, [N, D]."""
        levels = [F.normalize(feature, dim=1) for feature in self.features(frames)]
        return F.normalize(torch.cat(levels, dim=1), dim=1)


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
    """One linear classifier of the training identities per level; thrown away after training."""

    def __init__(self, levels: Sequence[Level], identities: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(level.size, identities, bias=False) for level in levels)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Map each level's feature [B, size] to logits [B, identities]."""
        return [head(feature) for head, feature in zip(self.heads, features, strict=True)]
