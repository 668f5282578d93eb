from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reid.data.inspection import inspect
from reid.data.layout import read_dataset

SCRIPT = Path(sys.executable).with_name("reid-data")


def reid_data(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
        timeout=60,
    )


@pytest.fixture(scope="module")
def damaged(veri: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with a problem of almost every kind."""
    root = Path(shutil.copytree(veri, tmp_path_factory.mktemp("damaged") / "veri"))
    train = sorted((root / "image_train").iterdir())
    test = sorted((root / "image_test").iterdir())
    train[0].unlink()
    train[1].write_bytes(b"")
    train[2].write_text("<html>404</html>")
    train[3].write_bytes(train[4].read_bytes())
    test[5].write_bytes(test[5].read_bytes()[:-40])
    shutil.copyfile(test[6], root / "image_train" / f"{test[6].name[:4]}_c001_99999999_7.jpg")
    shutil.copyfile(test[7], root / "image_test" / "holiday.jpg")
    shutil.copyfile(test[8], os.fsencode(root / "image_test") + b"/not utf-8 \xff [red].jpg")
    (root / "name_query.txt").write_bytes(b"")
    labels = (root / "test_label.xml").read_bytes()
    (root / "test_label.xml").write_bytes(labels[: len(labels) // 2])
    return root


def test_inspect_prints_counts_and_every_problem_as_json(damaged: Path) -> None:
    result = reid_data("inspect", damaged, "--json")
    assert result.returncode == 0, result.stderr
    printed = json.loads(result.stdout)
    assert set(printed) == {"layout", "root", "splits", "problems", "files", "left_out", "notes"}
    assert printed["layout"] == "veri"
    assert set(printed["splits"]) == {"train", "query", "gallery"}
    for part, split in (("train", "train"), ("test", "gallery")):
        counts = printed["splits"][split]
        assert set(counts) == {"identities", "cameras", "images", "tracklets"}
        strays = 2 if part == "test" else 0  # neither named nor labeled
        assert counts["images"] == len(list((damaged / f"image_{part}").iterdir())) - strays
    assert all(set(problem) == {"kind", "where", "detail"} for problem in printed["problems"])
    assert {problem["kind"] for problem in printed["problems"]} == {
        "missing file",
        "unreadable image",
        "duplicate",
        "not in label file",
        "not in name list",
        "unknown identity",
        "identity in train and test",
        "damaged list",
    }
    assert [(p["kind"], p["where"]) for p in printed["problems"]] == [
        (p.kind, p.where) for p in inspect(read_dataset(damaged)).problems
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_inspect_prints_a_row_for_every_problem_in_its_table(damaged: Path, encoding: str) -> None:
    result = reid_data("inspect", damaged, PYTHONIOENCODING=encoding, COLUMNS="80")
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    problems = inspect(read_dataset(damaged)).problems
    rows = result.stdout.splitlines()
    for problem in problems:
        where = problem.where.encode(encoding, "backslashreplace").decode()
        assert any(problem.kind in row and where in row for row in rows), problem
    assert f"{len(problems)} problems" in result.stdout


def test_inspect_says_so_where_there_are_no_problems(veri: Path) -> None:
    result = reid_data("inspect", veri)
    assert result.returncode == 0
    assert "no problems" in result.stdout
    assert "97" in result.stdout  # the gallery's images
    assert json.loads(reid_data("inspect", veri, "--json").stdout)["problems"] == []


@pytest.mark.parametrize("case", ["no such folder", "a file", "an empty folder"])
def test_what_cannot_be_inspected_is_one_line_of_cause_and_exit_code_1(tmp_path: Path, case: str) -> None:
    data = tmp_path / "data"
    if case == "a file":
        data.write_text("x")
    elif case != "no such folder":
        data.mkdir()
    result = reid_data("inspect", data)
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert str(data) in line


def test_a_layout_can_be_forced(veri: Path) -> None:
    result = reid_data("inspect", veri, "--layout", "flat", "--json")
    assert json.loads(result.stdout)["layout"] == "flat"


def test_synthesize_writes_what_inspect_finds_whole_and_refuses_to_write_over_it(tmp_path: Path) -> None:
    output = tmp_path / "made"
    options = ("--vehicles", "5", "--cameras", "2", "--seed", "3")
    made = reid_data("synthesize", output, *options, "--json")
    assert made.returncode == 0, made.stderr
    counts = json.loads(made.stdout)
    inspection = inspect(read_dataset(output))
    assert inspection.problems == ()
    assert counts["train"]["images"] == inspection.splits["train"].images
    assert counts["test"]["images"] == inspection.splits["gallery"].images
    assert counts["queries"] == inspection.splits["query"].images
    again = reid_data("synthesize", output, *options)
    assert again.returncode == 1
    assert again.stderr.splitlines()[-1].startswith(f"error: {output} exists")
    assert inspect(read_dataset(output)) == inspection


def test_help_shows_an_example_of_each_command() -> None:
    for command in ("inspect", "synthesize", "convert"):
        result = reid_data(command, "--help")
        assert result.returncode == 0
        assert f"reid-data {command}" in result.stdout.partition("Example")[2]


def test_an_unknown_layout_is_wrong_usage(tmp_path: Path) -> None:
    result = reid_data("inspect", tmp_path, "--layout", "imagenet")
    assert result.returncode == 2
    assert "cityflow" in result.stderr


def test_convert_says_what_is_lost_and_writes_what_inspect_finds_whole(veri: Path, tmp_path: Path) -> None:
    output = tmp_path / "VehicleID"
    converted = reid_data("convert", veri, output, "--to", "vehicleid")
    assert converted.returncode == 0, converted.stderr
    assert converted.stdout == f"{output}\n"
    notes = [line for line in converted.stderr.splitlines() if line.startswith("note: ")]
    assert any("cameras of" in note and "not kept" in note for note in notes)
    inspection = inspect(read_dataset(output))
    assert (inspection.layout, inspection.problems) == ("vehicleid", ())
    printed = json.loads(reid_data("convert", output, tmp_path / "table", "--to", "table", "--json").stdout)
    assert printed["output"] == str(tmp_path / "table")
    assert printed["images"] == len(list((output / "image").iterdir()))
    assert printed["layout"] == "table"
    assert (printed["cameras"], printed["renamed"], printed["unreadable"]) == (0, 0, [])
    assert read_dataset(tmp_path / "table" / "table.csv").layout == "table"


def test_a_layout_that_cannot_be_written_is_wrong_usage(veri: Path, tmp_path: Path) -> None:
    for layout, says in (("cityflow", "no identities"), ("imagenet", "choose one of: veri, ")):
        result = reid_data("convert", veri, tmp_path / "out", "--to", layout)
        assert result.returncode == 2
        assert says in result.stderr
    assert not (tmp_path / "out").exists()
