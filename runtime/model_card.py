"""The model card: levels, sizes, preprocessing and origin of a model. Stored with every checkpoint and graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reid.runtime.files.names import FileHashes
from reid.runtime.files.validation import parse_stored, read_stored, refuse_newer
from reid.runtime.operating_point import OperatingPoints
from reid.runtime.precision import Precision
from reid.runtime.training_facts import TrainingFacts

__all__ = ["FORMAT_VERSION", "LARGEST_LEVEL", "MOST_LEVELS", "MOST_PIXELS", "Level", "ModelCard", "Preprocessing"]

_WHAT, _REMEDY = "model card", "export or train it again"

FORMAT_VERSION = 1

# Bounds far above any model in use: what a stranger's card says is allocated before the graph is asked.
MOST_PIXELS = 4096
"""The largest side of a resized crop, in pixels."""
MOST_LEVELS = 64
LARGEST_LEVEL = 65_536
"""The largest size of a level's embedding."""

_Finite: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
_Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]


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

    height: int = Field(gt=0, le=MOST_PIXELS)
    width: int = Field(gt=0, le=MOST_PIXELS)
    color: Literal["RGB"] = "RGB"
    resize: Literal["bilinear"] = "bilinear"
    mean: tuple[_Finite, _Finite, _Finite]
    std: tuple[_Positive, _Positive, _Positive]


class Level(BaseModel):
    """One level of features.

    Attributes:
        name: its name, from the index of the backbone's feature.
        size: the size of its embedding.
        weight: what its embedding, of length 1, is multiplied by where the levels are concatenated.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^level[0-9]{1,3}$")
    size: int = Field(gt=0, le=LARGEST_LEVEL)
    weight: float = Field(default=1.0, ge=2**-10, le=2**10, allow_inf_nan=False)


class ModelCard(BaseModel):
    """The facts about a model that every step reads instead of assuming.

    Attributes:
        format_version: the version of this format; a newer one is refused.
        fingerprint: the SHA-256 of weights, levels and preprocessing. Embeddings of two models with different
            fingerprints must never be compared.
        backbone: the backbone's name in timm.
        levels: the levels, in the order in which their embeddings are concatenated, each times its weight.
        preprocessing: the steps from a crop to the model's input.
        training: the origin of the model: data, recipe, command, versions, metrics.
        files: the SHA-256 of every file beside the card, by relative path; empty outside a bundle.
        opset: the ONNX opset of the graphs; None for a checkpoint.
        similarity: the smallest cosine similarity to PyTorch's embeddings with which a session of a precision opens. A
            precision that is not listed has the self-check's own limit. Empty outside a bundle.
        operating_points: the thresholds at stated false-match rates, by precision and protocol. Empty outside a bundle,
            and in one that was verified on no data.
    """

    model_config = ConfigDict(frozen=True)

    format_version: int
    fingerprint: str = Field(max_length=256)
    backbone: str = Field(max_length=256)
    levels: tuple[Level, ...] = Field(min_length=1, max_length=MOST_LEVELS)
    preprocessing: Preprocessing
    training: TrainingFacts = TrainingFacts()
    files: FileHashes = {}
    opset: int | None = None
    similarity: dict[Precision, Annotated[float, Field(ge=-1, le=1)]] = {}
    operating_points: OperatingPoints = {}

    @model_validator(mode="before")
    @classmethod
    def _refuse_newer_format(cls, data: Any) -> Any:  # noqa: ANN401 - whatever the JSON holds
        return refuse_newer(data, FORMAT_VERSION)

    @model_validator(mode="after")
    def _refuse_equal_levels(self) -> ModelCard:
        names = [level.name for level in self.levels]
        if len(set(names)) < len(names):
            raise ValueError(f"two levels have the same name: {', '.join(names)}")
        return self

    @property
    def dimensions(self) -> int:
        """The size D of the aggregated embedding."""
        return sum(level.size for level in self.levels)

    @classmethod
    def parse(cls, text: str | bytes, source: Path) -> ModelCard:
        """Read a card from JSON. Raises ModelError, naming `source`, if it is damaged or too new."""
        return parse_stored(cls, text, source, what=_WHAT, remedy=_REMEDY)

    @classmethod
    def read(cls, file: Path) -> ModelCard:
        """Read a card from its file. Raises ModelError if that cannot be read, is damaged, or is too new."""
        return read_stored(cls, file, what=_WHAT, remedy=_REMEDY)
