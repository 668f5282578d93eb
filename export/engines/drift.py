"""Where an engine departs from its graph: engines that give tensors of layers, beside the graph's own.

An engine can only be wrong where it departs from the graph that it was built from; where that is wrong, too, it is
compared with the FP32 graph. Graphs run by ONNX Runtime on the CPU, which shares no code with TensorRT: an FP32 engine
of the same TensorRT could share the fault. This needs neither onnx nor PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.verification.drift import DRIFT_THRESHOLD
from reid.evaluation.verification.graph_drift import drifted_layers
from reid.evaluation.verification.graph_layers import GraphLayers, Layer
from reid.evaluation.verification.layer_errors import TensorError, largest_drift, layer_errors
from reid.evaluation.verification.records import DriftSearch, LayerDrift
from reid.runtime.errors import ModelError
from reid.runtime.graph_names import FRAME_EMBEDDING, FRAMES, POOLED, POOLING
from reid.runtime.precision import Precision
from reid.runtime.sessions.session import Session, run

__all__ = ["MOST_BUILDS", "DriftFound", "MarkedEngines", "Run", "Suspect", "find_drift"]

MOST_BUILDS = 9
"""The most engines that are built to find a fault: one that gives every tensor and, where that is right, one that gives
none and seven that give some."""

Run: TypeAlias = Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]
"""Inputs -> outputs of an engine, by their names."""

MarkedEngines: TypeAlias = Callable[[Collection[str]], AbstractContextManager[Run]]
"""Tensors -> an engine that gives these, too, where it has them; the build is done on entry."""

_THRESHOLDS: dict[Precision, float] = {"fp32": DRIFT_THRESHOLD, "fp16": DRIFT_THRESHOLD, "int8": 0.1}
"""INT8: where a value is near the middle of two steps, the smallest difference decides. Where weights and scales differ
by what FP16 rounds, layers are up to 2.5 % off in a network of 15, and 0.14 % in FP16."""

_FRAMES = 4
_OUTPUTS = (FRAME_EMBEDDING, POOLED)
_BETWEEN = ("QuantizeLinear", "DequantizeLinear")
"""What TensorRT takes into the layer before or behind it: a tensor between the two would change the precision."""


@dataclass(frozen=True, slots=True, eq=False)
class Suspect:
    """An engine outside tolerance, and what it was built from.

    Attributes:
        session: the engine's session.
        graph: the graph that it was built from.
        fp32: the FP32 graph.
        frames: frames on which it may be wrong, uint8 [n, 3, H, W]; the worst few are looked at.
    """

    session: Session
    graph: Path
    fp32: Path
    frames: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class DriftFound:
    """The layers that drifted, largest error first, and how they were found."""

    layers: tuple[LayerDrift, ...]
    how: DriftSearch


def find_drift(suspect: Suspect, engines: MarkedEngines) -> DriftFound:
    """Find where an engine departs from its graph.

    Args:
        suspect: the engine.
        engines: builds it again, with tensors of layers among its outputs.

    Raises:
        ModelError: there is nothing to be found: one frame at a time, the engine is right.
        ReidError: an engine cannot be built or run.
    """
    precision = suspect.session.info.precision
    threshold = _THRESHOLDS[precision]
    graph = GraphLayers(suspect.graph)
    expected = _embeddings(graph, suspect.frames)
    alone = np.concatenate([_embed(suspect.session, frame[None]) for frame in suspect.frames])
    errors = [_error(*pair) for pair in zip(expected, alone, strict=True)]
    worst = sorted(range(len(errors)), key=lambda index: -errors[index])[:_FRAMES]
    frames = suspect.frames[sorted(worst)]
    if errors[worst[0]] > threshold:
        return _Search(graph, frames, engines, threshold, _error(expected[worst], alone[worst])).result()
    together = _error(expected, _embed(suspect.session, suspect.frames))
    if together > threshold:
        raise ModelError(
            f"only batches of several frames are wrong ({100 * together:.3g} % off), and one frame at a time is right"
        )
    if precision == "fp32":
        raise ModelError(f"on {len(suspect.frames)} frames, the session gives what its graph gives")
    layers = drifted_layers(suspect.fp32, suspect.graph, frames)
    return DriftFound(layers, DriftSearch(threshold=DRIFT_THRESHOLD, place="graph"))


def _embeddings(graph: GraphLayers, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate([given[FRAME_EMBEDDING] for given in graph.run(frames, [FRAME_EMBEDDING])])


def _embed(session: Session, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    size = min(session.limits.frames, session.limits.tracklets)
    batches = (np.ascontiguousarray(frames[start : start + size]) for start in range(0, len(frames), size))
    with np.errstate(invalid="ignore", over="ignore"):
        return np.concatenate(
            [run(session, batch, np.eye(len(batch), dtype=np.float32)).frame_embedding for batch in batches]
        )


def _error(expected: NDArray[np.float32], actual: NDArray[np.float32]) -> float:
    """Return the relative error of embeddings; infinite where these are not finite."""
    error = TensorError()
    error.add(expected, actual)
    return math.inf if error.not_finite else error.relative


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What an engine that gives tensors gave: each layer beside the graph's, and the error of its embeddings."""

    layers: list[LayerDrift]
    marked: int
    error: float


@dataclass(slots=True)
class _Search:
    """The search for the fault of an engine whose embeddings of some frames are off by a relative error."""

    graph: GraphLayers
    frames: NDArray[np.uint8]
    engines: MarkedEngines
    threshold: float
    error: float
    builds: int = field(default=0, init=False)

    def result(self) -> DriftFound:
        """Let an engine give every tensor; where that is right, find the tensors that it must not give to be wrong."""
        layers = [one for one in self.graph.layers.values() if one.op not in _BETWEEN and one.tensor not in _OUTPUTS]
        attempt, fused = self._attempt(layers), list[Layer]()
        place: Literal["layer", "fusion", "build"] = "layer"
        if not self._is_wrong(attempt):
            place = "fusion" if self._is_wrong(self._attempt([])) else "build"
        if place == "fusion":
            attempt, fused = self._cornered(layers, attempt)
        how = DriftSearch(
            threshold=self.threshold,
            marked=attempt.marked,
            builds=self.builds,
            place=place,
            fused=tuple(layer.name for layer in fused),
        )
        return DriftFound(largest_drift(attempt.layers, self.threshold), how)

    def _cornered(self, layers: list[Layer], right: _Attempt) -> tuple[_Attempt, list[Layer]]:
        """Return the last engine that was wrong, and the fewest neighboring layers whose tensors it did not give.

        A half that is right alone says that the fault is in the other one, which is only known once a part of that is
        wrong: the fault may need both.
        """
        last, fused, window = right, layers, layers
        while len(window) > 1 and self.builds < MOST_BUILDS - 1:
            half, rest = window[: len(window) // 2], window[len(window) // 2 :]
            attempt = self._attempt_without(half, layers)
            if self._is_wrong(attempt):
                last, fused, window = attempt, half, half
            else:
                window = rest
        if window != fused and self._is_wrong(attempt := self._attempt_without(window, layers)):
            last, fused = attempt, window
        return last, fused

    def _attempt_without(self, fused: list[Layer], layers: list[Layer]) -> _Attempt:
        return self._attempt([layer for layer in layers if layer not in fused])

    def _is_wrong(self, attempt: _Attempt) -> bool:
        return attempt.error >= self.error / 2  # both may be infinite

    def _attempt(self, layers: Sequence[Layer]) -> _Attempt:
        self.builds += 1
        with self.engines([layer.tensor for layer in layers]) as engine:
            given = (engine({FRAMES: frame[None], POOLING: np.ones((1, 1), np.float32)}) for frame in self.frames)
            first = next(given)
            found = [layer for layer in self.graph.layers.values() if layer.tensor in first]
            names = [layer.tensor for layer in found]
            actual = ({name: one[name].astype(np.float32) for name in names} for one in chain([first], given))
            drift = layer_errors([(layer, layer) for layer in found], self.graph.run(self.frames, names), actual)
        own = dict(zip(names, drift, strict=True))[FRAME_EMBEDDING]
        error = math.inf if own.not_finite else own.relative_error
        return _Attempt(drift, len(set(names).difference(_OUTPUTS)), error)
