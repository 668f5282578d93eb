"""How a bundle's INT8 graph was made, as stored in `int8.json`."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from reid.calibration.search import Evaluation
from reid.calibration.sensitivity import Sensitivity
from reid.evaluation.verification.records import JudgedOn

__all__ = [
    "INT8_FILE",
    "SCALES_FILE",
    "EngineTimes",
    "Int8Record",
    "Objective",
    "TrainedInt8Record",
    "predicted_speedup",
]

INT8_FILE = "int8.json"
SCALES_FILE = "scales.json"
"""Names of the record and of the scale file within a bundle."""

INT8_SPEEDUP = 2.0
"""Multiply-accumulates per second in INT8 relative to FP16, on NVIDIA's tensor cores from Turing to Hopper."""


Objective: TypeAlias = Literal["macs", "latency"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EngineTimes(_Record):
    """The measured times of one batch, in milliseconds.

    Attributes:
        int8: the time of the engine of the INT8 graph.
        fp16: the time of the engine with every layer in FP16.
    """

    int8: float
    fp16: float

    @property
    def speedup(self) -> float:
        """How many times as fast as FP16 the INT8 engine is; 1 or less where INT8 is not worth it here."""
        return self.fp16 / self.int8


class Int8Record(_Record):
    """How the INT8 graph of a calibrated model was found. Earlier files have other names for some of this.

    Attributes:
        format_version: the version of the record's format.
        judged_on: the data that decided; a sentence in earlier files.
        in_fp16: the layers for which INT8 is not good enough, in the order of execution.
        int8_percent: the percentage of all multiply-accumulates that is in INT8.
        predicted_speedup: the speed-up over the FP16 graph if only multiply-accumulates took time: an upper bound.
        evaluations: every mix that was tried, in order; the cheapest one that passed is the graph.
        sensitivity: the effect of each layer, on which the order of the search is based.
        judged_by: the session that judged the mixes, for people; empty in earlier files.
        budget: the largest number of evaluations; None in earlier files, which had none.
        objective: what was minimized: multiply-accumulates in FP16, or the engine's measured time.
        times: the measured times; None where multiply-accumulates were minimized.
    """

    format_version: int = 1
    judged_on: JudgedOn | str
    in_fp16: tuple[str, ...] = Field(validation_alias=AliasChoices("in_fp16", "kept_in_fp16"))
    int8_percent: float = Field(validation_alias=AliasChoices("int8_percent", "int8_share"))
    predicted_speedup: float
    evaluations: tuple[Evaluation, ...]
    sensitivity: Sensitivity
    judged_by: str = ""
    budget: int | None = None
    objective: Objective = "macs"
    times: EngineTimes | None = None


class TrainedInt8Record(_Record):
    """How the INT8 graph of a model that was trained for it was made. Earlier files have other names for some of this.

    Attributes:
        format_version: the version of the record's format.
        scales: the origin of the scales.
        in_fp16: the layers that are not in INT8, in the order of execution.
        int8_percent: the percentage of all multiply-accumulates that is in INT8.
        predicted_speedup: the speed-up over the FP16 graph if only multiply-accumulates took time: an upper bound.
    """

    format_version: int = 1
    scales: Literal["trained"] = "trained"
    in_fp16: tuple[str, ...] = Field(validation_alias=AliasChoices("in_fp16", "kept_in_fp16"))
    int8_percent: float = Field(validation_alias=AliasChoices("int8_percent", "int8_share"))
    predicted_speedup: float


def predicted_speedup(fraction: float) -> float:
    """Return the speed-up over FP16 with this fraction of the work, 0 to 1, in INT8, if nothing else takes time."""
    return 1 / (fraction / INT8_SPEEDUP + 1 - fraction)
