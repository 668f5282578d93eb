"""A ResNet50 of three levels, trained for seconds on rendered vehicles, and its FP32, FP16 and INT8 graphs.

Later sections read what this one leaves. The INT8 ranges are the largest values over a few crops: what is proven is
that every runtime computes the same graph, not that its ranges are the best.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from proving import Proof, prove
from subjects import batches_of, learner_of, load_crops, recipe_of
from torch import Tensor

from reid.calibration.intermediates import run_with_intermediates
from reid.calibration.layers import find_layers
from reid.calibration.quantize import quantize
from reid.data.layout import open_dataset
from reid.data.synthesis.veri import synthesize
from reid.export.fp16 import write_fp16_graph
from reid.export.graph import export_graph
from reid.runtime.tracklet import Tracklet
from reid.train.builders import build_model
from reid.train.learner import Learner
from reid.train.model.checkpoint import load_checkpoint, save_checkpoint
from reid.train.recipe import Recipe
from reid.train.run.provenance import reference_crops

_CALIBRATION_CROPS = 8
_SECONDS_TO_EXPORT = 28.0


def model(proof: Proof) -> None:
    """Render, train, export."""
    vehicles, cameras, seconds = (10, 2, 2.0) if proof.small else (40, 4, 10.0)
    began = time.monotonic()
    synthesize(proof.work / "veri", vehicles=vehicles, cameras=cameras)
    images = open_dataset(proof.work / "veri", needs="train").train.images
    proof.note("rendering s", time.monotonic() - began)

    recipe = recipe_of(proof)
    frames, numbers = load_crops(images, recipe.image_size)
    learner = learner_of(recipe, proof.device, int(numbers.max()) + 1)
    seconds = max(2.0, min(seconds, proof.seconds_left - _SECONDS_TO_EXPORT))
    losses = _train(learner, recipe, frames, numbers, seconds)
    proof.note("loss of every 20th step", losses)
    proof.check("the loss falls", len(losses) < 2 or losses[-1] < losses[0])
    _save(proof, learner, recipe, images)
    _export(proof, frames[:_CALIBRATION_CROPS].numpy())


def _train(learner: Learner, recipe: Recipe, frames: Tensor, numbers: Tensor, seconds: float) -> list[float]:
    """Learn for some seconds; return the loss of every 20th step."""
    losses: list[float] = []
    ends = 0.0
    for step, batch in enumerate(batches_of(frames, numbers, recipe)):
        values = learner.step(batch, recipe.learning_rate, seed=step)
        if step % 20 == 0:
            losses.append(round(values.read()["loss"], 4))
        ends = ends or time.monotonic() + seconds  # the first step starts the libraries
        if time.monotonic() > ends:
            break
    return losses


def _save(proof: Proof, learner: Learner, recipe: Recipe, images: Sequence[Tracklet]) -> None:
    _, card, _ = build_model(recipe)
    (proof.work / "run").mkdir()
    save_checkpoint(proof.work / "run", learner.model, card, reference_crops(images))


def _export(proof: Proof, crops: NDArray[np.uint8]) -> None:
    stored = load_checkpoint(proof.work / "run")
    fp32, fp16, int8 = (proof.work / f"model.{precision}.onnx" for precision in ("fp32", "fp16", "int8"))
    began = time.monotonic()
    export_graph(stored.model, stored.card, fp32)
    proof.note("export s", time.monotonic() - began)
    in_fp32 = write_fp16_graph(fp32, fp16, crops)
    proof.note("layers of the FP16 graph in FP32", [layer.layer for layer in in_fp32])
    graph = onnx.load(fp32)
    layers = find_layers(graph)
    onnx.save(quantize(onnx.load(fp16), layers, layers.names, _amax(fp32, crops, set(layers.inputs))), int8)
    proof.note("graphs MiB", {file.name: file.stat().st_size >> 20 for file in (fp32, fp16, int8)})


def _amax(graph: Path, crops: NDArray[np.uint8], tensors: set[str]) -> dict[str, float]:
    largest: dict[str, float] = defaultdict(float)
    for name, values in run_with_intermediates(graph, crops, only=tensors):
        largest[name] = max(largest[name], float(np.abs(values).max()))
    return largest


if __name__ == "__main__":
    prove(model)
