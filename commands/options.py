"""Options that several commands share: each is declared once, with its help and the panel it is listed in.

Every number has a range: what is out of it is wrong usage, and no work begins.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from reid.runtime.precision import Precision

__all__ = [
    "CALIBRATION",
    "DATA",
    "DEFAULT_PIXELS",
    "FILTERS",
    "LARGEST_SEED",
    "MODEL",
    "OUTPUT",
    "AllowEvaluationData",
    "AsJson",
    "CalibrationFrames",
    "Cameras",
    "DataArgument",
    "EngineName",
    "ExpandQueries",
    "FalseMatchRate",
    "LayoutName",
    "LayoutOption",
    "MaxPixels",
    "ModelOption",
    "NotCameras",
    "OtherCameras",
    "PrecisionOption",
    "RangeMethod",
    "RangesOption",
    "Rerank",
    "SeenSince",
    "SeenUntil",
    "SessionOption",
    "ShardOption",
    "SightingsOption",
    "TravelTimesOption",
    "finite",
    "whole_number",
]

FILTERS = "Filters"
MODEL = "Model"
DATA = "Data"
CALIBRATION = "Calibration"
OUTPUT = "Output"
"""Panels of --help that several commands have, in this order."""

LARGEST_SEED = 2**32 - 1
"""Every generator of random numbers takes seeds up to here."""

DEFAULT_PIXELS = 2**25
"""Default of MaxPixels: with room to spare, what a camera of 24 megapixels takes."""

_PIXELS = "REID_MAX_PIXELS"

_MOST_SECONDS = 1e12
"""From 0 on the data's clock, either way: some 30,000 years."""


def finite(value: float | None) -> float | None:
    """Return a number as it is; the callback of options, since no range refuses NaN. Raises BadParameter."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number.")
    return value


def whole_number(text: str, *, most: int) -> int | None:
    """Read a number from 1 to `most` within a larger word; return None where it is something else."""
    # The length first: Python refuses to read thousands of digits.
    if len(text) <= len(str(most)) and text.isascii() and text.isdecimal() and 1 <= int(text) <= most:
        return int(text)
    return None


def _set_pixel_limit(value: int) -> int:
    os.environ[_PIXELS] = str(value)  # where whatever decodes images reads it, also in the processes of this one
    return value


def _shard(text: str | None) -> str | None:
    if text is not None:
        from reid.runtime.errors import DataError
        from reid.runtime.shards import Shard

        try:
            Shard.parse(text)
        except DataError as error:
            raise typer.BadParameter(str(error)) from None
    return text


LayoutName: TypeAlias = Literal[
    "veri", "cityflow", "vehicleid", "veriwild", "tracklets", "vehicle-folders", "camera-vehicle", "flat", "table"
]
RangeMethod: TypeAlias = Literal["auto", "max", "percentile", "entropy", "mse"]
EngineName: TypeAlias = Literal["none", "tensorrt", "tensorrt-rtx"]

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON.", rich_help_panel=OUTPUT)]
DataArgument: TypeAlias = Annotated[
    Path, typer.Argument(metavar="DATA", help="Folder or archive of a data set, or its table.")
]
LayoutOption: TypeAlias = Annotated[
    LayoutName | None, typer.Option(help="Layout of DATA; recognized if left out.", rich_help_panel=DATA)
]
MaxPixels: TypeAlias = Annotated[
    int,
    typer.Option(
        min=1,
        max=2**30,
        envvar=_PIXELS,
        callback=_set_pixel_limit,
        help="Largest image that is decoded, in pixels.",
        rich_help_panel=DATA,
    ),
]
ExpandQueries: TypeAlias = Annotated[
    int,
    typer.Option(
        metavar="K", min=0, max=1000, help="Average each query with its K nearest gallery entries; 0 for none."
    ),
]
Rerank: TypeAlias = Annotated[bool, typer.Option("--rerank", help="Re-rank by k-reciprocal neighbors.")]
FalseMatchRate: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="RATE",
        min=1e-9,
        max=0.5,
        callback=finite,
        help="Decide which matches are the same vehicle by the model's threshold at this rate: 1e-2, 1e-3 or 1e-4.",
    ),
]
ShardOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        callback=_shard,
        help="Take part I of N of the tracklets, as 3/16; others take theirs.",
    ),
]
Cameras: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--camera", metavar="NAME", help="Only matches of this camera; repeatable.", rich_help_panel=FILTERS),
]
NotCameras: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--not-camera", metavar="NAME", help="No matches of this camera; repeatable.", rich_help_panel=FILTERS
    ),
]
OtherCameras: TypeAlias = Annotated[
    bool, typer.Option("--other-cameras", help="No matches of the query's own camera.", rich_help_panel=FILTERS)
]
SeenSince: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--since",
        metavar="SECONDS",
        min=-_MOST_SECONDS,
        max=_MOST_SECONDS,
        callback=finite,
        help="Only matches seen at this time or later, on the data's clock.",
        rich_help_panel=FILTERS,
    ),
]
SeenUntil: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--until",
        metavar="SECONDS",
        min=-_MOST_SECONDS,
        max=_MOST_SECONDS,
        callback=finite,
        help="Only matches seen at this time or before.",
        rich_help_panel=FILTERS,
    ),
]
TravelTimesOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--travel-times",
        metavar="FILE",
        help="Only matches that the vehicle can have reached in time, by a file of reid-gallery learn-travel.",
        rich_help_panel=FILTERS,
    ),
]
SightingsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--sightings",
        metavar="FILE",
        help="CSV file with the columns id, camera and time_s: where and when tracklets were seen.",
        rich_help_panel=DATA,
    ),
]
ModelOption: TypeAlias = Annotated[
    Path, typer.Option("--model", help="A bundle, an .onnx file, a checkpoint or a run.", rich_help_panel=MODEL)
]
SessionOption: TypeAlias = Annotated[
    str,
    typer.Option(
        help="Backend, with its device after a colon if wanted: openvino, onnxruntime:cpu, torch:cuda. With "
        "+nvimgcodec at the end, the GPU decodes JPEG files.",
        rich_help_panel=MODEL,
    ),
]
PrecisionOption: TypeAlias = Annotated[
    Precision, typer.Option(help="Which of the bundle's graphs to run.", rich_help_panel=MODEL)
]
CalibrationFrames: TypeAlias = Annotated[
    int, typer.Option(min=1, max=1_000_000, help="Number of frames to calibrate on.", rich_help_panel=CALIBRATION)
]
RangesOption: TypeAlias = Annotated[
    RangeMethod,
    typer.Option(help="Method that chooses INT8 ranges; auto measures which one is best.", rich_help_panel=CALIBRATION),
]
AllowEvaluationData: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--calibrate-on-evaluation-data",
        help="Calibrate on query and gallery images if there is no training split.",
        rich_help_panel=CALIBRATION,
    ),
]
