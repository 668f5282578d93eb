"""Everything that decides how a run goes, in one value that is stored with the run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

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
        epochs: passes over the training images.
        warmup_epochs: over which the learning rate rises linearly.
        learning_rate: of the optimizer, at its peak.
        weight_decay: of the optimizer.
        held_out: share of the training vehicles that choose the best epoch.
        seed: of weights, split, sampling and augmentation.
        precision: of the numbers of a step; "auto" is bf16 on a GPU and fp32 elsewhere.
        clip_norm: longest gradient, beyond which it is shortened; 0 for any.
        micro_batch: frames that a process computes at a time, to save memory; 0 for all. Losses see the whole batch.
        compile: use torch.compile.
        pooling: a name of reid.train.model.pooling.POOLINGS.
        bnneck: batch normalization between what metric losses see and what is classified and compared.
        last_stride: of a ResNet's last stage, 1 or 2.
        ibn: instance normalization of half the channels in a ResNet's first three stages.
        soft_margin: of the triplet loss, in place of its margin.
        memory_size: embeddings of past batches that RLL compares with, per level; 0 for none.
        level_weights: of each level's losses; empty for 1 each.
        identity_loss: a name of reid.train.losses.IDENTITY_LOSSES.
        label_smoothing: of the identity loss's target, 0 to 1.
        auto_augment: probability of a distortion of AutoAugment's ImageNet policy.
        color_jitter: probability of other colors.
        erasing: probability of a gray rectangle.
        sampling: of a vehicle's images; "cameras" brings as many cameras into a batch as can be.
        optimizer: SGD has Nesterov momentum 0.9.
        head_rate: factor of the learning rate outside the backbone.
        classifier_rate: further factor for the classifiers, which are new even where the model is not.
        frozen_epochs: in which the backbone does not learn yet.
        average_decay: of the moving average of the weights that is evaluated and kept; 0 for none.
        qat: bundle whose model is fine-tuned for its INT8 graph, in place of backbone and weights; empty for none.
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
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    clip_norm: float = 0.0
    micro_batch: int = 0
    compile: bool = False
    pooling: str = "max"
    bnneck: bool = False
    last_stride: Literal[1, 2] = 2
    ibn: bool = False
    soft_margin: bool = False
    memory_size: int = 0
    level_weights: tuple[float, ...] = ()
    identity_loss: str = "softmax"
    label_smoothing: float = 0.0
    auto_augment: float = 0.0
    color_jitter: float = 0.5
    erasing: float = 0.5
    sampling: Literal["random", "cameras"] = "random"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    head_rate: float = 1.0
    classifier_rate: float = 1.0
    frozen_epochs: int = 0
    average_decay: float = 0.0
    qat: str = ""


RECIPES = {
    "poster": Recipe(),
    "strong": Recipe(bnneck=True, metric_weight=4.0, clip_norm=5.0, learning_rate=3e-3),
}


def learning_rate(recipe: Recipe, epoch: float) -> float:
    """Learning rate at a point in time, in epochs: linear warm-up, then half a cosine down to a hundredth."""
    warmup = min(recipe.warmup_epochs, recipe.epochs / 4)
    if epoch < warmup:
        return recipe.learning_rate * max(epoch / warmup, 0.01)
    done = (epoch - warmup) / (recipe.epochs - warmup)
    return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
