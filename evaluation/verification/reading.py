"""Reading a stored verification, of this format or of versions 1 and 2."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, RootModel, Tag, model_validator

from reid.evaluation.verification.records import FORMAT_VERSION, Tolerance, Verification
from reid.runtime.files.validation import read_stored, refuse_newer

__all__ = ["read_verification"]

_HELD_OUT = ", held-out training vehicles"
"""What version 1 wrote behind the name of a layout."""


def read_verification(path: Path) -> Verification:
    """Read a verification.json. What version 1 stored only as text stays text.

    Raises:
        ModelError: the file is missing, damaged, or of a newer format.
    """
    return read_stored(_Stored, path, what="verification", remedy="export the bundle again").root


class _Stored(RootModel[Verification]):
    """A verification of any version."""

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, stored: Any) -> Any:  # noqa: ANN401 - whatever the JSON holds
        refuse_newer(stored, FORMAT_VERSION)
        version = stored.get("format_version") if isinstance(stored, dict) else None
        if version == 1:
            stored, version = _Version1.model_validate(stored).upgraded(), 2
        return _Version2.model_validate(stored).upgraded() if version == 2 else stored


class _Protocol2(BaseModel):
    """A protocol's metrics in version 2, where a fall by more than the tolerance was a failure, chance or not."""

    model_config = ConfigDict(extra="forbid")

    protocol: str
    reference: dict[str, float]
    candidate: dict[str, float]
    difference: dict[str, float]
    interval: dict[str, tuple[float, float]]
    exceeded: tuple[str, ...]
    first_match_changed: float
    queries: int

    def upgraded(self, tolerance: Tolerance) -> dict[str, Any]:
        changes = (
            {
                "measure": name,
                "reference": value,
                "candidate": self.candidate.get(name),
                "interval": self.interval.get(name),
                "p_value": None,
                "allowed": tolerance.room(name),
                "verdict": "outside" if name in self.exceeded else "within",
            }
            for name, value in self.reference.items()
        )
        kept = self.model_dump(include={"protocol", "first_match_changed", "queries"})
        return {**kept, "changes": tuple(changes)}


class _Precision2(BaseModel):
    """A precision; what is not named here is as today."""

    model_config = ConfigDict(extra="allow")

    protocols: tuple[_Protocol2, ...] = ()

    def upgraded(self, tolerance: Tolerance) -> dict[str, Any]:
        return {**(self.model_extra or {}), "protocols": tuple(one.upgraded(tolerance) for one in self.protocols)}


class _Version2(BaseModel):
    """What was stored before verdicts knew their noise; what is not named here is as today."""

    model_config = ConfigDict(extra="allow")

    format_version: int
    tolerance: Tolerance
    precisions: tuple[_Precision2, ...]

    def upgraded(self) -> dict[str, Any]:
        return {
            **(self.model_extra or {}),
            "format_version": FORMAT_VERSION,
            "tolerance": self.tolerance,
            "precisions": tuple(one.upgraded(self.tolerance) for one in self.precisions),
        }


class _Crops1(BaseModel):
    model_config = ConfigDict(extra="forbid")

    crops: int = Field(alias="reference crops")

    def upgraded(self) -> dict[str, Any]:
        return {"kind": "reference crops", "crops": self.crops}


class _Images1(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    layout: str
    query_images: int = Field(alias="query images")
    gallery_images: int = Field(alias="gallery images")
    unreadable: int = Field(alias="unreadable frames, left out")

    def upgraded(self) -> dict[str, Any]:
        held_out = self.layout.endswith(_HELD_OUT)
        facts = {**self.model_dump(), "layout": self.layout.removesuffix(_HELD_OUT)}
        return {"kind": "data", "held_out": held_out, **facts}


def _kind_of_data(data: Any) -> str:  # noqa: ANN401 - whatever the JSON holds
    return "crops" if isinstance(data, dict) and "reference crops" in data else "images"


class _Precision1(BaseModel):
    """A precision; what is not named here is as today."""

    model_config = ConfigDict(extra="allow")

    precision: str
    kept_in_fp32: dict[str, float]
    failures: tuple[str, ...]

    def upgraded(self) -> dict[str, Any]:
        texts = (_without_precision(self.precision, sentence) for sentence in self.failures)
        return {
            **(self.model_extra or {}),
            "precision": self.precision,
            "in_fp32": [{"layer": layer, "amax": amax} for layer, amax in self.kept_in_fp32.items()],
            "failures": [{"kind": "told", "precision": self.precision, "text": text} for text in texts],
        }


def _without_precision(precision: str, sentence: str) -> str:
    """Remove the precision's name, with which version 1 began every sentence."""
    return sentence.removeprefix(f"{precision}: ").removeprefix(f"{precision}, ")


class _Version1(BaseModel):
    """What reid 0.1 stored; what is not named here is as today."""

    model_config = ConfigDict(extra="allow")

    format_version: int
    data: Annotated[Annotated[_Crops1, Tag("crops")] | Annotated[_Images1, Tag("images")], Discriminator(_kind_of_data)]
    retrieval: bool
    precisions: tuple[_Precision1, ...]

    def upgraded(self) -> dict[str, Any]:
        return {
            **(self.model_extra or {}),
            "format_version": 2,
            "judged_on": self.data.upgraded(),
            "precisions": [one.upgraded() for one in self.precisions],
        }
