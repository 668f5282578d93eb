"""The identity loss: classification among the training set's vehicles."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

__all__ = ["IdentityLoss"]


class IdentityLoss(nn.Module):
    """Cross entropy of a classifier over the training set's vehicles, in float32 whatever the logits are.

    With label smoothing e the target is ``1 - e`` for the own vehicle plus ``e / C`` for each of the C vehicles, from
    Szegedy et al., *Rethinking the Inception Architecture for Computer Vision*, CVPR 2016.

    Args:
        label_smoothing: smoothing e of the target, 0 to 1.
    """

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, vehicle: Tensor) -> Tensor:
        """Return the loss of a batch.

        Args:
            logits: the logits, any floating dtype [B, C].
            vehicle: index of each sample's vehicle, int64 [B], in 0..C-1.

        Returns:
            float32 scalar.
        """
        return cross_entropy(logits.float(), vehicle, label_smoothing=self.label_smoothing)
