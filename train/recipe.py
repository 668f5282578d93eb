"""Everything that decides how a run goes, as one value that is stored with the run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from reid.runtime.errors import ReidError
from reid.runtime.model_card import LARGEST_LEVEL, MOST_LEVELS, MOST_PIXELS
from reid.train.choices import IbnName, IdentityLossName, LossName, PoolingName, RecipeName, current_ibn

__all__ = ["MOST_EPOCHS", "RECIPES", "Recipe", "SettingError", "current_names", "learning_rate", "read_assignments"]

_FORMER_NAMES = {"colour_jitter": "color_jitter"}  # in what reid 0.1 stored


class SettingError(ReidError):
    """A setting that does not exist, or a value that cannot be read as one."""


def _split(value: object) -> object:
    """Read "3,4" as people write it; anything else is left to pydantic."""
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


def _ascending(levels: tuple[int, ...]) -> tuple[int, ...]:
    """Sort levels as the backbone returns them."""
    if len(set(levels)) < len(levels):
        raise ValueError(f"levels are {','.join(map(str, levels))}: name each level once")
    return tuple(sorted(levels))


def _bearable(text: str) -> str:
    if "\0" in text or len(text) > _LONGEST_TEXT:
        raise ValueError(f"{_shown(text)!r} is not a name or path of at most {_LONGEST_TEXT} characters")
    return text


# The description is what an error message says that a setting takes.
def _whole(least: int, most: int) -> Any:  # noqa: ANN401 - what Field returns
    return Field(ge=least, le=most, description=f"a whole number from {least} to {most}")


MOST_EPOCHS = 100_000
_MOST_IN_BATCH = 4096  # vehicles, or images of each
_LARGEST = 1_000_000  # of the numbers that scale something
_LONGEST = 80  # characters of a value in a message
_LONGEST_TEXT = 4096

_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, description="a number between 0 and 1")]
_Amount = Annotated[float, Field(ge=0, le=_LARGEST, allow_inf_nan=False, description=f"a number from 0 to {_LARGEST}")]
_Switch = Annotated[bool, Field(description="true or false")]
# Not by pydantic's own constraints, which refuse paths that are not valid UTF-8.
_Words = Annotated[str, AfterValidator(_bearable), Field(description="text")]
_Levels = Annotated[
    tuple[Annotated[int, Field(ge=0, le=999)], ...],
    BeforeValidator(_split),
    Field(min_length=1, max_length=MOST_LEVELS, description="whole numbers from 0 to 999, separated by commas"),
    AfterValidator(_ascending),
]
_Weights = Annotated[
    tuple[Annotated[float, Field(ge=0, le=_LARGEST, allow_inf_nan=False)], ...],
    BeforeValidator(_split),
    Field(
        max_length=MOST_LEVELS,
        description=f"numbers from 0 to {_LARGEST}, separated by commas, one for each level",
    ),
]


class Recipe(BaseModel):
    """Settings of a training run. The defaults are the poster's method.

    Attributes:
        backbone: timm's name of the backbone.
        weights: source of the backbone's weights: "default" (timm's pretrained weights), "none" or a file; with `qat`,
            the checkpoint that the bundle was exported from.
        levels: indices of the backbone's features, ascending.
        embedding_size: size of each level's embedding.
        image_size: side of the square crops, in pixels.
        loss: metric loss of every level.
        metric_weight: weight w1 of the metric losses.
        identity_weight: weight w2 of the identity losses.
        vehicles_per_batch: vehicles P in a batch.
        images_per_vehicle: images K of each vehicle in a batch.
        epochs: passes over the training images.
        warmup_epochs: epochs over which the learning rate rises linearly.
        learning_rate: peak learning rate of the optimizer.
        weight_decay: weight decay of the optimizer, of matrices and convolutions alone.
        held_out: share of the training vehicles that are held out to choose the best epoch, at least two vehicles; 0
            for none, which makes the last epoch the result.
        seed: seed of weights, split, sampling and augmentation.
        precision: precision of a step's arithmetic; "auto" is bf16 on a GPU and fp32 elsewhere.
        clip_norm: gradient norm above which gradients are clipped; 0 never clips.
        micro_batch: frames that a process computes at a time, to save memory; 0 for all. Losses see the whole batch.
        compile: whether to use torch.compile.
        pooling: pooling of every level's feature map.
        bnneck: whether batch normalization separates the features that metric losses see from those that are
            classified and compared.
        last_stride: stride of a ResNet's last stage, 1 or 2.
        ibn: instance-batch normalization of a ResNet: none, IBN-a or IBN-b.
        soft_margin: whether the triplet loss has a soft margin in place of its fixed one.
        memory_size: embeddings of past batches that RLL compares with, per level; 0 for none.
        level_weights: weight of each level's losses; empty for 1 each.
        level_losses: whether these weights stay as "given", or each level's losses count, from the second epoch on, as
            much as "held_out" vehicles say that the level should count in the embedding.
        aggregation: weight of each level in the embedding: "equal", or "held_out" for the weights by which the held-out
            vehicles are told apart best.
        identity_loss: identity loss of every level.
        label_smoothing: smoothing of the identity loss's target.
        auto_augment: probability of a distortion of AutoAugment's ImageNet policy.
        color_jitter: probability of a change of brightness, contrast, saturation and hue.
        erasing: probability of a gray rectangle.
        sampling: choice of a vehicle's images; "cameras" brings as many of its cameras into a batch as possible, and
            "tracklets" as many of its tracks, too.
        optimizer: optimizer; SGD has Nesterov momentum 0.9.
        head_rate: factor of the learning rate outside the backbone.
        classifier_rate: further factor for the classifiers, which are new even where the model is not.
        layer_decay: factor between the learning rates of a layer of the backbone and the next; 1 for one rate.
        frozen_epochs: first epochs in which the backbone does not learn.
        average_decay: decay of the exponential moving average of the weights, which is then what is evaluated and
            stored; 0 for no average.
        qat: bundle for whose INT8 graph the model is fine-tuned; empty for ordinary training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: _Words = "resnet50"
    weights: _Words = "default"
    levels: _Levels = (2, 3, 4)
    embedding_size: Annotated[int, _whole(1, LARGEST_LEVEL)] = 512
    image_size: Annotated[int, _whole(1, MOST_PIXELS)] = 256
    loss: LossName = "rll"
    metric_weight: _Amount = 1.0
    identity_weight: _Amount = 1.0
    vehicles_per_batch: Annotated[int, _whole(1, _MOST_IN_BATCH)] = 16
    images_per_vehicle: Annotated[int, _whole(1, _MOST_IN_BATCH)] = 4
    epochs: Annotated[int, _whole(1, MOST_EPOCHS)] = 60
    warmup_epochs: _Amount = 5.0
    learning_rate: _Amount = 3.5e-4
    weight_decay: _Amount = 5e-4
    held_out: _Share = 0.1
    seed: Annotated[int, _whole(0, 2**32 - 1)] = 0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    clip_norm: _Amount = 0.0
    micro_batch: Annotated[int, _whole(0, _MOST_IN_BATCH**2)] = 0
    compile: _Switch = False
    pooling: PoolingName = "max"
    bnneck: _Switch = False
    last_stride: Annotated[int, Field(ge=1, le=2, description="1 or 2")] = 2
    ibn: IbnName = "none"
    soft_margin: _Switch = False
    memory_size: Annotated[int, _whole(0, 2**20)] = 0
    level_weights: _Weights = ()
    level_losses: Literal["given", "held_out"] = "given"
    aggregation: Literal["equal", "held_out"] = "equal"
    identity_loss: IdentityLossName = "softmax"
    label_smoothing: _Share = 0.0
    auto_augment: _Share = 0.0
    color_jitter: _Share = 0.5
    erasing: _Share = 0.5
    sampling: Literal["random", "cameras", "tracklets"] = "random"
    optimizer: Literal["adamw", "sgd"] = "adamw"
    head_rate: _Amount = 1.0
    classifier_rate: _Amount = 1.0
    layer_decay: Annotated[
        float, Field(ge=0.01, le=1, allow_inf_nan=False, description="a number from 0.01 to 1, such as 0.75")
    ] = 1.0
    frozen_epochs: Annotated[int, _whole(0, MOST_EPOCHS)] = 0
    average_decay: Annotated[
        float, Field(ge=0, lt=1, allow_inf_nan=False, description="a number from 0 to less than 1, such as 0.999")
    ] = 0.0
    qat: _Words = ""

    @model_validator(mode="before")
    @classmethod
    def _accept_former_names(cls, settings: Any) -> Any:  # noqa: ANN401 - whatever was given
        return current_names(settings) if isinstance(settings, Mapping) else settings

    @model_validator(mode="after")
    def _check_together(self) -> Recipe:
        if self.soft_margin and self.loss != "triplet":
            raise ValueError(
                f"soft_margin is true, and the loss is {self.loss}: only the triplet loss takes it; use --loss triplet "
                "or --set soft_margin=false"
            )
        if self.memory_size and self.loss != "rll":
            raise ValueError(
                f"memory_size is {self.memory_size}, and the loss is {self.loss}: only rll has a memory; use "
                "--loss rll or --set memory_size=0"
            )
        if self.level_weights and len(self.level_weights) != len(self.levels):
            raise ValueError(
                f"level_weights has {len(self.level_weights)} numbers, and there are {len(self.levels)} levels: "
                "give one for each"
            )
        if self.qat and self.weights_file is None:
            raise ValueError(
                f"qat is {self.qat}, and weights is {self.weights}: give the run that the bundle was exported from, "
                "--weights RUN"
            )
        return self

    @property
    def weights_file(self) -> Path | None:
        """The file, or the run, that the weights are read from; None where they are timm's or random."""
        return None if self.weights in ("", "default", "none") else Path(self.weights)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Recipe:
        """Return the recipe with these settings and the defaults of the others.

        Args:
            settings: values by name, of their own type or as text; names of reid 0.1 are accepted.

        Raises:
            SettingError: there is no such setting, or its value cannot be read.
            ReidError: a value is out of range, or does not go with the others.
        """
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            raise _refusal(error.errors()[0]) from None

    def changed(self, **settings: Any) -> Recipe:  # noqa: ANN401 - of any setting's type
        """Return this recipe with other values for some settings. Raises as `of` does."""
        return Recipe.of({**self.model_dump(), **current_names(settings)})


def current_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored settings under the names, and with the values, that they have today."""
    current = {_FORMER_NAMES.get(name, name): value for name, value in settings.items()}
    return {**current, "ibn": current_ibn(current["ibn"])} if "ibn" in current else current


def _refusal(details: ErrorDetails) -> ReidError:
    """Return the one-line error for the first problem that pydantic found."""
    context = details.get("ctx", {})
    if "error" in context:  # one of our own validators: of a field, or of the whole recipe
        return (SettingError if details["loc"] else ReidError)(str(context["error"]))
    name, value = str(details["loc"][0])[:80], details["input"]
    if details["type"] == "extra_forbidden":
        return SettingError(f"unknown setting {name!r}; choose one of: {', '.join(sorted(Recipe.model_fields))}")
    shown = _shown(value)
    if details["type"] == "literal_error":
        choices = context["expected"].replace("'", "").replace(" or ", ", ")
        return SettingError(f"unknown {name} {shown!r}; choose one of: {choices}")
    out_of_range = details["type"] in ("greater_than_equal", "less_than_equal", "less_than", "finite_number")
    kind = ReidError if out_of_range else SettingError
    return kind(f"{name} is {shown or 'nothing'}: it takes {Recipe.model_fields[name].description}")


def _shown(value: object) -> str:
    """Return a value on a line of bearable length."""
    text = " ".join(str(value).split()) if value not in ("", []) else ""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def read_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """Split assignments such as "clip_norm=5" or "levels=3,4" into names and values.

    Raises:
        SettingError: an assignment has no "=", or a setting is assigned twice.
    """
    settings: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise SettingError(f"{assignment} is not an assignment; write NAME=VALUE")
        if name in settings:
            raise SettingError(f"{name} is set twice; set it once")
        settings[name] = value
    return settings


RECIPES: dict[RecipeName, Recipe] = {
    "poster": Recipe(),
    "strong": Recipe(
        bnneck=True,
        pooling="max+avg",
        metric_weight=4.0,
        clip_norm=5.0,
        learning_rate=3e-3,
        level_losses="held_out",
        aggregation="held_out",
    ),
}


def learning_rate(recipe: Recipe, epoch: float) -> float:
    """Return the learning rate at a point in time, in epochs: linear warm-up, then half a cosine to a hundredth."""
    warmup = min(recipe.warmup_epochs, recipe.epochs / 4)
    if epoch < warmup:
        return recipe.learning_rate * max(epoch / warmup, 0.01)
    done = (epoch - warmup) / (recipe.epochs - warmup)
    return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
