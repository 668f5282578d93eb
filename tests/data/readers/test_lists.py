from __future__ import annotations

import codecs
import errno
import os
from dataclasses import astuple
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from special_files import SPECIAL, make_special

from reid.data.dataset import Problem
from reid.data.readers.lists import Label, read_labels, read_names, read_tracks

DECLARATION = '<?xml version="1.0" encoding="gb2312"?>\n'
LABELS = """<TrainingImages Version="1.0">
  <Items number="2">
    <Item imageName="a.jpg" vehicleID="0001" cameraID="c001" color="{color}" />
    <Item imageName="b.jpg" vehicleID="0002" cameraID="c002" color="x" />
  </Items>
</TrainingImages>
"""
EXPECTED = {"a.jpg": Label("0001", "c001"), "b.jpg": Label("0002", "c002")}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("color", ["red", "红色", "蓝", "café"])
@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        ("gb2312", "gb18030"),  # as both data sets ship
        ("gb2312", "utf-8"),  # saved again by an editor that left the declaration alone
        ("gb2312", "utf-8-sig"),
        ("utf-8", "utf-8"),
        ("utf-8", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("no-such-encoding", "ascii"),
    ],
)
def test_labels_are_read_whatever_the_declared_and_the_true_encoding(
    tmp_path: Path, declared: str, encoding: str, color: str
) -> None:
    if encoding == "ascii" and not color.isascii():
        color = "red"
    text = DECLARATION.replace("gb2312", declared) + LABELS.format(color=color)
    problems: list[Problem] = []
    assert read_labels(write(tmp_path / "l.xml", text.encode(encoding)), problems) == EXPECTED
    assert problems == []


@pytest.mark.parametrize("prefix", ["", "\n", "\r\n  "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_labels_are_read_with_windows_line_ends_and_blank_lines_on_top(tmp_path: Path, prefix: str, end: str) -> None:
    text = (prefix + DECLARATION + LABELS.format(color="红")).replace("\r\n", "\n").replace("\n", end)
    problems: list[Problem] = []
    assert read_labels(write(tmp_path / "l.xml", text.encode("gb2312")), problems) == EXPECTED
    assert problems == []


def test_labels_without_a_declaration_are_read(tmp_path: Path) -> None:
    problems: list[Problem] = []
    assert read_labels(write(tmp_path / "l.xml", LABELS.format(color="红").encode("gb2312")), problems) == EXPECTED
    assert problems == []


def test_label_xml_cut_at_any_byte_keeps_the_whole_entries_and_says_that_it_is_damaged(tmp_path: Path) -> None:
    content = (DECLARATION + LABELS.format(color="红")).encode("gb2312").rstrip()
    ends = {name: content.index(b"/>", content.index(name.encode())) + 2 for name in EXPECTED}
    for length in range(1, len(content)):
        problems: list[Problem] = []
        labels = read_labels(write(tmp_path / "l.xml", content[:length]), problems)
        assert labels == {name: EXPECTED[name] for name, end in ends.items() if end <= length}, length
        assert [(problem.kind, problem.where) for problem in problems] == [("damaged list", "l.xml")], length


def test_an_image_labeled_twice_is_reported(tmp_path: Path) -> None:
    text = LABELS.format(color="x").replace("b.jpg", "a.jpg")
    problems: list[Problem] = []
    assert set(read_labels(write(tmp_path / "l.xml", text.encode()), problems) or ()) == {"a.jpg"}
    assert [problem.kind for problem in problems] == ["duplicate"]
    assert "a.jpg" in problems[0].detail


def test_an_empty_vehicle_or_camera_is_none_and_an_entry_without_image_is_reported(tmp_path: Path) -> None:
    text = '<I><Item imageName="a.jpg" vehicleID="" cameraID=" "/><Item vehicleID="7"/><Item imageName=""/></I>'
    problems: list[Problem] = []
    assert read_labels(write(tmp_path / "l.xml", text.encode()), problems) == {"a.jpg": Label(None, None)}
    assert [problem.kind for problem in problems] == ["damaged list", "damaged list"]


@pytest.mark.parametrize("read", [read_labels, read_names, read_tracks])
def test_an_absent_an_empty_and_a_blank_list_and_a_folder_in_its_place_are_reported(
    tmp_path: Path, read: type[read_names]
) -> None:
    (tmp_path / "folder").mkdir()
    write(tmp_path / "empty", b"")
    write(tmp_path / "blank", b" \r\n\t\n")
    for name, kind in (
        ("absent", "missing file"),
        ("empty", "damaged list"),
        ("blank", "damaged list"),
        ("folder", "damaged list"),
    ):
        problems: list[Problem] = []
        assert read(tmp_path / name, problems) is None
        assert [(problem.kind, problem.where) for problem in problems] == [(kind, name)]


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b" \n\n", b"\r"])
def test_name_lists_are_read_with_any_line_ends_and_with_a_byte_order_mark(
    tmp_path: Path, mark: bytes, end: bytes
) -> None:
    problems: list[Problem] = []
    path = write(tmp_path / "n.txt", mark + end.join([b"a.jpg", b"b.JPG", b"c.jpg"]))
    assert read_names(path, problems) == ["a.jpg", "b.JPG", "c.jpg"]
    assert problems == []


def test_a_name_list_saved_by_windows_as_unicode_is_read(tmp_path: Path) -> None:
    problems: list[Problem] = []
    assert read_names(write(tmp_path / "n.txt", "a.jpg\r\nb.jpg\r\n".encode("utf-16")), problems) == ["a.jpg", "b.jpg"]
    assert problems == []


def test_a_name_listed_again_is_kept_once_and_reported(tmp_path: Path) -> None:
    problems: list[Problem] = []
    assert read_names(write(tmp_path / "n.txt", b"a.jpg\nb.jpg\na.jpg\na.jpg"), problems) == ["a.jpg", "b.jpg"]
    assert [problem.kind for problem in problems] == ["duplicate"]
    assert "a.jpg" in problems[0].detail
    assert "3" in problems[0].detail


IMAGES = [f"0002_c002_{time:08d}_0.jpg" for time in (30600, 30605, 30610)]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (IMAGES, ""),
        (["0002_c002", *IMAGES], "0002_c002"),
        (["17", *IMAGES], "17"),
        ([IMAGES[0], *IMAGES], IMAGES[0]),  # the track is named as its first image
        ([IMAGES[1], *IMAGES], IMAGES[1]),
        ([IMAGES[0].upper(), *[image.upper() for image in IMAGES]], IMAGES[0].upper()),
    ],
)
@pytest.mark.parametrize("end", [" \r\n", "\n", "\r\n\r\n"])
def test_track_lists_are_read_with_and_without_a_leading_name(
    tmp_path: Path, line: list[str], name: str, end: str
) -> None:
    problems: list[Problem] = []
    tracks = read_tracks(write(tmp_path / "t.txt", (" ".join(line) + end).encode() * 2), problems)
    expected = [image.upper() for image in IMAGES] if line[0].isupper() else IMAGES
    assert tracks == [(name, expected)] * 2
    assert problems == []


def test_a_track_without_images_and_an_image_that_is_twice_in_its_track_are_reported(tmp_path: Path) -> None:
    problems: list[Problem] = []
    path = write(tmp_path / "t.txt", b"lonely\nnamed a.jpg b.jpg a.jpg\nc.jpg\n")
    assert read_tracks(path, problems) == [("named", ["a.jpg", "b.jpg"]), ("", ["c.jpg"])]
    assert [problem.kind for problem in problems] == ["damaged list", "duplicate"]
    assert "lonely" in problems[0].detail
    assert "a.jpg" in problems[1].detail


# ---- lists that were made to do harm ----


@pytest.mark.parametrize("read", [read_labels, read_names, read_tracks])
@pytest.mark.parametrize("kind", sorted(SPECIAL.keys() - {"dead link"}))
def test_a_list_that_is_no_regular_file_is_reported(tmp_path: Path, read: type[read_names], kind: str) -> None:
    make_special(tmp_path / "list", kind)
    problems: list[Problem] = []
    assert read(tmp_path / "list", problems) is None
    ((found, where, detail),) = map(astuple, problems)
    assert (found, where) == ("damaged list", "list")
    assert SPECIAL[kind] in detail


@pytest.mark.parametrize("read", [read_labels, read_names, read_tracks])
def test_a_list_that_is_too_large_is_reported(tmp_path: Path, read: type[read_names]) -> None:
    with (tmp_path / "list").open("wb") as file:
        file.truncate(2**40)  # a hole, which takes no space
    problems: list[Problem] = []
    assert read(tmp_path / "list", problems) is None
    detail = "1,099,511,627,776 bytes, more than the 67,108,864 it may have"
    assert problems == [Problem("damaged list", "list", detail)]


@pytest.mark.parametrize("read", [read_labels, read_names, read_tracks])
def test_a_list_without_permission_is_reported_with_a_remedy(
    tmp_path: Path, read: type[read_names], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "list", b"a.jpg")

    def refuse(*arguments: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)
    problems: list[Problem] = []
    assert read(path, problems) is None
    detail = "permission denied; make it readable (chmod u+rX) or ask its owner to"
    assert problems == [Problem("damaged list", "list", detail)]


NO_NAMES = [
    "../image_test/a.jpg",
    "/etc/passwd.jpg",
    "image_train/a.jpg",
    "image_train\\a.jpg",
    "..",
    ".",
    ".hidden.jpg",
    "\x1b[31m.jpg",
    "a\x00.jpg",
    "a\u202egpj.jpg",
    f"{'a' * 300}.jpg",
    "a" * 100_000,
]


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_is_not_taken_from_a_name_list_or_a_track_list(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "n.txt", f"a.jpg {name}\nb.jpg\n".encode())
    for read, expected in ((read_names, ["a.jpg", "b.jpg"]), (read_tracks, [("", ["a.jpg"]), ("", ["b.jpg"])])):
        problems: list[Problem] = []
        assert read(path, problems) == expected
        assert [(problem.kind, problem.where) for problem in problems] == [("damaged list", "n.txt")]
        assert ascii(name)[:40].rstrip("'") in problems[0].detail
        assert problems[0].detail.isprintable()
        assert len(problems[0].detail) < 200


@pytest.mark.parametrize("attribute", ["imageName", "vehicleID", "cameraID"])
@pytest.mark.parametrize("name", [name for name in NO_NAMES if not set(name) & {"\x00", "\x1b"}])  # no XML has these
def test_an_entry_of_a_label_file_with_something_that_is_no_name_is_not_used(
    tmp_path: Path, name: str, attribute: str
) -> None:
    values = {"imageName": "c.jpg", "vehicleID": "7", "cameraID": "c001"} | {attribute: name}
    item = "<Item " + " ".join(f'{key}="{value}"' for key, value in values.items()) + "/>"
    content = (DECLARATION + LABELS.format(color="x").replace("</Items>", f"{item}</Items>")).encode()
    problems: list[Problem] = []
    assert read_labels(write(tmp_path / "l.xml", content), problems) == EXPECTED
    assert [(problem.kind, problem.where) for problem in problems] == [("damaged list", "l.xml")]
    assert ascii(name)[:40].rstrip("'") in problems[0].detail
    assert len(problems[0].detail) < 200


@pytest.mark.parametrize("encoding", ["ascii", "utf-16"])
def test_a_label_file_with_a_document_type_is_refused_and_its_entities_are_not_expanded(
    tmp_path: Path, encoding: str
) -> None:
    entities = '<!ENTITY a0 "aaaaaaaaaa">' + "".join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 12))
    text = f'<!DOCTYPE x [{entities}]><x><Item imageName="a.jpg" vehicleID="&a11;"/><Item imageName="b.jpg"/></x>'
    problems: list[Problem] = []
    assert read_labels(write(tmp_path / "l.xml", (DECLARATION + text).encode(encoding)), problems) == {}
    assert [(problem.kind, problem.where) for problem in problems] == [("damaged list", "l.xml")]
    assert "document type" in problems[0].detail


@settings(max_examples=150)
@given(content=st.binary(max_size=200) | st.text(alphabet='<>/Item="&;![]?-x红\n ', max_size=80).map(str.encode))
def test_no_bytes_make_a_list_reader_fail(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = write(tmp_path_factory.getbasetemp() / "fuzzed-list", content)
    for read in (read_labels, read_names, read_tracks):
        problems: list[Problem] = []
        found = read(path, problems)
        assert found is not None or problems
