from __future__ import annotations

import builtins
import csv
import datetime
import io
import shutil
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from reid.data.dataset import Dataset, Problem
from reid.data.inspection import inspect
from reid.data.layout import open_dataset, read_dataset, recognize
from reid.data.readers import table_file
from reid.runtime.errors import DataError
from reid.runtime.tracklet import Tracklet

COLUMNS = ("path", "vehicle", "camera", "track", "time", "split")


def image(path: Path) -> None:
    """Write an image that no other has the bytes of."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(zlib.crc32(str(path).encode())).integers(0, 255, (6, 6, 3), np.uint8)
    path.write_bytes(bytes(cv2.imencode(".png", pixels)[1]))


def table(
    root: Path,
    rows: Sequence[Sequence[object]],
    columns: Sequence[str] = COLUMNS,
    **options: Any,  # noqa: ANN401
) -> Path:
    """Write a table and the images that it names."""
    text = io.StringIO()
    writer = csv.writer(text, **options)
    writer.writerow(columns)
    writer.writerows(rows)
    root.mkdir(exist_ok=True)
    (root / "my table.csv").write_text(text.getvalue(), newline="")
    for row in rows:
        image(root / str(row[0]).replace("\\", "/"))
    return root


def names(entries: Sequence[Tracklet], root: Path) -> list[tuple[str | None, str | None, tuple[str, ...]]]:
    return [
        (one.vehicle, one.camera, tuple(Path(str(frame)).relative_to(root).as_posix() for frame in one.frames))
        for one in entries
    ]


def told(dataset: Dataset) -> set[tuple[str, str]]:
    return {(problem.kind, problem.where) for problem in dataset.problems}


SPLIT = [
    ("a/1.png", "v1", "north", "", "", "train"),
    ("a/2.png", "v1", "south", "", "", "train"),
    ("b/3.png", "v2", "north", "", "", "query"),
    ("b/4.png", "v2", "south", "", "", "gallery"),
    ("b/5.png", "v3", "south", "", "", "test"),
]


def test_a_row_is_an_image_with_its_labels_and_split(tmp_path: Path) -> None:
    dataset = read_dataset(table(tmp_path / "set", SPLIT))
    root = dataset.root
    assert dataset.layout == "table"
    assert inspect(dataset).problems == ()
    assert names(dataset.train.images, root) == [("v1", "north", ("a/1.png",)), ("v1", "south", ("a/2.png",))]
    assert names(dataset.query.images, root) == [("v2", "north", ("b/3.png",))]
    assert names(dataset.gallery.images, root) == [("v2", "south", ("b/4.png",)), ("v3", "south", ("b/5.png",))]
    assert dataset.train.tracklets == dataset.gallery.tracklets == ()
    assert dataset.left_out == ()


@pytest.mark.parametrize(
    ("options", "encoding", "head"),
    [
        ({"delimiter": ";"}, "utf-8", ""),
        ({"delimiter": "\t"}, "utf-8-sig", ""),
        ({"delimiter": "\t"}, "utf-16", ""),
        ({"delimiter": ";"}, "utf-8-sig", "sep=;\r\n"),
        ({"delimiter": "|"}, "utf-8", "sep=|\n"),
        ({"quoting": csv.QUOTE_ALL, "lineterminator": "\r"}, "gb18030", ""),
    ],
)
def test_tables_of_all_spreadsheets_say_the_same(
    tmp_path: Path, options: dict[str, Any], encoding: str, head: str
) -> None:
    rows = [(f"{row[0]}".replace("/", "\\"), f"京A{row[1]}", *row[2:]) for row in SPLIT]
    root = table(tmp_path / "set", rows, ("Path", " VEHICLE ", "Camera", "Track", "Time", "Split"), **options)
    path = root / "my table.csv"
    path.write_bytes((head + path.read_bytes().decode()).encode(encoding))
    dataset = read_dataset(root)
    assert dataset.problems == ()
    assert names(dataset.query.images, root) == [("京Av2", "north", ("b/3.png",))]
    assert [image.vehicle for image in dataset.train.images] == ["京Av1", "京Av1"]


def parquet_set(root: Path, columns: Mapping[str, Any], **options: Any) -> Path:  # noqa: ANN401
    root.mkdir()
    parquet.write_table(pa.table(columns), root / "data.parquet", **options)
    for name in columns["path"].to_pylist() if isinstance(columns["path"], pa.Array) else columns["path"]:
        image(root / name)
    return root


@pytest.mark.parametrize("compression", ["snappy", "zstd", "none"])
def test_parquet_says_the_same_as_text(tmp_path: Path, compression: str) -> None:
    start = datetime.datetime(2024, 5, 1, 12, 0, 0)
    columns = {
        "time": [start + datetime.timedelta(seconds=second) for second in (5, 1, 3, 2)],
        "path": ["1.png", "2.png", "3.png", "4.png"],
        "vehicle": pa.array([7, 7, 8, 8], pa.int32()),
        "camera": pa.array(["n", "n", "s", None]).dictionary_encode(),
        "track": pa.array([1.0, 1.0, None, None]),
        "embedding": [[1.0, 2.0]] * 4,
    }
    dataset = read_dataset(parquet_set(tmp_path / "set", columns, compression=compression))
    root = dataset.root
    everything = (*dataset.train.images, *dataset.gallery.images)
    assert {one[:2] for one in names(everything, root)} == {("7", "n"), ("8", "s"), ("8", None)}
    assert names(dataset.train.tracklets, root) == [("7", "n", ("2.png", "1.png"))]
    assert dataset.notes == ("data.parquet has columns that are not used: 'embedding'",)


def test_parquet_without_pyarrow_is_one_line_with_the_command_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = parquet_set(tmp_path / "set", {"path": ["1.png"], "vehicle": ["7"]})
    real = builtins.__import__

    def without_pyarrow(name: str, *rest: Any) -> Any:  # noqa: ANN401
        if name.partition(".")[0] == "pyarrow":
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    for layout in (None, "table"):
        with pytest.raises(DataError, match=r"data.parquet: .* pip install 'reid\[table\]'$"):
            read_dataset(root, layout)


def test_parquet_that_is_damaged_or_of_other_types_is_one_line(tmp_path: Path) -> None:
    root = parquet_set(tmp_path / "set", {"path": ["1.png"], "vehicle": [["7"]]})
    with pytest.raises(DataError, match=r"column vehicle holds 'list.*write it as text or as a number"):
        read_dataset(root)
    content = (root / "data.parquet").read_bytes()
    for damaged in (content[:-20], b"PAR1", content[:4] + bytes(60) + content[64:]):
        (root / "data.parquet").write_bytes(damaged)
        with pytest.raises(DataError, match=r"data\.parquet"):
            read_dataset(root, "table")


def test_without_splits_vehicles_are_held_out(tmp_path: Path) -> None:
    rows = [(f"{v}_{c}_{k}.png", v, c) for v in "abcdefgh" for c in ("n", "s") for k in range(2)]
    dataset = read_dataset(table(tmp_path / "set", rows, COLUMNS[:3]))
    assert dataset.problems == ()
    held_out = {image.vehicle for image in dataset.gallery.images}
    assert len(held_out) == 2
    assert {image.vehicle for image in dataset.train.images} == set("abcdefgh") - held_out
    assert dataset.split_facts["by"] == "cameras"
    assert len(dataset.query.images) == 4
    every = [(*row, "", "", "train") for row in rows]
    again = read_dataset(table(tmp_path / "train only", every))
    assert again.split_facts == dataset.split_facts


@pytest.mark.parametrize(
    ("times", "order"),
    [
        (["3", "1", "2"], [1, 2, 0]),
        (["30", "-4.5", "1e3"], [1, 0, 2]),
        (["2024-05-01T10:00:00Z", "2024-05-01 09:59:59", "2024-05-01T08:00:00+02:00"], [2, 1, 0]),
        (["", "", ""], [0, 1, 2]),
        (["3", "", "1"], [0, 1, 2]),
        (["3", "noon", "1"], [0, 1, 2]),
        (["1" * 5000, "2", "1"], [0, 1, 2]),
        (["nan", "2", "1"], [0, 1, 2]),
    ],
)
def test_a_track_is_in_the_order_of_its_times_or_else_of_its_rows(
    tmp_path: Path, times: list[str], order: list[int]
) -> None:
    rows = [(f"{k}.png", "v", "c", "t", time, "gallery") for k, time in enumerate(times)]
    root = table(tmp_path / "set", rows)
    dataset = read_dataset(root)
    assert names(dataset.gallery.tracklets, root) == [("v", "c", tuple(f"{k}.png" for k in order))]
    unknown = any(time in ("noon", "nan") or len(time) > 100 for time in times)
    assert ("damaged list" in {problem.kind for problem in dataset.problems}) == unknown


def test_tracks_are_images_of_one_vehicle_and_camera_and_track(tmp_path: Path) -> None:
    rows = [
        ("1.png", "v", "n", "1", "", "gallery"),
        ("2.png", "v", "s", "1", "", "gallery"),
        ("3.png", "w", "n", "1", "", "gallery"),
        ("4.png", "v", "n", "1", "", "gallery"),
        ("5.png", "v", "n", "2", "", "gallery"),
        ("6.png", "v", "n", "", "", "gallery"),
        ("7.png", "v", "n", "1", "", "train"),
    ]
    root = table(tmp_path / "set", rows)
    dataset = read_dataset(root)
    assert names(dataset.gallery.tracklets, root) == [
        ("v", "n", ("1.png", "4.png")),
        ("v", "s", ("2.png",)),
        ("w", "n", ("3.png",)),
        ("v", "n", ("5.png",)),
    ]
    assert names(dataset.train.tracklets, root) == [("v", "n", ("7.png",))]
    assert ("not in a track", "6.png") in told(dataset)
    assert len(dataset.gallery.images) == 6


def test_a_query_belongs_to_its_track_in_the_gallery_or_to_one_of_its_own(tmp_path: Path) -> None:
    rows = [
        ("g1.png", "v", "n", "1", "", "gallery"),
        ("g2.png", "v", "n", "1", "", "gallery"),
        ("q1.png", "v", "n", "1", "", "query"),
        ("g1.png", "v", "n", "1", "", "query"),
        ("q2.png", "v", "s", "8", "2", "query"),
        ("q3.png", "v", "s", "8", "1", "track"),
        ("q4.png", "v", "s", "", "", "query"),
        ("q5.png", "v", "s", "9", "", "track"),
    ]
    root = table(tmp_path / "set", rows)
    dataset = read_dataset(root)
    own = dict(zip((one[2][0] for one in names(dataset.query.images, root)), dataset.query.tracklets, strict=True))
    gallery_track = dataset.gallery.tracklets[0]
    assert own["q1.png"] is gallery_track
    assert own["g1.png"] is gallery_track
    assert names([own["q2.png"]], root) == [("v", "s", ("q3.png", "q2.png"))]
    assert names([own["q4.png"]], root) == [("v", "s", ("q4.png",))]
    assert len(own) == 4
    assert ("not in a track", "q5.png") in told(dataset)


def test_the_table_goes_before_names_and_disagreements_are_problems(tmp_path: Path) -> None:
    rows = [
        ("0001_c001_00000001_0.png", "1", "C1", "", "", "train"),
        ("0002_c001_00000001_0.png", "1", "c001", "", "", "train"),
        ("0003_c002_00000001_0.png", "3", "c001", "", "", "train"),
        ("0004_c002_00000001_0.png", "4", "", "", "", "train"),
    ]
    dataset = read_dataset(table(tmp_path / "set", rows))
    found = [problem for problem in dataset.problems if problem.kind == "label and name disagree"]
    assert {problem.where for problem in found} == {rows[1][0], rows[2][0]}
    assert found[0].detail == "vehicle 1 in the table, 0002 by its name; the table is used"
    labels = {image.id: (image.vehicle, image.camera) for image in dataset.train.images}
    assert labels["0002_c001_00000001_0"] == ("1", "c001")
    assert labels["0003_c002_00000001_0"] == ("3", "c001")


def test_labels_that_mostly_contradict_names_are_an_error_until_the_layout_is_chosen(tmp_path: Path) -> None:
    rows = [(f"{k:04d}_c00{k % 3}_1_0.png", str(9 - k), f"c{k % 3}") for k in range(8)]
    root = table(tmp_path / "set", rows, COLUMNS[:3])
    with pytest.raises(DataError, match="labels disagree in 8 of"):
        open_dataset(root, needs="train")
    assert open_dataset(root, "table", needs="train").train.images


def test_images_without_a_vehicle_are_distractors_of_the_gallery_and_nothing_else(tmp_path: Path) -> None:
    rows = [
        *((f"{part}.png", "", "c", "", "", part) for part in ("train", "query", "gallery")),
        *SPLIT,
        ("junk.png", "-1", "c", "", "", "gallery"),
    ]
    root = table(tmp_path / "set", rows)
    dataset = read_dataset(root)
    assert (None, "c", ("gallery.png",)) in names(dataset.gallery.images, root)
    assert {where for kind, where in told(dataset) if kind == "unknown identity"} == {"train.png", "query.png"}
    everything = (*dataset.train.images, *dataset.query.images, *dataset.gallery.images)
    assert "junk" not in {image.id for image in everything}
    assert "1 rows of my table.csv are of vehicle -1" in dataset.notes[0]
    assert {one.where for one in dataset.left_out} == {"train.png", "query.png", "junk.png"}


def test_numbers_of_a_column_with_gaps_are_read_as_they_are_meant(tmp_path: Path) -> None:
    rows = [("1.png", "3.0", "2.0", "", "", "gallery"), ("2.png", "", "1.5", "", "", "gallery")]
    dataset = read_dataset(table(tmp_path / "set", rows))
    assert [(image.vehicle, image.camera) for image in dataset.gallery.images] == [("3", "2"), (None, "1.5")]


@pytest.mark.parametrize(
    ("line", "kind", "where", "detail"),
    [
        ("gone.png,v", "missing file", "gone.png", "is in line 3 of t.csv"),
        ("../secret.png,v", "damaged list", "t.csv", "line 3: '../secret.png' is not the path of a file within"),
        ("/etc/passwd,v", "damaged list", "t.csv", "line 3: '/etc/passwd' is not the path"),
        ("C:\\x\\..\\1.png,v", "damaged list", "t.csv", "is not the path"),
        (",v", "damaged list", "t.csv", "line 3: '' is not the path"),
        ("t.csv,v", "unreadable image", "t.csv", "its suffix is not that of an image"),
        ("folder,v", "missing file", "folder", ""),
        ("1.png,v", "duplicate", "1.png", "line 3 is about the image of line 2; not used"),
        ("./1.png,w", "duplicate", "1.png", "line 3 is about the image of line 2, with other labels; not used"),
        ("2.png,../v", "damaged list", "t.csv", "line 3: '../v' is not a name"),
        ('2.png,"v\nw"', "damaged list", "t.csv", "is not a name"),
        ("2.png,v\0", "damaged list", "t.csv", "line 3"),
        ("2.png", "damaged list", "t.csv", "line 3 has 1 cells, not 2; not used"),
        ("2.png,v,x", "damaged list", "t.csv", "line 3 has 3 cells, not 2; not used"),
        ('"2.png"x,v', "damaged list", "t.csv", "line 3: "),
        ('"2.png,v', "damaged list", "t.csv", "unexpected end of data"),
        ("2.png," + "v" * 200_000, "damaged list", "t.csv", "field larger than field limit"),
        ("2.png," + "v" * 1000, "damaged list", "t.csv", "is not a name"),
    ],
)
def test_a_bad_row_is_a_problem_and_the_others_are_read(
    tmp_path: Path, line: str, kind: str, where: str, detail: str
) -> None:
    image(tmp_path / "secret.png")
    root = tmp_path / "set"
    for name in ("1.png", "2.png", "folder/3.png"):
        image(root / name)
    (root / "t.csv").write_text(f"path,vehicle\n1.png,v\n{line}\n", newline="")
    dataset = read_dataset(root)
    assert dataset.layout == "table"
    assert names(dataset.train.images, root) == [("v", None, ("1.png",))]
    (problem,) = (problem for problem in dataset.problems if problem.kind != "empty split")
    assert (problem.kind, problem.where) == (kind, where)
    assert detail in problem.detail
    assert len(problem.detail) < 200


def test_blank_rows_and_empty_cells_at_the_end_are_no_problems(tmp_path: Path) -> None:
    root = tmp_path
    image(root / "1.png")
    (root / "t.csv").write_text("path,vehicle\n\n1.png,v,,,\n,,\n \n")
    dataset = read_dataset(root)
    assert {problem.kind for problem in dataset.problems} == {"empty split"}
    assert len(dataset.train.images) == 1


def test_absolute_paths_below_the_root_are_relative_ones(tmp_path: Path) -> None:
    image(tmp_path / "set" / "a" / "1.png")
    (tmp_path / "link").symlink_to("set")
    for given in (tmp_path / "set", tmp_path / "link"):
        (tmp_path / "set" / "t.csv").write_text(f"path,vehicle\n{given}/a/1.png,v\n")
        root = tmp_path / "link"
        assert names(read_dataset(root).train.images, root) == [("v", None, ("a/1.png",))]


def test_an_unknown_split_and_a_missing_one_are_problems(tmp_path: Path) -> None:
    rows = [*SPLIT, ("8.png", "v", "n", "", "", "holiday"), ("9.png", "v", "n", "", "", "")]
    dataset = read_dataset(table(tmp_path / "set", rows))
    details = [problem.detail for problem in dataset.problems]
    assert details == [
        "line 7: the split 'holiday' is none of train, query, gallery, test, track; not used",
        "line 8: it tells no split; not used",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,id\n1.png,v\n", r"no column path and none vehicle, but 'image', 'id'; name its columns path, vehicle"),
        ("path,id\n1.png,v\n", r"no column vehicle, but 'path', 'id'"),
        ("path,vehicle,Vehicle\n1.png,v,w\n", r"two columns vehicle; rename one"),
        ("", r"no column path"),
        ('"path,vehicle\n', r"not that of a table \(unexpected end of data\)"),
        ("path,vehicle\n" + "x" * (1 << 20) + "\n", r"line 2 has more than 1,048,576 characters"),
    ],
    ids=["other columns", "no vehicle", "two columns", "empty", "quote", "long line"],
)
def test_a_table_that_cannot_be_read_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    for given in (tmp_path, tmp_path / "t.csv"):
        with pytest.raises(DataError, match=says) as raised:
            read_dataset(given, "table")
        assert "\n" not in str(raised.value)


def test_parquet_that_stands_for_much_more_than_it_has_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_file, "_MOST_BYTES", 100)
    root = parquet_set(tmp_path / "set", {"path": ["1.png"], "vehicle": ["v" * 200]})
    with pytest.raises(DataError, match=r"its columns are [\d,]+ bytes, more than the 100"):
        read_dataset(root)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_of_too_many_rows_is_one_line(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_file, "_MOST_ROWS", 100)
    (tmp_path / "t.csv").write_text("path,vehicle\n" + "\n" * 100)
    parquet.write_table(pa.table({"path": ["1.png"] * 101, "vehicle": ["v"] * 101}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"more than 100.*divide the data set"):
        read_dataset(tmp_path / f"t.{suffix}")


def test_the_tables_own_path_can_be_given(tmp_path: Path) -> None:
    root = table(tmp_path / "set", SPLIT)
    shutil.copy(root / "my table.csv", root / "old.csv")
    (root / "half.csv").write_text("".join((root / "my table.csv").read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(DataError, match=r"holds 3 tables \(half.csv, my table.csv, old.csv\); give the path of one"):
        read_dataset(root, "table")
    for layout in (None, "table"):
        dataset = read_dataset(root / "half.csv", layout)
        assert (dataset.layout, dataset.root, len(dataset.train.images)) == ("table", root, 1)
        assert dataset.inspect_command.startswith(f"reid-data inspect {root / 'half.csv'}")
    assert recognize(root / "half.csv") == "table"
    with pytest.raises(DataError, match="is a table, not a folder in layout flat; leave --layout out"):
        read_dataset(root / "half.csv", "flat")
    with pytest.raises(DataError, match=r"gone.csv: no such file"):
        read_dataset(root / "gone.csv")


def test_a_folder_of_splits_beside_a_table_is_read_by_the_table(tmp_path: Path) -> None:
    rows = [(f"{part}/{k}.png", f"v{k}", "n", "", "", part) for part in ("train", "query", "gallery") for k in range(2)]
    root = table(tmp_path / "set", rows)
    assert read_dataset(root).layout == "table"
    assert read_dataset(tmp_path).root == root  # one level too high
    (root / "my table.csv").write_text("a,b\n1,2\n")
    assert recognize(root) != "table"


def test_lists_of_another_layout_go_before_a_table(veri: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(veri, tmp_path / "veri"))
    (root / "t.csv").write_text("path,vehicle\nimage_train/x.jpg,1\n")
    assert recognize(root) == "veri"
    assert recognize(root / "t.csv") == "table"


def test_a_table_in_an_archive_names_its_members(tmp_path: Path) -> None:
    root = table(tmp_path / "set", SPLIT)
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in root.rglob("*"):
            packed.write(path, path.relative_to(root))
    for given in (archive, archive / "my table.csv"):
        dataset = read_dataset(given)
        assert dataset.layout == "table"
        assert names(dataset.query.images, archive) == [("v2", "north", ("b/3.png",))]
        assert inspect(dataset).problems == ()


def test_a_folder_without_a_table_is_a_problem(tmp_path: Path) -> None:
    image(tmp_path / "1.png")
    dataset = read_dataset(tmp_path, "table")
    assert Problem("missing file", "table.csv", "no table: none of *.csv, *.tsv, *.parquet") in dataset.problems
