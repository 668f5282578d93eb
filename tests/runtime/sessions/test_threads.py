"""Sessions keep to the user's limit of threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from reid.runtime.sessions.onnxruntime import load_onnxruntime
from reid.runtime.sessions.threads import thread_limit


@pytest.mark.parametrize(
    ("value", "limit"), [("3", 3), (" 2 ", 2), ("4,2", 4), ("", 0), ("0", 0), ("many", 0), ("-1", 0)]
)
def test_the_variable_is_read_as_openmp_reads_it(value: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert thread_limit() == limit


def test_onnx_runtime_is_given_the_limit(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made: list[Any] = []

    class Keeping(onnxruntime.InferenceSession):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Keeping)
    load_onnxruntime(bundle / "model.fp32.onnx", "cpu").close()
    assert made[0].get_session_options().intra_op_num_threads == 1
