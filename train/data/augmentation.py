"""Augmentation of training crops: a policy of distortions, flip, shifted crop, color jitter, erasing."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms import v2

__all__ = ["Augmentation"]

# Fill of erasing and distortions, without noise: the middle of the range, close to the mean of any data.
_GRAY = [127, 127, 127]


class Augmentation:
    """Augments one frame at a time, reproducibly.

    Args:
        image_size: side of the square crop, in pixels.
        auto_augment: probability of a distortion of the ImageNet policy of Cubuk et al., *AutoAugment*, CVPR 2019.
        color_jitter: probability of a change of brightness, contrast, saturation and hue.
        erasing: probability of a gray rectangle, from Zhong et al., *Random Erasing Data Augmentation*, AAAI 2020.
    """

    def __init__(
        self, image_size: int, *, auto_augment: float = 0.0, color_jitter: float = 0.5, erasing: float = 0.5
    ) -> None:
        jitter = v2.ColorJitter(brightness=0.2, contrast=0.15, saturation=0.1, hue=0.02)
        self._transform = v2.Compose(
            [
                *_distortion(auto_augment),
                v2.RandomHorizontalFlip(0.5),
                v2.RandomCrop(image_size, padding=max(1, image_size // 25), padding_mode="edge"),
                v2.RandomApply([jitter], p=color_jitter),
                v2.RandomErasing(p=erasing, scale=(0.02, 0.3), value=_GRAY),
            ]
        )

    def __call__(self, frame: Tensor, seed: int) -> Tensor:
        """Augment uint8 [3, H, W]; the same seed gives the same result in any process."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            augmented: Tensor = self._transform(frame)
        return augmented


def _distortion(probability: float) -> list[v2.Transform]:
    """Return the policy; at probability 0 nothing, so that not even a random number is drawn."""
    if probability == 0:
        return []
    return [v2.RandomApply([v2.AutoAugment(v2.AutoAugmentPolicy.IMAGENET, fill=_GRAY)], p=probability)]
