"""Running a graph with all of its tensors as outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from reid.calibration.intermediates import run_with_intermediates
from reid.runtime.errors import ModelError


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


@pytest.mark.parametrize("damage", ["no input", "no such tensor", "other sizes"])
def test_a_graph_that_cannot_be_run_is_a_model_error_of_one_line(
    model: ModelProto, frames: NDArray[np.uint8], tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = ModelProto()
    broken.CopyFrom(model)
    if damage == "no input":
        del broken.graph.input[:]
    elif damage == "no such tensor":
        broken.graph.node[3].input[0] = "nowhere"
    else:
        frames = frames[:, :, :-1]
    onnx.save(broken, tmp_path / "broken.onnx")
    with pytest.raises(
        ModelError, match=r"broken\.onnx: ONNX Runtime cannot run it \(.*\); export it again$"
    ) as caught:
        dict(run_with_intermediates(tmp_path / "broken.onnx", frames))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
