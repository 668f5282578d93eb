from __future__ import annotations

import os
from pathlib import Path

import pytest

from reid.evaluation.verification.records import Tolerance
from reid.evaluation.verification.tolerances import read_tolerance
from reid.runtime.errors import DataError


def test_what_the_file_leaves_out_keeps_its_default(tmp_path: Path) -> None:
    path = tmp_path / "tolerance.json"
    path.write_text('{"map": 1.5, "similarity": 0.95}')
    assert read_tolerance(path) == Tolerance(map=1.5, rank=0.5, similarity=0.95)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "JSON"),
        (b"map = 0.5", "JSON"),
        (b"\xff\xfe\x00", "JSON"),
        (b"[0.5]", "object"),
        (b'{"map": -1}', "map"),
        (b'{"map": "much"}', "map"),
        (b'{"map": NaN}', "map"),
        (b'{"rank": Infinity}', "rank"),
        (b'{"similarity": 1.5}', "similarity"),
        (b'{"mAP": 0.5}', "mAP"),
    ],
)
def test_a_bad_file_is_one_line_that_names_file_and_field(content: bytes, named: str, tmp_path: Path) -> None:
    path = tmp_path / "tolerance.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=named) as caught:
        read_tolerance(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_told_so(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    for path, named in (
        (tmp_path / "absent.json", "No such file"),
        (tmp_path, "a folder, not a file"),
        (pipe, "a named pipe, not a file"),
    ):
        with pytest.raises(DataError, match=f"{path}: {named}.*; give a JSON file like"):
            read_tolerance(path)
