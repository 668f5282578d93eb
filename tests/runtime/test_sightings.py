"""When and where tracklets were seen, from a CSV file."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reid.runtime.errors import DataError
from reid.runtime.sightings import Seen, read_sightings

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=8)
CAMERAS = NAMES.filter(lambda name: name == name.strip())
TIMES = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(NAMES, st.tuples(st.none() | CAMERAS, TIMES), max_size=6),
    st.permutations(["id", "camera", "time_s"]),
)
def test_what_was_written_is_read(
    tmp_path: Path, rows: dict[str, tuple[str | None, float | None]], columns: list[str]
) -> None:
    with (tmp_path / "seen.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for name, (camera, time_s) in rows.items():
            writer.writerow({"id": name, "camera": camera, "time_s": time_s})
    found = read_sightings(tmp_path / "seen.csv")
    assert found == {name: Seen(camera, time_s) for name, (camera, time_s) in rows.items()}


def test_spreadsheets_and_names_that_are_no_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "seen.csv"
    path.write_bytes(b"\xef\xbb\xbfid,time_s\r\na,1\r\n\r\n\xff.jpg, 2.5 \r\n")
    assert read_sightings(path) == {"a": Seen(None, 1.0), "\udcff.jpg": Seen(None, 2.5)}
    path.write_text("camera,id\n7,a\n,b")
    assert read_sightings(path) == {"a": Seen("7", None), "b": Seen(None, None)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has the columns []"),
        ("id\na", "has the columns ['id']"),
        ("a,c1,2\n", "has the columns ['a', 'c1', '2']"),
        ("id,time_s,time_s\n", "has the columns"),
        ("id, camera\nq.jpg, north", "has the columns ['id', ' camera']"),
        ("id,camera\nq.jpg, north", "line 2: the camera is ' north'; write it without blanks"),
        ("id,camera\nq.jpg,north\t", r"line 2: the camera is 'north\t'"),
        ("id,time_s\na,1,2", "line 2: 3 cells, expected 2"),
        ("id,time_s\na,1\na,2", "line 3: 'a' is there twice"),
        ("id,time_s\n,1", "line 2: the id is empty"),
        ("id,time_s\na,noon", "line 2: the time is 'noon'; write seconds"),
        ("id,time_s\na,nan", "line 2: the time is 'nan'"),
        ('id,time_s\n"a,1', "line 2: unexpected end of data"),
    ],
)
def test_anything_else_is_said_so(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "seen.csv"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        read_sightings(path)
    assert str(error.value).startswith(str(path))
    assert says in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: No such file or directory; give a CSV file"):
        read_sightings(tmp_path / "nowhere")
