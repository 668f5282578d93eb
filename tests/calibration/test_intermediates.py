"""Running a graph with all of its tensors as outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from reid.calibration.intermediates import run_with_intermediates


@pytest.mark.parametrize(("limit", "threads"), [("1", 1), ("3,2", 3), (None, 0)])
def test_it_uses_as_many_threads_as_a_session_may(
    graph: Path, frames: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, limit: str | None, threads: int
) -> None:
    used: list[int] = []

    class Recording(onnxruntime.InferenceSession):  # type: ignore[misc]  # no stubs
        def __init__(self, model: bytes, options: Any, **more: Any) -> None:  # noqa: ANN401
            used.append(options.intra_op_num_threads)
            super().__init__(model, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Recording)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if limit is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert dict(run_with_intermediates(graph, frames[:1]))
    assert used == [threads]
