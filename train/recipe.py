"""Everything that decides how a run goes, in one value that is stored with the run."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["RECIPES", "Recipe", "learning_rate"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of a training run. The defaults are the poster's method.

    Attributes:
        backbone: timm's name.
        weights: "default", "none" or a file.
        levels: indices of the backbone's features.
        embedding_size: per level.
        image_size: of the square crops, in pixels.
        loss: a name of reid.train.losses.METRIC_LOSSES.
        metric_weight: w1.
        identity_weight: w2.
        vehicles_per_batch: P.
        images_per_vehicle: K.
        epochs: over the training vehicles.
        warmup_epochs: over which the learning rate rises linearly.
        learning_rate: AdamW's, at its peak.
        weight_decay: AdamW's.
        held_out: share of the training vehicles that choose the best epoch.
        seed: of weights, split, sampling and augmentation.
    """

    backbone: str = "resnet50"
    weights: str = "default"
    levels: tuple[int, ...] = (2, 3, 4)
    embedding_size: int = 512
    image_size: int = 256
    loss: str = "rll"
    metric_weight: float = 1.0
    identity_weight: float = 1.0
    vehicles_per_batch: int = 16
    images_per_vehicle: int = 4
    epochs: int = 60
    warmup_epochs: float = 5.0
    learning_rate: float = 3.5e-4
    weight_decay: float = 5e-4
    held_out: float = 0.1
    seed: int = 0


RECIPES = {"poster": Recipe()}


def learning_rate(recipe: Recipe, epoch: float) -> float:
    """Learning rate at a point in time, in epochs: linear warm-up, then half a cosine down to a hundredth."""
    warmup = min(recipe.warmup_epochs, recipe.epochs / 4)
    if epoch < warmup:
        return recipe.learning_rate * max(epoch / warmup, 0.01)
    done = (epoch - warmup) / (recipe.epochs - warmup)
    return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
