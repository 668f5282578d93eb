"""Sessions keep to the user's limit of threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from reid.runtime.sessions.onnxruntime import OnnxRuntimeSession
from reid.runtime.sessions.threads import thread_limit


@pytest.mark.parametrize(
    ("value", "limit"), [("3", 3), (" 2 ", 2), ("4,2", 4), ("", 0), ("0", 0), ("many", 0), ("-1", 0)]
)
def test_the_variable_is_read_as_openmp_reads_it(value: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert thread_limit() == limit


def test_onnx_runtime_is_given_the_limit(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with OnnxRuntimeSession(bundle / "model.fp32.onnx", "cpu") as session:
        assert session._session.get_session_options().intra_op_num_threads == 1
