"""What graphs are compared on: queries and gallery as PyTorch embeds them, and the reference crops."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid.data.dataset import Dataset
from reid.evaluation.verification.gate import Reference, compare_retrieval, verify_embeddings
from reid.evaluation.verification.records import PrecisionVerification, Tolerance
from reid.export.watcher import FrameCounter
from reid.runtime.model_card import Level
from reid.runtime.sessions.onnxruntime import OnnxRuntimeSession, best_device

__all__ = ["Judge"]


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """Decides whether a graph is within tolerance.

    Attributes:
        data: whose queries and gallery are embedded; None where the reference crops alone are compared.
        reference: PyTorch's embeddings of these, and what they find; None where `data` is.
        crops: uint8 [n, 3, H, W], the reference crops.
        embeddings: float32 [n, D], PyTorch's of these.
        tolerance: how far a graph may fall.
    """

    data: Dataset | None
    reference: Reference | None
    crops: NDArray[np.uint8]
    embeddings: NDArray[np.float32]
    tolerance: Tolerance

    def compare(
        self,
        precision: str,
        graph: Path,
        levels: Sequence[Level],
        on_frames: Callable[[int, int], None] = lambda done, total: None,
    ) -> PrecisionVerification:
        """Run a graph with ONNX Runtime and compare it with PyTorch; the result is without `drift`.

        Args:
            precision: the graph's.
            graph: of the same model.
            levels: of the model, in the order of their concatenation.
            on_frames: called with (frames embedded, frames in all).
        """
        with OnnxRuntimeSession(graph, best_device()) as session:
            candidates = {precision: session}
            (on_crops,) = verify_embeddings(self.embeddings, candidates, self.crops, self.tolerance, levels=levels)
            if self.reference is None:
                return on_crops
            found = compare_retrieval(
                self.reference, precision, session, self.tolerance, levels=levels, progress=FrameCounter(on_frames)
            )
        # The crops are pooled with weights other than 0 and 1, which no data set has.
        failures = tuple(dict.fromkeys((*found.failures, *on_crops.failures)))
        return found.model_copy(update={"failures": failures})

    @property
    def title(self) -> str:
        """What it compares on, for people."""
        if self.data is None:
            return f"{len(self.crops)} reference crops"
        return f"{len(self.data.query.images)} queries of {self.data.root.resolve().name} ({self.data.layout})"

    def digest(self) -> str:
        """Give a hash of all of PyTorch's embeddings, which tells one judge's data from another's."""
        digest = hashlib.sha256(self.embeddings.tobytes())
        for embedding in self.reference.data.embeddings.values() if self.reference else ():
            digest.update(embedding.tobytes())
        return digest.hexdigest()
