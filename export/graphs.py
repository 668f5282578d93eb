"""The graphs of a bundle while it is written, and the check of those that are stored."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reid.evaluation.verification.records import LayerInFp32
from reid.runtime.bundle import Graph
from reid.runtime.errors import ModelError
from reid.runtime.opening import open_session
from reid.runtime.precision import Precision
from reid.runtime.sessions.graph import PRECISION_KEY

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["ExportedGraph", "check_graphs", "check_onnx", "errors_naming", "save_graph"]


@dataclass(frozen=True, slots=True)
class ExportedGraph:
    """A graph with what an engine built from it is held to.

    Attributes:
        graph: the graph.
        in_fp32: the layers that the graph keeps in FP32 although its precision is lower.
    """

    graph: Graph
    in_fp32: tuple[LayerInFp32, ...] = ()


def save_graph(model: ModelProto, path: Path, precision: Precision) -> None:
    """Write a graph with its precision in the metadata: outside a bundle, nothing else tells it."""
    import onnx  # not needed to add engines

    stated = {entry.key: entry.value for entry in model.metadata_props} | {PRECISION_KEY: precision}
    onnx.helper.set_model_props(model, stated)
    onnx.save(model, path)


def check_onnx(model: ModelProto, what: str, remedy: str) -> None:
    """Raise ModelError, with the reason and the remedy in one line, if a graph is not valid ONNX."""
    import onnx  # not needed to add engines

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"{what} is not valid ONNX ({' '.join(str(error).split())[:300]}); {remedy}") from None


@contextlib.contextmanager
def errors_naming(model: Path, *, instead_of: Path) -> Iterator[None]:
    """Make errors name a model instead of a temporary file or folder, which is gone by the time they are read."""
    try:
        yield
    except ModelError as error:
        raise ModelError(str(error).replace(str(instead_of), str(model))) from error


def check_graphs(bundle: Path, precisions: Iterable[Precision]) -> None:
    """Check that a bundle's graphs are those that were verified, by their hashes and by what they make of the crops.

    Raises:
        ModelError: a graph is absent or damaged, or embeds the reference crops unlike PyTorch.
    """
    for precision in precisions:
        open_session(bundle, "onnxruntime:cpu", precision).close()
