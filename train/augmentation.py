"""What training does to a crop: flip, shifted crop, colour, erasing."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms import v2

__all__ = ["Augmentation"]


class Augmentation:
    """Augment one frame, repeatably.

    Args:
        image_size: of the square crop, in pixels.
    """

    def __init__(self, image_size: int) -> None:
        # Erasing fills with grey noise-free pixels: the middle of the range, close to the mean of any data.
        self._transform = v2.Compose(
            [
                v2.RandomHorizontalFlip(0.5),
                v2.RandomCrop(image_size, padding=max(1, image_size // 25), padding_mode="edge"),
                v2.RandomApply([v2.ColorJitter(brightness=0.2, contrast=0.15, saturation=0.1, hue=0.02)], p=0.5),
                v2.RandomErasing(p=0.5, scale=(0.02, 0.3), value=[127, 127, 127]),
            ]
        )

    def __call__(self, frame: Tensor, seed: int) -> Tensor:
        """Augment uint8 [3, H, W]; the same seed gives the same result in any process."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            augmented: Tensor = self._transform(frame)
        return augmented
