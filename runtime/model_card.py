"""The model card: levels, sizes, preprocessing and origin of a model. Stored with every checkpoint and graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reid.runtime.errors import ModelError
from reid.runtime.precision import Precision
from reid.runtime.training_facts import TrainingFacts
from reid.runtime.validation import first_problem

__all__ = ["FORMAT_VERSION", "Level", "ModelCard", "Preprocessing"]

FORMAT_VERSION = 1


class Preprocessing(BaseModel):
    """How a crop becomes the model's input: decoded, resized; normalization happens inside the graph.

    Attributes:
        height: the height of the resized crop, in pixels.
        width: the width of the resized crop, in pixels.
        color: the order of the channels.
        resize: the interpolation: bilinear, half-pixel centers, no antialiasing; the aspect ratio is not kept.
        mean: the mean of each channel, of values scaled to [0, 1].
        std: the standard deviation of each channel, of values scaled to [0, 1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: int = Field(gt=0)
    width: int = Field(gt=0)
    color: Literal["RGB"] = "RGB"
    resize: Literal["bilinear"] = "bilinear"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Level(BaseModel):
    """One level of features: its name, from the index of the backbone's feature, and the size of its embedding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    size: int = Field(gt=0)


class ModelCard(BaseModel):
    """The facts about a model that every step reads instead of assuming.

    Attributes:
        format_version: the version of this format; a newer one is refused.
        fingerprint: the SHA-256 of weights, levels and preprocessing. Embeddings of two models with different
            fingerprints must never be compared.
        backbone: the backbone's name in timm.
        levels: the levels, in the order in which their embeddings are concatenated.
        preprocessing: the steps from a crop to the model's input.
        training: the origin of the model: data, recipe, command, versions, metrics.
        files: the SHA-256 of every file beside the card, by relative path; empty outside a bundle.
        opset: the ONNX opset of the graphs; None for a checkpoint.
        similarity: the smallest cosine similarity to PyTorch's embeddings with which a session of a precision opens. A
            precision that is not listed has the self-check's own limit. Empty outside a bundle.
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
    similarity: dict[Precision, Annotated[float, Field(ge=-1, le=1)]] = {}

    @model_validator(mode="before")
    @classmethod
    def _refuse_newer_format(cls, data: Any) -> Any:  # noqa: ANN401 - whatever the JSON holds
        version = data.get("format_version") if isinstance(data, dict) else None
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise ValueError(f"format version {version} is newer than {FORMAT_VERSION}: update reid")
        return data

    @property
    def dimensions(self) -> int:
        """The size D of the aggregated embedding."""
        return sum(level.size for level in self.levels)

    @classmethod
    def parse(cls, text: str | bytes, source: Path) -> ModelCard:
        """Read a card from JSON. Raises ModelError, naming `source`, if it is damaged or too new."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            reason = first_problem(error)
            raise ModelError(f"{source}: the model card is not valid ({reason}); export or train it again") from None
