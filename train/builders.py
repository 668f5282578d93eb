"""The parts of a run, built from its recipe. What a setting switches on is decided here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import nn

from reid.runtime.model_card import FORMAT_VERSION, Level, ModelCard
from reid.runtime.tracklet import Tracklet
from reid.train.data.augmentation import Augmentation
from reid.train.data.sampler import PKSampler
from reid.train.data.views import camera_views, track_views
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
from reid.train.model.weight_average import WeightAverage
from reid.train.recipe import Recipe

__all__ = [
    "build_augmentation",
    "build_classifiers",
    "build_ema_model",
    "build_loss",
    "build_model",
    "build_sampler",
]


def build_model(recipe: Recipe, *, resume: bool = False) -> tuple[MultiLevelReID, ModelCard, WeightsOrigin | None]:
    """Build the model, on the CPU.

    Args:
        recipe: all settings.
        resume: whether a state is going to be restored, so that no starting weights are needed.

    Returns:
        The model, its card without fingerprint, and what was taken from a file of weights, if one was given.

    Raises:
        ModelError: the backbone is unknown or cannot have the architecture, or the weights do not fit.
        ReidError: the pretrained weights cannot be downloaded.
    """
    if recipe.qat:
        from reid.train.qat.start import build_fake_quantized  # needs onnx, which a machine that only trains may lack

        return *build_fake_quantized(Path(recipe.qat), Path(recipe.weights)), None
    architecture = Architecture(
        pooling=recipe.pooling, bnneck=recipe.bnneck, last_stride=recipe.last_stride, ibn=recipe.ibn
    )
    backbone = create_backbone(
        recipe.backbone,
        recipe.levels,
        image_size=recipe.image_size,
        weights="none" if resume else recipe.weights,
        architecture=architecture,
    )
    levels, preprocessing = describe(backbone, recipe.embedding_size, recipe.image_size)
    model = MultiLevelReID(backbone.module, backbone.indices, backbone.channels, levels, preprocessing, architecture)
    card = ModelCard(
        format_version=FORMAT_VERSION,
        fingerprint="",
        backbone=recipe.backbone,
        levels=levels,
        preprocessing=preprocessing,
    )
    return model, card, backbone.weights_origin


def build_classifiers(recipe: Recipe, levels: Sequence[Level], identities: int) -> IdentityClassifiers:
    """Build the classifiers that the recipe's identity loss needs."""
    return IdentityClassifiers(levels, identities, cosine=recipe.identity_loss != "softmax")


def build_loss(recipe: Recipe, levels: Sequence[Level]) -> MultiLevelLoss:
    """Build the loss of all levels. With a memory it has state: move it to the device, and save it with the run."""
    identity = IDENTITY_LOSSES[recipe.identity_loss](recipe.label_smoothing)
    return MultiLevelLoss(
        [_metric_loss(recipe, level) for level in levels],
        identity,
        [level.name for level in levels],
        metric_weight=recipe.metric_weight,
        identity_weight=recipe.identity_weight,
        level_weights=recipe.level_weights or None,
    )


def _metric_loss(recipe: Recipe, level: Level) -> nn.Module:
    if recipe.soft_margin:
        return SoftMarginTripletLoss()
    if recipe.memory_size:
        return CrossBatchRankedListLoss(RankedListLoss(), EmbeddingMemory(recipe.memory_size, level.size))
    return METRIC_LOSSES[recipe.loss]()


def build_ema_model(recipe: Recipe, model: MultiLevelReID) -> WeightAverage | None:
    """Start the moving average of a model that is on its device, if the recipe asks for one."""
    return WeightAverage(model, recipe.average_decay) if recipe.average_decay else None


def build_sampler(
    recipe: Recipe, vehicles: Sequence[int], images: Sequence[Tracklet], tracklets: Iterable[Tracklet] = ()
) -> PKSampler:
    """Build the sampler of images, of these vehicles, that form these tracklets.

    Raises:
        DataError: there are fewer vehicles than a batch needs.
    """
    return PKSampler(
        vehicles,
        p=recipe.vehicles_per_batch,
        k=recipe.images_per_vehicle,
        seed=recipe.seed,
        views=_views(recipe, images, tracklets),
    )


def _views(
    recipe: Recipe, images: Sequence[Tracklet], tracklets: Iterable[Tracklet]
) -> Sequence[tuple[str, ...]] | None:
    if recipe.sampling == "tracklets":
        return track_views(images, tracklets)
    return camera_views(images) if recipe.sampling == "cameras" else None


def build_augmentation(recipe: Recipe) -> Augmentation:
    """Build the augmentation."""
    return Augmentation(
        recipe.image_size,
        auto_augment=recipe.auto_augment,
        color_jitter=recipe.color_jitter,
        erasing=recipe.erasing,
    )
