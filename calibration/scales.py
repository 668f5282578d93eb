"""The scale file: the amax of a graph's tensors, bound to that graph, to be reused, inspected and compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from reid.calibration.amax import METHODS, Method, TensorAmax, collect_amax
from reid.calibration.selection import CalibrationFacts, CalibrationSet
from reid.runtime.errors import ModelError
from reid.runtime.files.reading import sha256_of
from reid.runtime.files.storage import atomic_write
from reid.runtime.files.validation import read_stored, refuse_newer
from reid.runtime.model_card import ModelCard
from reid.runtime.progress import SILENT, Progress

__all__ = ["SCALES_FORMAT_VERSION", "Comparison", "ScaleFile", "compare", "describe", "measure_scales"]

SCALES_FORMAT_VERSION = 1

_REMEDY = "calibrate again with `reid-calibrate`"


class ScaleFile(BaseModel):
    """The values of one graph's tensors on one calibration set, stored as JSON.

    Attributes:
        format_version: the version of the file's format; a newer one is refused.
        graph_sha256: the SHA-256 of the FP32 graph; the values hold for no other graph.
        fingerprint: the model's fingerprint.
        calibration: the facts of the calibration set.
        tensors: tensor -> its amax, in the order in which the graph computes them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = Field(ge=1)
    graph_sha256: str
    fingerprint: str
    calibration: CalibrationFacts
    tensors: dict[str, TensorAmax]

    @model_validator(mode="before")
    @classmethod
    def _refuse_newer_format(cls, data: Any) -> Any:  # noqa: ANN401 - whatever the JSON holds
        return refuse_newer(data, SCALES_FORMAT_VERSION)

    @classmethod
    def load(cls, path: Path) -> ScaleFile:
        """Read a file that `save` wrote. Raise ModelError if it is absent, damaged or too new."""
        return read_stored(cls, path, what="scale file", remedy=_REMEDY)

    def save(self, path: Path) -> None:
        """Write the file as JSON; it is whole or absent."""
        atomic_write(path, (self.model_dump_json(indent=2) + "\n").encode())

    def check(self, graph: Path, tensors: Iterable[str] = ()) -> None:
        """Raise ModelError if `graph` is not the graph that was measured, or one of its tensors was not."""
        if not graph.is_file():
            raise ModelError(f"{graph}: no such graph; export it with `reid-export`")
        if (digest := sha256_of(graph)) != self.graph_sha256:
            raise ModelError(
                f"{graph} is not the graph that the scales were measured on (its SHA-256 is {digest[:12]}, not "
                f"{self.graph_sha256[:12]}); {_REMEDY}"
            )
        if absent := [name for name in tensors if name not in self.tensors]:
            raise ModelError(f"the scales of {graph} lack its tensor {absent[0]}; {_REMEDY}")

    def digest(self) -> str:
        """Return a SHA-256 that distinguishes one measurement from another."""
        return hashlib.sha256(self.model_dump_json(by_alias=True).encode()).hexdigest()


def measure_scales(
    graph: Path,
    card: ModelCard,
    frames: CalibrationSet,
    tensors: Set[str] | None = None,
    *,
    progress: Progress = SILENT,
) -> ScaleFile:
    """Run the frames through a graph and record the amax of its tensors.

    Args:
        graph: the FP32 graph.
        card: the model's card.
        frames: the frames to calibrate on.
        tensors: the names of the tensors to measure; None for every float tensor that a node computes.
        progress: follows the frames.

    Raises:
        DataError: a frame can no longer be read.
        ModelError: a value is NaN or infinite, or the graph computes no such tensor.
    """

    def followed() -> Iterator[NDArray[np.uint8]]:
        progress.begin("calibrating", frames.facts.count)
        for batch in frames.batches(card.preprocessing):
            yield batch
            progress.advance(len(batch))

    return ScaleFile(
        format_version=SCALES_FORMAT_VERSION,
        graph_sha256=sha256_of(graph),
        fingerprint=card.fingerprint,
        calibration=frames.facts,
        tensors=collect_amax(graph, followed(), tensors),
    )


def describe(scales: ScaleFile) -> list[dict[str, str | float]]:
    """Return a row for each tensor: its fraction of zeros, and for each method amax, fraction clipped and error."""
    return [
        {
            "tensor": name,
            "zeros": found.zeros,
            **{method: found.by_method[method].value for method in METHODS},
            **{f"{method} clipped": found.by_method[method].clipped for method in METHODS},
            **{f"{method} error": found.by_method[method].error for method in METHODS},
        }
        for name, found in scales.tensors.items()
    ]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The differences between two scale files.

    Attributes:
        same_graph: whether both are of the same graph.
        changes: tensor -> method -> (second - first) / the larger of the two, from -1 to 1; the tensor with the largest
            change comes first.
        only_first: the tensors that the second file lacks.
        only_second: the tensors that the first file lacks.
    """

    same_graph: bool
    changes: dict[str, dict[Method, float]]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]


def compare(first: ScaleFile, second: ScaleFile) -> Comparison:
    """Compare the amax of two scale files, tensor by tensor."""
    changes = {
        name: {
            method: _change(found.by_method[method].value, second.tensors[name].by_method[method].value)
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
