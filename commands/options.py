"""Options that several commands share: each is declared once, with its help, and belongs to one panel."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from reid.runtime.precision import Precision

__all__ = [
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

LayoutName: TypeAlias = Literal["veri", "cityflow", "tracklets", "flat"]
RangeMethod: TypeAlias = Literal["auto", "max", "percentile", "entropy", "mse"]
EngineName: TypeAlias = Literal["none", "tensorrt", "tensorrt-rtx"]

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
DataArgument: TypeAlias = Annotated[Path, typer.Argument(metavar="DATA", help="Folder of a data set.")]
LayoutOption: TypeAlias = Annotated[LayoutName | None, typer.Option(help="Layout of DATA; recognized if left out.")]
SessionOption: TypeAlias = Annotated[
    str, typer.Option(help="Backend, with a device if wanted: onnxruntime:cpu, torch:cuda.")
]
PrecisionOption: TypeAlias = Annotated[Precision, typer.Option(help="Which graph of a bundle.")]
CalibrationFrames: TypeAlias = Annotated[int, typer.Option(min=1, help="Number of frames to calibrate on.")]
RangesOption: TypeAlias = Annotated[RangeMethod, typer.Option(help="How INT8 ranges are chosen; auto measures it.")]
AllowEvaluationData: TypeAlias = Annotated[
    bool, typer.Option("--calibrate-on-evaluation-data", help="Use it where there is no training split.")
]
