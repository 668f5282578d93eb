"""Circle loss with class labels: an identity loss in which whatever is far from its goal weighs more."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import relu

from reid.train.losses.own_class import own_against_others

__all__ = ["CircleLoss"]


class CircleLoss(nn.Module):
    """Cross entropy of ``scale * a_y * (cos_y - (1 - margin))`` against ``scale * a_j * (cos_j - margin)``.

    The weights are ``a_y = max(1 + margin - cos_y, 0)`` for the own vehicle y and ``a_j = max(cos_j + margin, 0)`` for
    the others; no gradient flows through them. From Sun et al., *Circle Loss: A Unified Perspective of Pair Similarity
    Optimization*, CVPR 2020, in its form for class labels.

    Args:
        label_smoothing: smoothing of the target, 0 to 1.
        scale: gamma in the paper.
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
        fixed = cosine.detach()
        own = relu(1 + self.margin - fixed) * (cosine - (1 - self.margin))
        other = relu(fixed + self.margin) * (cosine - self.margin)
        return own_against_others(own, other, vehicle, scale=self.scale, label_smoothing=self.label_smoothing)
