from __future__ import annotations

import shutil
from pathlib import Path
from time import process_time

import pytest
from special_files import forbid, make_special

from reid.data.dataset import Problem
from reid.data.layout import READERS, open_dataset, read_dataset, recognize
from reid.runtime.errors import DataError

FOLDERS = ["image_train", "image_query", "image_test"]
LISTS = {
    "veri": [
        "test_track.txt",
        "train_label.xml",
        "test_label.xml",
        "name_train.txt",
        "name_query.txt",
        "name_test.txt",
    ],
    "cityflow": ["train_label.xml", "query_label.xml", "train_track.txt", "test_track.txt"],
}


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


HALVES = [
    (layout, kept)
    for layout, lists in LISTS.items()
    for kept in (FOLDERS, lists, [*FOLDERS, lists[0]], *([name] for name in (*FOLDERS, *lists)))
]


@pytest.mark.parametrize(("layout", "kept"), HALVES, ids=["+".join([layout, *kept]) for layout, kept in HALVES])
def test_a_half_copied_set_is_still_recognized(
    request: pytest.FixtureRequest, tmp_path: Path, layout: str, kept: list[str]
) -> None:
    source: Path = request.getfixturevalue(layout)
    for name in kept:
        (tmp_path / name).symlink_to(source / name)
    assert recognize(tmp_path) == layout
    dataset = read_dataset(tmp_path)
    assert dataset.layout == layout
    absent = {name for name in LISTS[layout] if name not in kept} - {"query_label.xml"}
    assert absent <= {problem.where for problem in dataset.problems if problem.kind == "missing file"}
    if not set(kept) & set(FOLDERS):
        assert {problem.where for problem in dataset.problems if problem.kind == "empty split"} == set(FOLDERS)


@pytest.mark.parametrize("layout", ["veri", "cityflow"])
def test_a_few_strange_names_do_not_change_the_layout(
    request: pytest.FixtureRequest, tmp_path: Path, layout: str
) -> None:
    root = Path(shutil.copytree(request.getfixturevalue(layout), tmp_path / "set"))
    for folder in FOLDERS:
        stray = ["1.jpg", "2.jpg"] if layout == "veri" else ["0001_c001_00000001_0.jpg", "copy of 1.jpg"]
        touch(root / folder, *stray)
    assert recognize(root) == layout


def test_veri_with_a_list_of_training_tracks_is_still_veri(veri: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(veri, tmp_path / "set"))
    (root / "train_track.txt").write_text("0001_c001_00000001_0.jpg\n")
    assert recognize(root) == "veri"


def test_empty_lists_tell_what_they_can(tmp_path: Path) -> None:
    touch(
        tmp_path, "cityflow/train_track.txt", "cityflow/train_label.xml", "veri/name_train.txt", "veri/test_label.xml"
    )
    assert recognize(tmp_path / "cityflow") == "cityflow"
    assert recognize(tmp_path / "veri") == "veri"


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        (["0001_c001_00000001_0.jpg"], "flat"),
        (["0001_c1s1_000001_00.jpg"], "flat"),
        (["query/0001_c1s1_000001_00.jpg"], "flat"),
        (["bounding_box_test/0001_c1s1_000001_00.JPG"], "flat"),
        (["car/c001_0/000.jpg"], "tracklets"),
        (["gallery/car/c001_0/000.jpg"], "tracklets"),
        (["train/car/c001_0/000.jpg"], "tracklets"),
        (["car/c001_0/000.jpg", "preview.jpg"], "tracklets"),
        (["0001/c001_0/0001_c001_00000001_0.jpg"], "tracklets"),
        (["0001/0101/0001_C1_F0044_X200413.jpg"], "tracklets"),
        (["car/c001_0/0001_c001_00000001_0.jpg"], "flat"),
        (["car/000.jpg", "bus/000.jpg"], "vehicle-folders"),
        (["c001/car/000.jpg", "c002/car/000.jpg"], "camera-vehicle"),
        (["unlabeled.jpg"], "flat"),
    ],
)
def test_folders_without_lists_are_recognized_by_where_their_images_are(
    tmp_path: Path, names: list[str], layout: str
) -> None:
    touch(tmp_path, *names)
    assert recognize(tmp_path) == layout


@pytest.mark.parametrize("names", [[], ["notes.txt"], ["c001/000.jpg", "c002/000.jpg"], [".hidden.jpg"]])
def test_a_folder_of_no_known_layout_is_a_data_error(tmp_path: Path, names: list[str]) -> None:
    touch(tmp_path, *names)
    with pytest.raises(DataError) as raised:
        read_dataset(tmp_path)
    assert str(tmp_path) in str(raised.value)
    assert "--layout" in str(raised.value)


@pytest.mark.parametrize("layout", [None, *READERS])
def test_no_folder_and_a_file_in_its_place_are_data_errors(tmp_path: Path, layout: str | None) -> None:
    touch(tmp_path, "file")
    for name, reason in (("absent", "no such folder"), ("file", "not a folder")):
        with pytest.raises(DataError, match=reason):
            read_dataset(tmp_path / name, layout)


def test_an_unknown_layout_is_a_data_error_that_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        read_dataset(tmp_path, "imagenet")
    assert all(name in str(raised.value) for name in READERS)


@pytest.mark.parametrize("layout", READERS)
def test_an_empty_folder_read_in_any_layout_is_a_list_of_problems(tmp_path: Path, layout: str) -> None:
    dataset = read_dataset(tmp_path, layout)
    assert dataset.layout == layout
    assert "empty split" in {problem.kind for problem in dataset.problems}
    for split in (dataset.train, dataset.query, dataset.gallery):
        assert split.images == split.tracklets == ()


@pytest.mark.parametrize("written", READERS)
@pytest.mark.parametrize("read_as", READERS)
def test_a_wrong_layout_never_ends_in_a_traceback(
    request: pytest.FixtureRequest, tmp_path: Path, written: str, read_as: str
) -> None:
    if written in ("veri", "cityflow"):
        root = request.getfixturevalue(written)
    else:
        root = tmp_path
        touch(root, "0001_c001_00000001_0.jpg" if written == "flat" else "car/c001_0/000.jpg")
    assert read_dataset(root, read_as).layout == read_as


def test_a_set_without_the_images_that_are_needed_is_refused_with_the_command_that_says_why(
    veri: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(veri, tmp_path / "set"))
    for needs, folder in (("train", "image_train"), ("query", "image_query")):
        assert open_dataset(root, needs=needs).layout == "veri"  # type: ignore[arg-type]
        shutil.rmtree(root / folder)
        with pytest.raises(DataError, match="reid-data inspect") as raised:
            open_dataset(root, needs=needs)  # type: ignore[arg-type]
        assert "\n" not in str(raised.value)


def test_an_unknown_layout_is_answered_with_those_that_exist(veri: Path) -> None:
    expected = f"^unknown layout 'imagenet'; choose one of: {', '.join(READERS)}$"
    with pytest.raises(DataError, match=expected):
        read_dataset(veri, "imagenet")


# ---- folders and lists that cannot be read ----


@pytest.mark.parametrize("layout", [None, *READERS])
def test_a_set_without_permission_is_a_data_error_with_a_remedy(
    tmp_path: Path, layout: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "image_train/1.jpg")
    forbid(monkeypatch, tmp_path)
    with pytest.raises(DataError) as raised:
        read_dataset(tmp_path, layout)
    assert str(raised.value) == f"{tmp_path}: permission denied; make it readable (chmod u+rX) or ask its owner to"


@pytest.mark.parametrize(
    ("layout", "folder"),
    [
        ("veri", "image_train"),
        ("veri", "image_query"),
        ("cityflow", "image_train"),
        ("cityflow", "image_test"),
        ("tracklets", "train"),
        ("tracklets", "train/car"),
        ("tracklets", "train/car/c1_0"),
        ("flat", "query"),
    ],
)
def test_a_folder_without_permission_within_a_set_is_a_problem_with_a_remedy(
    tmp_path: Path, layout: str, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "train/car/c1_0/1.jpg", f"{folder}/1.jpg")
    forbid(monkeypatch, tmp_path / folder)
    found = [problem for problem in read_dataset(tmp_path, layout).problems if problem.kind == "unreadable folder"]
    detail = "permission denied; make it readable (chmod u+rX) or ask its owner to"
    assert found == [Problem("unreadable folder", folder, detail)]


def test_a_folder_of_something_else_that_cannot_be_read_does_not_hide_tracklets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "car/c001_0/000.jpg", "lost+found/1", "car/private/1")
    forbid(monkeypatch, tmp_path / "lost+found", tmp_path / "car" / "private")
    assert recognize(tmp_path) == "tracklets"


@pytest.mark.parametrize("kind", ["named pipe", "device", "folder", "link to itself", "dead link"])
def test_a_layout_is_told_though_a_list_is_no_file(veri: Path, tmp_path: Path, kind: str) -> None:
    for folder in FOLDERS:
        (tmp_path / folder).symlink_to(veri / folder)
    for name in LISTS["veri"]:
        make_special(tmp_path / name, kind)
    dataset = read_dataset(tmp_path)
    assert dataset.layout == "veri"
    reported = {problem.where for problem in dataset.problems if problem.kind in ("damaged list", "missing file")}
    assert reported == set(LISTS["veri"])


@pytest.mark.parametrize("line", [b"a" * 3_000_000, b"a." * 1_500_000, b"\xff" * 3_000_000, b"../" * 1_000_000])
def test_a_list_of_one_long_line_takes_no_time(tmp_path: Path, line: bytes) -> None:
    for name in LISTS["veri"]:
        (tmp_path / name).write_bytes(line)
    start = process_time()
    dataset = read_dataset(tmp_path)
    assert process_time() - start < 10
    assert all(len(problem.where) + len(problem.detail) < 300 for problem in dataset.problems)


@pytest.mark.parametrize("layout", ["veri", "cityflow"])
def test_lists_that_name_files_of_other_folders_give_none_of_them(
    request: pytest.FixtureRequest, tmp_path: Path, layout: str
) -> None:
    root = Path(shutil.copytree(request.getfixturevalue(layout), tmp_path / "set"))
    (secret := tmp_path / "secret.jpg").touch()
    for path in root.iterdir():
        if path.is_file():
            text = path.read_text("gb2312")
            path.write_text(
                text.replace(sorted((root / "image_test").iterdir())[0].name, f"../../{secret.name}"), "gb2312"
            )
    dataset = read_dataset(root)
    named = [problem.detail for problem in dataset.problems if "secret" in problem.where + problem.detail]
    assert named
    assert set(named) == {"'../../secret.jpg' is not a name; not used"}
    splits = (dataset.train, dataset.query, dataset.gallery)
    frames = {frame for split in splits for tracklet in (*split.images, *split.tracklets) for frame in tracklet.frames}
    assert all(isinstance(frame, Path) and frame.parent.parent == root for frame in frames)
