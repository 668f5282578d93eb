"""From a recipe's switches to the parts of a run. A switch is read here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel

from reid.runtime.errors import ReidError
from reid.runtime.model_card import FORMAT_VERSION, Level, ModelCard
from reid.train.data.augmentation import Augmentation
from reid.train.data.sampler import PKSampler
from reid.train.losses import (
    IDENTITY_LOSSES,
    METRIC_LOSSES,
    CrossBatchRankedListLoss,
    EmbeddingMemory,
    MultiLevelLoss,
    RankedListLoss,
    SoftMarginTripletLoss,
)
from reid.train.model.architecture import Architecture
from reid.train.model.backbone import create_backbone
from reid.train.model.checkpoint import describe
from reid.train.model.foreign_weights import WeightsOrigin
from reid.train.model.multi_level import IdentityClassifiers, MultiLevelReID
from reid.train.model.pooling import POOLINGS
from reid.train.model.weight_average import weight_average
from reid.train.recipe import Recipe

__all__ = [
    "build_augmentation",
    "build_average",
    "build_classifiers",
    "build_loss",
    "build_model",
    "build_optimizer",
    "build_sampler",
    "check_switches",
]

K = TypeVar("K")
T = TypeVar("T")


def check_switches(recipe: Recipe) -> None:
    """Refuse numbers that make no sense, before anything is read or built.

    Raises:
        ReidError: naming the first that is outside its range.
    """
    shares = ("held_out", "label_smoothing", "auto_augment", "color_jitter", "erasing", "average_decay")
    rates = ("learning_rate", "weight_decay", "head_rate", "classifier_rate", "metric_weight", "identity_weight")
    others = ("seed", "warmup_epochs", "clip_norm", "micro_batch", "memory_size", "frozen_epochs")
    sizes = ("epochs", "vehicles_per_batch", "images_per_vehicle", "embedding_size", "image_size")
    ranges = {
        **dict.fromkeys(shares, (0, 1)),
        **dict.fromkeys((*rates, *others), (0, math.inf)),
        **dict.fromkeys(sizes, (1, math.inf)),
    }
    values = [(name, getattr(recipe, name), *limits) for name, limits in ranges.items()]
    values += [("level_weights", weight, 0, math.inf) for weight in recipe.level_weights]
    for name, value, least, most in values:
        if not least <= value <= most or value == math.inf:
            remedy = f"between {least} and {most}" if most == 1 else f"finite, and {least} or more"
            raise ReidError(f"{name} is {value}: it must be {remedy}")
    if recipe.average_decay == 1:
        raise ReidError("average_decay is 1: the average would never move; use 0.999, or 0 for none")


def build_model(recipe: Recipe, *, weights: str) -> tuple[MultiLevelReID, ModelCard, WeightsOrigin | None]:
    """Make the model, on the CPU, its card without fingerprint, and what was taken from a file of weights.

    Args:
        recipe: all settings.
        weights: in place of the recipe's: "none" where a run goes on.

    Raises:
        ModelError: the backbone is not known, or cannot have the architecture, or the weights do not fit.
        ReidError: a switch has a value that there is not, or pretrained weights cannot be had.
    """
    if recipe.qat:
        from reid.train.qat.start import build_fake_quantized  # needs onnx, which a machine that only trains may lack

        return *build_fake_quantized(Path(recipe.qat)), None
    _choose(POOLINGS, "pooling", recipe.pooling)
    _choose({1: 1, 2: 2}, "last_stride", recipe.last_stride)
    parts = Architecture(recipe.pooling, recipe.bnneck, recipe.last_stride, recipe.ibn)
    backbone = create_backbone(
        recipe.backbone, recipe.levels, image_size=recipe.image_size, weights=weights, architecture=parts
    )
    levels, preprocessing = describe(backbone, recipe.embedding_size, recipe.image_size)
    model = MultiLevelReID(backbone.module, backbone.indices, backbone.channels, levels, preprocessing, parts)
    card = ModelCard(
        format_version=FORMAT_VERSION,
        fingerprint="",
        backbone=recipe.backbone,
        levels=levels,
        preprocessing=preprocessing,
    )
    return model, card, backbone.weights_origin


def build_classifiers(recipe: Recipe, levels: Sequence[Level], identities: int) -> IdentityClassifiers:
    """Make the classifiers that the recipe's identity loss takes."""
    return IdentityClassifiers(levels, identities, cosine=recipe.identity_loss != "softmax")


def build_loss(recipe: Recipe, levels: Sequence[Level]) -> MultiLevelLoss:
    """Make the loss of all levels. With a memory it has state: it goes to the device, and is saved with the run.

    Raises:
        ReidError: a switch has a value that there is not, or does nothing for this metric loss.
    """
    if recipe.level_weights and len(recipe.level_weights) != len(levels):
        raise ReidError(f"level_weights has {len(recipe.level_weights)} numbers; there are {len(levels)} levels")
    identity = _choose(IDENTITY_LOSSES, "identity_loss", recipe.identity_loss)(recipe.label_smoothing)
    return MultiLevelLoss(
        [_metric_loss(recipe, level) for level in levels],
        identity,
        [level.name for level in levels],
        metric_weight=recipe.metric_weight,
        identity_weight=recipe.identity_weight,
        level_weights=recipe.level_weights or None,
    )


def _metric_loss(recipe: Recipe, level: Level) -> nn.Module:
    if recipe.soft_margin and recipe.loss != "triplet":
        raise ReidError(f"soft_margin is for the triplet loss, not for {recipe.loss}; leave it false")
    if recipe.memory_size and recipe.loss != "rll":
        raise ReidError(f"memory_size is for RLL, not for {recipe.loss}; leave it 0")
    if recipe.soft_margin:
        return SoftMarginTripletLoss()
    if recipe.memory_size:
        return CrossBatchRankedListLoss(RankedListLoss(), EmbeddingMemory(recipe.memory_size, level.size))
    return _choose(METRIC_LOSSES, "loss", recipe.loss)()


def build_optimizer(recipe: Recipe, model: MultiLevelReID, classifiers: IdentityClassifiers) -> Optimizer:
    """Make the optimizer of model and classifiers, which are on their device.

    Every group has a `factor`: its learning rate is to be the schedule's times this.

    Raises:
        ReidError: a switch has a value that there is not.
    """
    _choose({"adamw": AdamW, "sgd": SGD}, "optimizer", recipe.optimizer)
    backbone = list(model.backbone.parameters())
    known = {id(parameter) for parameter in backbone}
    others = [parameter for parameter in model.parameters() if id(parameter) not in known]
    groups = [
        {"params": backbone, "factor": 1.0},
        {"params": others, "factor": recipe.head_rate},
        {"params": list(classifiers.parameters()), "factor": recipe.head_rate * recipe.classifier_rate},
    ]
    if recipe.optimizer == "sgd":
        return SGD(groups, recipe.learning_rate, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay)
    return AdamW(groups, recipe.learning_rate, weight_decay=recipe.weight_decay)


def build_average(recipe: Recipe, model: MultiLevelReID) -> AveragedModel | None:
    """Start the moving average of a model that is on its device, if the recipe wants one."""
    return weight_average(model, recipe.average_decay) if recipe.average_decay else None


def build_sampler(recipe: Recipe, vehicles: Sequence[int], cameras: Sequence[str | None]) -> PKSampler:
    """Make the sampler of images with these vehicles and cameras.

    Raises:
        DataError: fewer vehicles than a batch has.
        ReidError: a switch has a value that there is not.
    """
    return PKSampler(
        vehicles,
        p=recipe.vehicles_per_batch,
        k=recipe.images_per_vehicle,
        seed=recipe.seed,
        cameras=_choose({"random": None, "cameras": cameras}, "sampling", recipe.sampling),
    )


def build_augmentation(recipe: Recipe) -> Augmentation:
    """Make the augmentation."""
    return Augmentation(
        recipe.image_size,
        auto_augment=recipe.auto_augment,
        color_jitter=recipe.color_jitter,
        erasing=recipe.erasing,
    )


def _choose(table: Mapping[K, T], switch: str, value: K) -> T:
    if value not in table:
        raise ReidError(f"{switch} is {value}; there is {', '.join(map(str, table))}")
    return table[value]
