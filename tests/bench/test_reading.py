"""Stored results: read as written, and damaged ones refused in one line with a remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bench_results import sample

from reid.bench.reading import read_result
from reid.runtime.errors import DataError


@pytest.mark.parametrize("name", ["bench.json", "."])
def test_a_file_or_its_folder_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "bench.json").write_text(sample().model_dump_json())
    assert read_result(tmp_path / name) == sample()


def damaged(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {**json.loads(sample().model_dump_json()), **changes}


def with_first_batch(**changes: Any) -> str:  # noqa: ANN401 - JSON
    stored = damaged()
    batch = stored["subjects"][0]["batches"][0]
    batch |= changes
    return json.dumps(stored)


SUBJECT = damaged()["subjects"][0]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "Invalid JSON"),
        ("[]", "Input should be"),
        (json.dumps(damaged(format_version=2)), "format version 2 is newer than 1: update reid"),
        (json.dumps(damaged(seconds="long")), "seconds"),
        (json.dumps(damaged(surplus=1)), "surplus"),
        (json.dumps(damaged(subjects=[SUBJECT, SUBJECT])), "it holds 'openvino fp32' twice"),
        (json.dumps(damaged(subjects=[{**SUBJECT, "batches": SUBJECT["batches"][::-1]}])), "do not ascend"),
        (with_first_batch(frames_per_s={"value": 0, "low": 0, "high": 0}), "is not positive"),
        (with_first_batch(frames_per_s={"value": 3, "low": 4, "high": 5}), "outside its own interval"),
    ],
)
def test_a_damaged_one_gets_one_line_with_a_remedy(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "bench.json"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_result(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: the benchmark result is not valid (")
    assert problem in message
    assert message.endswith("; give a bench.json that reid-bench wrote, or run reid-bench again")
    assert "\n" not in message


def test_a_missing_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none: No such file or directory; give a bench\.json"):
        read_result(tmp_path / "none")
