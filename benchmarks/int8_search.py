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
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from result_files import environment, markdown_table, script_parser, write_result
from torch import Tensor, nn

from reid.calibration.selection import open_calibration_data
from reid.data.layout import open_dataset
from reid.evaluation.verification.records import Tolerance
from reid.evaluation.verification.reference import Crops, Reference, embed_retrieval, facts_of
from reid.export.fp16 import write_fp16_graph
from reid.export.graph import export_graph
from reid.export.int8.calibrated import write_int8_graph
from reid.export.int8.plan import CalibrationPlan, CalibrationRequest
from reid.export.int8.record import Int8Record
from reid.runtime.bundle import graph_file
from reid.runtime.errors import GateError
from reid.runtime.imaging import as_model_input, decode
from reid.runtime.sessions.session import run
from reid.train.model.checkpoint import Checkpoint, load_checkpoint
from reid.train.session import torch_session

Position: TypeAlias = tuple[str, str]
"""A normalization, and the layer that reads it."""

FACTOR = 1000.0
UNCHANGED = 1e-4
"""Largest change of an embedding's element that is rounding."""


def main() -> None:
    """Search every model, print the table and write the result."""
    options = parse()
    rows: list[dict[str, Any]] = []
    for folder in options.runs:
        reference = reference_of(load_checkpoint(folder), options)
        for guilty in [[], *chosen(load_checkpoint(folder), options.positions)]:
            rows.append(search(load_checkpoint(folder), options, reference, guilty))
            print(json.dumps(rows[-1]), flush=True)
    print(table(rows), end="")
    if options.json:
        write_result(options.json, {"environment": environment(), "searches": rows}, table(rows))


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = script_parser(__doc__)
    parser.add_argument("data", type=Path, metavar="DATA", help="data set to calibrate and to judge on")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run of reid-train")
    parser.add_argument("--positions", type=int, default=4, help="hostile models of each run [default: 4]")
    parser.add_argument("--frames", type=int, default=64, help="frames to calibrate on [default: 64]")
    parser.add_argument("--tolerance", type=float, default=0.5, help="how far mAP may fall, in points [default: 0.5]")
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
    assert isinstance(norm, nn.BatchNorm2d | nn.LayerNorm)
    assert isinstance(layer, nn.Conv2d | nn.Linear)
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
    embeddings: Tensor = checkpoint.model.eval()(torch.from_numpy(frames_of(checkpoint)))
    return embeddings


def frames_of(checkpoint: Checkpoint) -> NDArray[np.uint8]:
    """Return the reference crops."""
    size = checkpoint.card.preprocessing
    crops = (decode(content, name) for name, content in sorted(checkpoint.reference.items()))
    return np.stack([as_model_input(crop, size) for crop in crops])


def reference_of(checkpoint: Checkpoint, options: argparse.Namespace) -> Reference:
    """Embed queries and gallery; hostile models give the same embeddings."""
    frames, data = frames_of(checkpoint), open_dataset(options.data, needs="query")
    session = torch_session(checkpoint.model, checkpoint.card, torch.device("cpu"))
    crops = Crops(frames, run(session, frames, np.eye(len(frames), dtype=np.float32)).frame_embedding)
    retrieval = embed_retrieval(session, data.query, data.gallery)
    facts = facts_of(data, retrieval)
    return Reference(checkpoint.card.levels, crops, retrieval, facts, Tolerance(map=options.tolerance))


def search(
    checkpoint: Checkpoint, options: argparse.Namespace, reference: Reference, guilty: Sequence[Position]
) -> dict[str, Any]:
    """Make the model hostile, and return what the search found."""
    for position in guilty:
        plant(checkpoint, position)
    row: dict[str, Any] = {
        "backbone": checkpoint.card.backbone,
        "image_size": checkpoint.card.preprocessing.height,
        "guilty": [f"backbone.{layer}" for _, layer in guilty],
    }
    request = CalibrationRequest(open_calibration_data(options.data), frames=options.frames)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        fp32, fp16, int8 = (Path(folder) / graph_file(precision) for precision in ("fp32", "fp16", "int8"))
        export_graph(checkpoint.model, checkpoint.card, fp32)
        in_fp32 = write_fp16_graph(fp32, fp16, frames_of(checkpoint))
        plan = CalibrationPlan.of(request, checkpoint.card)
        try:
            made, _ = write_int8_graph(fp32, fp16, int8, plan, reference, in_fp32=in_fp32)
        except GateError as error:
            return row | {"refused": str(error)}
    alone = {name: made.sensitivity.errors[name] for name in row["guilty"]}
    return row | {"guilty_errors": alone} | facts(made) | {"minutes": round((time.perf_counter() - start) / 60, 1)}


def facts(made: Int8Record) -> dict[str, Any]:
    """Return what was found, by the evaluation that had the last word."""
    last = next(one for one in reversed(made.evaluations) if set(one.in_fp16) == set(made.in_fp16))
    return {
        "in_fp16": list(made.in_fp16),
        "int8_percent": round(made.int8_percent, 2),
        "evaluations": len(made.evaluations),
        "passed": last.passed,
        "changes": {name: round(change, 2) for name, change in last.changes.items() if "mAP" in name},
        "similarity": round(last.similarity, 4),
        "judged_by": made.judged_by,
        "method_errors": {method: round(error, 5) for method, error in made.sensitivity.method_errors.items()},
        "steps": [[len(one.in_fp16), one.strain and round(one.strain, 2)] for one in made.evaluations],
        "amax": sorted({one.method for one in made.sensitivity.layers}),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the searches as a Markdown table."""
    head = ["network", "guilty", "evaluations", "in FP16", "guilty of these", "work in INT8", "worst mAP", "minutes"]
    return markdown_table(head, [cells(row) for row in rows], texts=2)


def cells(row: dict[str, Any]) -> list[str]:
    """Return a row of the table."""
    guilty = ", ".join(f"`{name.removeprefix('backbone.')}`" for name in row["guilty"]) or "none"
    network = f"{row['backbone']}, {row['image_size']} px"
    if "refused" in row:
        return [network, guilty, "refused", *[""] * 5]
    found = len(set(row["guilty"]) & set(row["in_fp16"]))
    figures = [f"{row['int8_percent']:.1f} %", f"{min(row['changes'].values()):+.2f}", f"{row['minutes']:.1f}"]
    return [network, guilty, str(row["evaluations"]), str(len(row["in_fp16"])), str(found), *figures]


if __name__ == "__main__":
    main()
