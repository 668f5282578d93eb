"""What a model is: levels, sizes, preprocessing, where it comes from. Stored with every checkpoint and graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reid.runtime.errors import ModelError
from reid.runtime.training_facts import TrainingFacts

__all__ = ["FORMAT_VERSION", "Level", "ModelCard", "Preprocessing"]

FORMAT_VERSION = 1


class Preprocessing(BaseModel):
    """How a crop becomes the model's input: decoded, resized; normalization happens inside the graph.

    Attributes:
        height: rows of the resized crop, in pixels.
        width: columns of the resized crop, in pixels.
        color: order of the channels.
        resize: bilinear, half-pixel centers, no antialiasing, the aspect ratio is not kept.
        mean: per channel, of values scaled to [0, 1].
        std: per channel, of values scaled to [0, 1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(gt=0)
    width: int = Field(gt=0)
    color: Literal["RGB"] = "RGB"
    resize: Literal["bilinear"] = "bilinear"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Level(BaseModel):
    """One level of features: the backbone's feature index as its name, and the size of its embedding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: int = Field(gt=0)


class ModelCard(BaseModel):
    """The facts about a model that every step reads instead of assuming.

    Attributes:
        format_version: of this card; a newer one is refused.
        fingerprint: SHA-256 of weights, levels and preprocessing. Embeddings of two models with different
            fingerprints must never be compared.
        backbone: timm's name of the backbone.
        levels: in the order in which their embeddings are concatenated.
        preprocessing: how a crop becomes the model's input.
        training: where the model comes from: data, recipe, command, versions, metrics.
        files: SHA-256 of every file beside the card, by relative path. Empty outside a bundle.
        opset: ONNX opset of the graphs; None for a checkpoint.
    """

    model_config = ConfigDict(frozen=True)

    format_version: int
    fingerprint: str
    backbone: str
    levels: tuple[Level, ...] = Field(min_length=1)
    preprocessing: Preprocessing
    training: TrainingFacts = TrainingFacts()
    files: dict[str, str] = {}
    opset: int | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_newer_format(cls, data: Any) -> Any:  # noqa: ANN401 - whatever the JSON holds
        version = data.get("format_version") if isinstance(data, dict) else None
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise ValueError(f"format version {version} is newer than {FORMAT_VERSION}: update reid")
        return data

    @property
    def dimensions(self) -> int:
        """Size D of the aggregated embedding."""
        return sum(level.size for level in self.levels)

    @classmethod
    def parse(cls, text: str | bytes, source: Path) -> ModelCard:
        """Read a card from JSON. Raises ModelError, naming `source`, where it is damaged or too new."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            reason = f"{where}: {first['msg']}" if where else first["msg"]
            raise ModelError(f"{source}: the model card is not valid ({reason}); export or train it again") from None
