"""What a model card says about the training of its model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

__all__ = ["TrainingDataFacts", "TrainingFacts"]


def _check_finite(value: object) -> None:
    """Raise ValueError where a number in stored facts is infinite or not a number, which JSON cannot store again."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not a finite number")
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        _check_finite(inner)


class TrainingDataFacts(BaseModel):
    """The data set that a model was trained on.

    Attributes:
        layout: layout of the data set, such as "veri".
        fingerprint: SHA-256 of the training images' names, sizes and labels.
        images: number of images in the training split, held-out vehicles included.
        held_out_vehicles: vehicles of the training split that the model did not learn from.
        held_out_by: what each of them has at least two of: "cameras", "tracks" or "images"; None if none is held out,
            or if it is not known.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    layout: str
    fingerprint: str
    images: int
    held_out_vehicles: tuple[str, ...]
    held_out_by: str | None = None


class TrainingFacts(BaseModel):
    """Where a model comes from. A fact that is not known is None or empty; unknown further facts are kept.

    Attributes:
        command: the command line that started the run.
        recipe: every setting of the run, by name.
        data: the data set that the model was trained on.
        versions: versions of the packages that the result depends on, by package.
        held_out_share: share of the training vehicles, 0 to 1, that were held out.
        seed: seed by which the held-out vehicles were chosen.
        best_epoch: the epoch that the weights are from, counted from 1: the best one, or the last one if no vehicles
            were held out.
        held_out: metrics of that epoch on the held-out vehicles, by protocol.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    command: str | None = None
    recipe: dict[str, JsonValue] = {}
    data: TrainingDataFacts | None = None
    versions: dict[str, str] = {}
    held_out_share: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = Field(default=None, ge=0, le=2**63 - 1)
    best_epoch: int | None = None
    held_out: dict[str, dict[str, int | float]] = {}

    @model_validator(mode="before")
    @classmethod
    def _read_from_recipe(cls, facts: Any) -> Any:  # noqa: ANN401 - whatever was stored
        """Take share and seed from the recipe, which is where reid 0.1 stored them."""
        _check_finite(facts)
        if not isinstance(facts, Mapping) or not isinstance(recipe := facts.get("recipe"), Mapping):
            return facts
        stored = {"held_out_share": recipe.get("held_out"), "seed": recipe.get("seed")}
        return {**stored, **facts}
