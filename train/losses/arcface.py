"""ArcFace: an identity loss that wants the angle to a sample's own vehicle to be smaller by a margin."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from reid.train.losses.own_class import own_against_others

__all__ = ["ArcFaceLoss"]

_LEAST_SINE = 1e-4
"""The slope of cos(angle + margin) in the cosine grows as 1 / sin(angle), beyond all bounds."""


class ArcFaceLoss(nn.Module):
    """Cross entropy of ``scale * cos(angle_y + margin)`` for the own vehicle y against ``scale * cos_j`` of the others.

    From Deng et al., *ArcFace: Additive Angular Margin Loss for Deep Face Recognition*, CVPR 2019. Where the angle and
    the margin exceed half a turn, ``cos_y - margin * sin(margin)`` takes its place, as in the authors' code, so that
    the loss falls wherever the angle does.

    Args:
        label_smoothing: smoothing of the target, 0 to 1.
        scale: s in the paper.
        margin: m in the paper, in radians.

    Raises:
        ValueError: unless scale > 0 and is finite, and 0 <= margin < pi.
    """

    def __init__(self, label_smoothing: float = 0.0, scale: float = 64.0, margin: float = 0.5) -> None:
        super().__init__()
        if not (0 < scale < math.inf and 0 <= margin < math.pi):
            raise ValueError(
                f"scale is {scale}, margin {margin}: scale must be above 0 and finite, margin from 0 to less than pi"
            )
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
        sine = (1 - cosine.square()).clamp(min=_LEAST_SINE**2).sqrt()
        turned = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        within = cosine > -math.cos(self.margin)
        own = torch.where(within, turned, cosine - self.margin * math.sin(self.margin))
        return own_against_others(own, cosine, vehicle, scale=self.scale, label_smoothing=self.label_smoothing)
