"""Options that several commands share: each is declared once, with its help and the panel it is listed in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from reid.runtime.precision import Precision

__all__ = [
    "CALIBRATION",
    "DATA",
    "MODEL",
    "OUTPUT",
    "AllowEvaluationData",
    "AsJson",
    "CalibrationFrames",
    "DataArgument",
    "EngineName",
    "LayoutName",
    "LayoutOption",
    "PrecisionOption",
    "RangeMethod",
    "RangesOption",
    "SessionOption",
]

MODEL = "Model"
DATA = "Data"
CALIBRATION = "Calibration"
OUTPUT = "Output"
"""Panels of --help that several commands have, in this order."""

LayoutName: TypeAlias = Literal["veri", "cityflow", "tracklets", "flat"]
RangeMethod: TypeAlias = Literal["auto", "max", "percentile", "entropy", "mse"]
EngineName: TypeAlias = Literal["none", "tensorrt", "tensorrt-rtx"]

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON.", rich_help_panel=OUTPUT)]
DataArgument: TypeAlias = Annotated[Path, typer.Argument(metavar="DATA", help="Folder of a data set.")]
LayoutOption: TypeAlias = Annotated[
    LayoutName | None, typer.Option(help="Layout of DATA; recognized if left out.", rich_help_panel=DATA)
]
SessionOption: TypeAlias = Annotated[
    str,
    typer.Option(
        help="Backend, with its device after a colon if wanted: openvino, onnxruntime:cpu, torch:cuda.",
        rich_help_panel=MODEL,
    ),
]
PrecisionOption: TypeAlias = Annotated[
    Precision, typer.Option(help="Which of the bundle's graphs to run.", rich_help_panel=MODEL)
]
CalibrationFrames: TypeAlias = Annotated[
    int, typer.Option(min=1, help="Number of frames to calibrate on.", rich_help_panel=CALIBRATION)
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
