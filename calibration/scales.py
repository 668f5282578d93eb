"""The scale file: the ranges of a graph's tensors, bound to that graph, to be reused, inspected and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from reid.calibration.ranges import METHODS, Method, TensorRange, collect_ranges
from reid.calibration.selection import CalibrationFacts, CalibrationSet
from reid.runtime.errors import ModelError
from reid.runtime.model_card import ModelCard
from reid.runtime.storage import atomic_write, sha256_of

__all__ = ["SCALES_FORMAT_VERSION", "Comparison", "ScaleFile", "compare", "describe", "measure_scales"]

SCALES_FORMAT_VERSION = 1

_REMEDY = "calibrate again with `reid-calibrate`"


class ScaleFile(BaseModel):
    """What was measured on one graph with one calibration set, stored as JSON.

    Attributes:
        format_version: of this file; a newer one is refused.
        graph_sha256: of the FP32 graph; the ranges hold for no other.
        fingerprint: of the model.
        calibration: what it was measured on.
        tensors: range by the tensor's name, in the order in which the graph makes them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = Field(ge=1)
    graph_sha256: str
    fingerprint: str
    calibration: CalibrationFacts
    tensors: dict[str, TensorRange]

    @model_validator(mode="before")
    @classmethod
    def _refuse_newer_format(cls, data: Any) -> Any:  # noqa: ANN401 - whatever the JSON holds
        version = data.get("format_version") if isinstance(data, dict) else None
        if isinstance(version, int) and version > SCALES_FORMAT_VERSION:
            raise ValueError(f"format version {version} is newer than {SCALES_FORMAT_VERSION}: update reid")
        return data

    @classmethod
    def load(cls, path: Path) -> ScaleFile:
        """Read a file that `save` wrote. Raises ModelError where it is absent, damaged or too new."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ModelError(f"{path}: {error.strerror}; {_REMEDY}") from None
        except ValidationError as error:
            first = error.errors()[0]
            reason = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
            raise ModelError(f"{path}: the scale file is not valid ({reason}); {_REMEDY}") from None

    def save(self, path: Path) -> None:
        """Write it as JSON; it is whole or absent."""
        atomic_write(path, (self.model_dump_json(indent=2) + "\n").encode())

    def check(self, graph: Path) -> None:
        """Compare with the graph that the scales are to be used for. Raises ModelError where it is another one."""
        if not graph.is_file():
            raise ModelError(f"{graph}: no such graph; export it with `reid-export`")
        if (digest := sha256_of(graph)) != self.graph_sha256:
            raise ModelError(
                f"{graph} is not the graph that the scales were measured on (its SHA-256 is {digest[:12]}, not "
                f"{self.graph_sha256[:12]}); {_REMEDY}"
            )


def measure_scales(
    graph: Path,
    card: ModelCard,
    frames: CalibrationSet,
    tensors: Set[str] | None = None,
    *,
    batch_size: int = 4,
    on_frames: Callable[[int, int], None] = lambda done, total: None,
) -> ScaleFile:
    """Run the frames through a graph and record the ranges of its tensors.

    Args:
        graph: the FP32 graph.
        card: of its model.
        frames: to calibrate on.
        tensors: names of those to look at; None for all float tensors that a node makes.
        batch_size: frames at a time, which bounds the memory.
        on_frames: called with (frames done, frames in all).

    Raises:
        DataError: a frame can no longer be read.
        ModelError: a value is NaN or infinite, or the graph makes no such tensor.
    """

    def counted() -> Iterator[NDArray[np.uint8]]:
        done = 0
        for batch in frames.batches(card.preprocessing, batch_size):
            on_frames(done, frames.facts.count)
            yield batch
            done += len(batch)
        on_frames(done, frames.facts.count)

    return ScaleFile(
        format_version=SCALES_FORMAT_VERSION,
        graph_sha256=sha256_of(graph),
        fingerprint=card.fingerprint,
        calibration=frames.facts,
        tensors=collect_ranges(graph, counted(), tensors),
    )


def describe(scales: ScaleFile) -> list[dict[str, str | float]]:
    """Give a row for each tensor: its peak, its share of zeros, and of each method threshold, share clipped, error."""
    return [
        {
            "tensor": name,
            "peak": found.peak,
            "zeros": found.zeros,
            **{method: found.thresholds[method].value for method in METHODS},
            **{f"{method} clipped": found.thresholds[method].clipped for method in METHODS},
            **{f"{method} error": found.thresholds[method].error for method in METHODS},
        }
        for name, found in scales.tensors.items()
    ]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two scale files differ.

    Attributes:
        same_graph: whether they are of the same graph.
        changes: tensor -> method -> (second - first) / the larger of the two, from -1 to 1; the tensor with the largest
            change first.
        only_first: tensors that the second lacks.
        only_second: tensors that the first lacks.
    """

    same_graph: bool
    changes: dict[str, dict[Method, float]]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def compare(first: ScaleFile, second: ScaleFile) -> Comparison:
    """Compare the thresholds of two scale files, tensor by tensor."""
    changes = {
        name: {
            method: _change(found.thresholds[method].value, second.tensors[name].thresholds[method].value)
            for method in METHODS
        }
        for name, found in first.tensors.items()
        if name in second.tensors
    }
    return Comparison(
        same_graph=first.graph_sha256 == second.graph_sha256,
        changes=dict(sorted(changes.items(), key=lambda entry: -max(map(abs, entry[1].values())))),
        only_first=tuple(name for name in first.tensors if name not in second.tensors),
        only_second=tuple(name for name in second.tensors if name not in first.tensors),
    )


def _change(first: float, second: float) -> float:
    return (second - first) / max(first, second) if first != second else 0.0
