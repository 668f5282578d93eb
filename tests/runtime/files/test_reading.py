from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from reid.runtime.environment import environment_integer
from reid.runtime.errors import ReidError
from reid.runtime.files.names import check_name, check_relative_name, is_name
from reid.runtime.files.reading import check_regular, open_regular, read_file, sha256_of, size_of


def read(path: Path) -> bytes:
    return read_file(path, at_most=10)


def read_opened(path: Path) -> bytes:
    with open_regular(path, at_most=10) as file:
        return file.read()


def check(path: Path) -> None:
    check_regular(path, at_most=10)


@pytest.mark.parametrize("reader", [read, read_opened, check, sha256_of, size_of])
@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "folder", "socket", "/dev/zero", "/dev/full", "absent"])
def test_what_is_no_regular_file_is_refused_without_waiting(
    tmp_path: Path, reader: Callable[[Path], object], kind: str
) -> None:
    path = tmp_path / "path"
    if "pipe" in kind:
        os.mkfifo(tmp_path / "pipe")
        path = tmp_path / "pipe"
    if kind.startswith(("link", "/")):
        (tmp_path / "link").symlink_to("pipe" if kind == "link to a pipe" else kind)
        path = tmp_path / "link"
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    what = {"folder": "a folder", "socket": "a socket", "absent": os.strerror(errno.ENOENT)}
    expected = "a device" if kind.startswith("/") else "a named pipe" if "pipe" in kind else what[kind]
    with pytest.raises(OSError, match=expected) as caught:
        reader(path)
    assert caught.value.filename == str(path) or kind == "absent"


def test_a_path_that_a_file_gave_may_hold_a_nul() -> None:
    with pytest.raises(OSError, match="embedded null byte"):
        check_regular(Path("a\0b"))


@pytest.mark.parametrize("reader", [read, read_opened])
def test_a_file_up_to_the_limit_is_read(tmp_path: Path, reader: Callable[[Path], bytes]) -> None:
    for size in (0, 1, 10):
        (tmp_path / "file").write_bytes(b"x" * size)
        assert reader(tmp_path / "file") == b"x" * size
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)  # takes no space, and would take all memory
    with pytest.raises(OSError, match=r"1,099,511,627,776 bytes, more than the 10 it may have"):
        reader(tmp_path / "file")


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_a_file_is_read_on_disk_and_in_an_archive_alike(tmp_path: Path, kind: str) -> None:
    content = b"0123456789" * 300_000
    (tmp_path / "folder" / "train").mkdir(parents=True)
    (tmp_path / "folder" / "train" / "a.jpg").write_bytes(content)
    if kind != "folder":
        shutil.make_archive(str(tmp_path / "data"), kind, tmp_path / "folder")
    root = tmp_path / ("folder" if kind == "folder" else f"data.{kind}")
    path = root / "train" / "a.jpg"
    assert read_file(path, at_most=len(content)) == content
    assert sha256_of(path) == hashlib.sha256(content).hexdigest()
    assert size_of(path) == len(content)
    with pytest.raises(OSError, match="3,000,000 bytes, more than the 2,999,999 it may have") as caught:
        read_file(path, at_most=len(content) - 1)
    assert caught.value.filename == str(path)
    for reader in (read, sha256_of, size_of):
        with pytest.raises(FileNotFoundError) as absent:
            reader(root / "train" / "b.jpg")
        assert absent.value.filename == str(root / "train" / "b.jpg")


@pytest.mark.parametrize("reader", [read, read_opened, check, sha256_of, size_of])
@pytest.mark.parametrize("name", ["file.txt", "zip"])
def test_nothing_lies_below_a_file_that_is_no_archive(
    tmp_path: Path, reader: Callable[[Path], object], name: str
) -> None:
    (tmp_path / name).touch()
    with pytest.raises(NotADirectoryError):
        reader(tmp_path / name / "a.jpg")


@pytest.mark.parametrize("reader", [read, sha256_of, size_of])
def test_what_leads_through_a_compressed_archive_is_refused_with_a_remedy(
    tmp_path: Path, reader: Callable[[Path], object]
) -> None:
    archive = shutil.make_archive(str(tmp_path / "data"), "gztar", tmp_path)
    with pytest.raises(OSError, match=r"make a \.tar of it: gunzip -k .*data\.tar\.gz"):
        reader(Path(archive) / "a.jpg")


@pytest.mark.parametrize("name", ["a", "0001.jpg", "größe 漢字.png", "model.fp32.onnx", "a..b", "x" * 255])
def test_names_are_taken_as_they_are(name: str) -> None:
    assert check_name(name) == name
    assert check_relative_name(f"deep/{name}") == f"deep/{name}"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "/etc/passwd",
        "a/b",
        "../a",
        "a\\b",
        "C:\\a",
        ".hidden",
        "a\0",
        "a\n",
        "\x1b[2J",
        "\udcff",
        "\u202e",
        "x" * 256,
        "é" * 128,
    ],
)
def test_paths_and_what_could_be_none_are_no_names(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(ValueError, match="is not the plain name of a file"):
        check_name(name)


@pytest.mark.parametrize("path", ["", "/", "a/", "/a", "a//b", "./a", "a/./b", "a/../b", "..", "a/b\0"])
def test_a_relative_path_has_one_form_and_stays_in_its_folder(path: str) -> None:
    with pytest.raises(ValueError, match="is not the path of a file within its folder"):
        check_relative_name(path)


@pytest.mark.parametrize(("text", "expected"), [(None, 7), ("", 7), ("  ", 7), ("1", 1), ("0008", 8), (" 100 ", 100)])
def test_an_integer_of_the_environment(monkeypatch: pytest.MonkeyPatch, text: str | None, expected: int) -> None:
    monkeypatch.delenv("SOME_NUMBER", raising=False)
    if text is not None:
        monkeypatch.setenv("SOME_NUMBER", text)
    assert environment_integer("SOME_NUMBER", default=7, least=1, most=1000) == expected


@pytest.mark.parametrize("text", ["0", "1001", "-1", "1.5", "1e3", "abc", "²", "٣", "9" * 5000, "1_0"])
def test_anything_else_in_the_environment_is_named_with_the_range(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SOME_NUMBER", text)
    with pytest.raises(
        ReidError, match=r"^SOME_NUMBER is '.{1,40}': set it to an integer from 1 to 1000, or unset it$"
    ):
        environment_integer("SOME_NUMBER", default=7, least=1, most=1000)
