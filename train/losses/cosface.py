"""CosFace: an identity loss that wants the cosine of a sample's own vehicle to lead by a margin."""

from __future__ import annotations

import math

from torch import Tensor, nn

from reid.train.losses.own_class import own_against_others

__all__ = ["CosFaceLoss"]


class CosFaceLoss(nn.Module):
    """Cross entropy of ``scale * (cos_y - margin)`` for the own vehicle y against ``scale * cos_j`` for the others.

    From Wang et al., *CosFace: Large Margin Cosine Loss for Deep Face Recognition*, CVPR 2018.

    Args:
        label_smoothing: smoothing of the target, 0 to 1.
        scale: s in the paper.
        margin: m in the paper.

    Raises:
        ValueError: unless scale > 0 and margin >= 0, both finite.
    """

    def __init__(self, label_smoothing: float = 0.0, scale: float = 64.0, margin: float = 0.35) -> None:
        super().__init__()
        if not (0 < scale < math.inf and 0 <= margin < math.inf):
            raise ValueError(f"scale is {scale}, margin {margin}: both must be finite, scale above 0, margin 0 or more")
        self.label_smoothing = label_smoothing
        self.scale = scale
        self.margin = margin

    def forward(self, cosine: Tensor, vehicle: Tensor) -> Tensor:
        """Return the loss of a batch.

        Args:
            cosine: cosine of every feature and class, any floating dtype [B, C].
            vehicle: index of each sample's vehicle, int64 [B], in 0..C-1.

        Returns:
            float32 scalar.
        """
        cosine = cosine.float()
        own = cosine - self.margin
        return own_against_others(own, cosine, vehicle, scale=self.scale, label_smoothing=self.label_smoothing)
