"""Sessions keep to the user's limit of threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from reid.runtime.errors import ReidError
from reid.runtime.sessions.onnxruntime import load_onnxruntime
from reid.runtime.sessions.threads import thread_limit


@pytest.mark.parametrize(
    ("value", "limit"), [("3", 3), (" 2 ", 2), ("4,2", 4), (" 4 , 2,1", 4), ("1024", 1024), ("", 0), ("  ", 0)]
)
def test_the_variable_is_read_as_openmp_reads_it(value: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert thread_limit() == limit


@pytest.mark.parametrize(
    "value",
    ["0", "-1", "many", "1025", "99999999999", "9" * 5000, "2.5", "\u0663", "4,many", "4,", ",", "0,2", "9999,2"],
)
def test_what_is_no_number_of_threads_is_one_line(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    with pytest.raises(ReidError) as refused:
        thread_limit()
    assert str(refused.value).startswith(f"OMP_NUM_THREADS is {value[:40]!r}: set it to ")
    assert str(refused.value).isprintable()


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
