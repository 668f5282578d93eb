"""The reference distribution: how the crops looked that a model was verified on, as stored in a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reid.runtime.data_drift.quantities import Quantity
from reid.runtime.data_drift.sums import Measured
from reid.runtime.errors import ModelError
from reid.runtime.files.validation import read_stored, refuse_newer
from reid.runtime.precision import Precision
from reid.runtime.sessions.session import SessionInfo

__all__ = ["DISTRIBUTION_FILE", "FORMAT_VERSION", "CameraReference", "Distribution", "Distributions", "read_reference"]

DISTRIBUTION_FILE = "distribution.json"
"""Name of the stored Distributions within a bundle."""

FORMAT_VERSION = 1


class CameraReference(BaseModel):
    """What was measured of the tracklets of one camera.

    Attributes:
        camera: its name; None for the tracklets whose camera is not known.
        quantities: what is known of each quantity.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    camera: str | None
    quantities: dict[Quantity, Measured]


class Distribution(BaseModel):
    """The data that a graph was verified on, as it saw them.

    Attributes:
        center: the mean of the embeddings of all tracklets' frames, D numbers.
        cameras: the cameras.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    center: tuple[Annotated[float, Field(ge=-1.1, le=1.1)], ...]
    cameras: tuple[CameraReference, ...]


class Distributions(BaseModel):
    """The distribution of each precision: embeddings differ with it.

    Attributes:
        format_version: the version of this format; a newer one is refused.
        precisions: the distributions.
    """

    model_config = ConfigDict(frozen=True)

    format_version: int = FORMAT_VERSION
    precisions: dict[Precision, Distribution]

    @model_validator(mode="before")
    @classmethod
    def _refuse_newer_format(cls, data: Any) -> Any:  # noqa: ANN401 - whatever the JSON holds
        return refuse_newer(data, FORMAT_VERSION)


def read_reference(model: Path, info: SessionInfo) -> Distribution:
    """Read the distribution that a session's crops are compared with.

    Args:
        model: the bundle that the session was opened from, which has checked the file's hash.
        info: the session.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    remedy = "export it again with `reid-export --verify DATA`"
    if DISTRIBUTION_FILE not in info.card.files:
        raise ModelError(f"{model} does not say how the data looked that it was verified on; {remedy}")
    stored = read_stored(Distributions, model / DISTRIBUTION_FILE, what="reference distribution", remedy=remedy)
    found = stored.precisions.get(info.precision)
    if found is None or len(found.center) != info.card.dimensions:
        raise ModelError(f"{model / DISTRIBUTION_FILE} has no distribution of the {info.precision} graph; {remedy}")
    return found
