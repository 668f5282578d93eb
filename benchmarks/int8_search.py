"""The INT8 search on plain and on hostile models: what it finds, and after how many evaluations.

A hostile model has guilty layers: one channel before each is scaled by 1,000, and undone in its weights. PyTorch's
answers remain the same, but the scale of the layer's input is too coarse for all other channels. Every normalization
with the layer after it is such a position if that holds, which is measured::

    python benchmarks/int8_search.py VeRi runs/resnet18 runs/efficientnet --positions 8 \
        --json benchmarks/results/int8_search.json
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from comparison import versions
from torch import Tensor, nn

from reid.calibration.selection import open_calibration_data
from reid.data.layout import open_dataset
from reid.evaluation.verification.records import Tolerance
from reid.export.bundle import ExportRequest, write_bundle
from reid.export.int8.plan import CalibrationRequest
from reid.export.int8.record import Int8Record
from reid.runtime.errors import ReidError
from reid.runtime.files.storage import atomic_write
from reid.runtime.imaging import decode, resize
from reid.train.model.checkpoint import Checkpoint, load_checkpoint

Position: TypeAlias = tuple[str, str]
"""A normalization, and the layer that reads it."""

FACTOR = 1000.0
UNCHANGED = 1e-4
"""Largest change of an embedding's element that is rounding."""


def main() -> None:
    """Search every model, print the table and write the result."""
    options = parse()
    rows: list[dict[str, Any]] = []
    for run in options.runs:
        for guilty in [[], *chosen(load_checkpoint(run), options.positions)]:
            rows.append(search(load_checkpoint(run), options, guilty))
            print(line(rows[-1]), flush=True)
    result = {"cores": os.cpu_count(), "versions": versions("reid", "onnxruntime-gpu", "openvino"), "searches": rows}
    if options.json:
        atomic_write(options.json, (json.dumps(result, indent=2) + "\n").encode())
        atomic_write(options.json.with_suffix(".md"), table(rows).encode())


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="data set to calibrate and to judge on")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run of reid-train")
    parser.add_argument("--positions", type=int, default=4, help="hostile models of each run [default: 4]")
    parser.add_argument("--frames", type=int, default=64, help="frames to calibrate on [default: 64]")
    parser.add_argument("--tolerance", type=float, default=0.5, help="how far mAP may fall, in points [default: 0.5]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there, and a table beside it")
    return parser.parse_args(words)


def chosen(checkpoint: Checkpoint, count: int) -> list[list[Position]]:
    """Return guilty layers for each hostile model: one at a time, evenly over the depth, and then the outermost two."""
    found = list(positions(checkpoint))
    if not found or not count:
        return []
    picked = sorted({round(index) for index in np.linspace(0, len(found) - 1, count)})
    alone = [[found[index]] for index in picked]
    return [*alone, [found[0], found[-1]]] if len(found) > 1 else alone


def positions(checkpoint: Checkpoint) -> Iterator[Position]:
    """Yield every normalization with the next layer, where a scaled channel is undone."""
    modules = [
        (name, module)
        for name, module in checkpoint.model.backbone.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d | nn.LayerNorm)
    ]
    expected = embed(checkpoint)
    for (first, norm), (second, layer) in itertools.pairwise(modules):
        if not isinstance(norm, nn.BatchNorm2d | nn.LayerNorm) or not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        if layer.weight.shape[1] not in (1, norm.weight.shape[0]):
            continue
        state = {name: value.clone() for name, value in checkpoint.model.state_dict().items()}
        plant(checkpoint, (first, second))
        if float((embed(checkpoint) - expected).abs().max()) < UNCHANGED:
            yield first, second
        checkpoint.model.load_state_dict(state)


@torch.inference_mode()
def plant(checkpoint: Checkpoint, position: Position) -> None:
    """Scale the channel with the largest values, and undo it in the layer that reads it."""
    norm, layer = (checkpoint.model.backbone.get_submodule(name) for name in position)
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].abs()))
    embed(checkpoint)
    hook.remove()
    axis = 1 if isinstance(layer, nn.Conv2d) else seen[0].ndim - 1
    channel = int(seen[0].amax([one for one in range(seen[0].ndim) if one != axis]).argmax())
    norm.weight[channel] *= FACTOR
    norm.bias[channel] *= FACTOR
    depthwise = layer.weight.shape[1] == 1
    layer.weight[channel if depthwise else (slice(None), channel)] /= FACTOR


@torch.inference_mode()
def embed(checkpoint: Checkpoint) -> Tensor:
    """Return the embeddings of the reference crops."""
    size = checkpoint.card.preprocessing
    crops = [resize(decode(content, name), size.height, size.width) for name, content in checkpoint.reference.items()]
    frames = torch.from_numpy(np.stack(crops).transpose(0, 3, 1, 2).copy())
    found = checkpoint.model.eval()(frames)
    return torch.cat(list(found), dim=1) if isinstance(found, list | tuple) else found


def search(checkpoint: Checkpoint, options: argparse.Namespace, guilty: Sequence[Position]) -> dict[str, Any]:
    """Make the model hostile, export it, and return what the search found."""
    for position in guilty:
        plant(checkpoint, position)
    request = CalibrationRequest(open_calibration_data(options.data), frames=options.frames)
    data = open_dataset(options.data, needs="query")
    asked = ExportRequest(int8=request, data=data, tolerance=Tolerance(map=options.tolerance))
    start = time.perf_counter()
    row: dict[str, Any] = {
        "backbone": checkpoint.card.backbone,
        "image_size": checkpoint.card.preprocessing.height,
        "queries": len(data.query.images),
        "guilty": [f"backbone.{layer}" for _, layer in guilty],
    }
    with tempfile.TemporaryDirectory() as folder:
        try:
            made = write_bundle(checkpoint, Path(folder) / "bundle", asked).int8
        except ReidError as error:
            return row | {"error": str(error)}
    assert isinstance(made, Int8Record)
    final = next(one for one in reversed(made.evaluations) if set(one.in_fp16) == set(made.in_fp16))
    fall = final.largest_fall
    return row | {
        "in_fp16": list(made.in_fp16),
        "int8_percent": round(made.int8_percent, 2),
        "evaluations": len(made.evaluations),
        "worst_map_change": round(fall[1], 3) if fall else None,
        "similarity": round(final.similarity, 5),
        "judged_by": made.judged_by,
        "methods": {method: round(error, 6) for method, error in made.sensitivity.method_errors.items()},
        "steps": [[len(one.in_fp16), one.passed, one.strain] for one in made.evaluations],
        "minutes": round((time.perf_counter() - start) / 60, 2),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the searches as a Markdown table."""
    head = ["network", "guilty", "evaluations", "layers in FP16", "work in INT8", "largest fall of mAP", "minutes"]
    lines = [head, ["---", "---", *["---:"] * 5], *(cells(row) for row in rows)]
    return "".join(f"| {' | '.join(one)} |\n" for one in lines)


def cells(row: dict[str, Any]) -> list[str]:
    """Return a row of the table."""
    guilty = ", ".join(f"`{name.removeprefix('backbone.')}`" for name in row["guilty"]) or "none"
    if "error" in row:
        return [row["backbone"], guilty, "refused", "", "", "", ""]
    return [
        row["backbone"],
        guilty,
        str(row["evaluations"]),
        str(len(row["in_fp16"])),
        f"{row['int8_percent']:.1f} %",
        f"{row['worst_map_change']:+.2f}",
        f"{row['minutes']:.1f}",
    ]


def line(row: dict[str, Any]) -> str:
    """Return a row for people who wait."""
    return json.dumps(row)


if __name__ == "__main__":
    sys.exit(main())
