"""Archives that are read in place, beside Python's own modules and the programs that make them."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import signal
import stat
import struct
import subprocess
import tarfile
import threading
import time
import tracemalloc
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reid.runtime.files import archives, catalog, zip_format
from reid.runtime.files.archives import is_archive, member_blocks, members, read_member, split_virtual
from reid.runtime.files.names import is_name
from reid.runtime.imaging import read_frame

FILES = {"train/1/a.jpg": b"a" * 3000, "train/2/b.jpg": bytes(range(256)), "größe 漢字.png": b"", "c.jpg": b"c"}
LONG = "/".join(["folder" * 20] * 4) + "/" + "name" * 40 + ".jpg"
DIALECTS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def zipped(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: Mapping[str, bytes], dialect: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=dialect) as archive:
        for name, content in files.items():
            add(archive, name, content)
    return path


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **facts: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.pax_headers = kind, len(content), "c.jpg", facts
    archive.addfile(info, io.BytesIO(content))


def read_all(archive: Path, at_most: int = 1 << 20) -> dict[str, bytes]:
    return {name: read_member(archive, name, at_most=at_most) for name in members(archive).files}


MAKERS: dict[str, Callable[[Path, Mapping[str, bytes]], Path]] = {
    "stored.zip": lambda folder, files: zipped(folder / "stored.zip", files),
    "deflated.ZIP": lambda folder, files: zipped(folder / "deflated.ZIP", files, zipfile.ZIP_DEFLATED),
    "gnu.tar": lambda folder, files: tarred(folder / "gnu.tar", files, tarfile.GNU_FORMAT),
    "pax.TAR": lambda folder, files: tarred(folder / "pax.TAR", files),
}
every_format = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


characters = st.characters(exclude_categories=["C", "Z"], exclude_characters="/\\")
names = st.lists(st.text(characters, min_size=1, max_size=60).filter(is_name), min_size=1, max_size=5).map("/".join)


@every_format
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.dictionaries(names, st.binary(max_size=2000), max_size=8))
def test_what_python_stores_is_read(
    tmp_path: Path, make: Callable[[Path, Mapping[str, bytes]], Path], files: dict[str, bytes]
) -> None:
    archive = make(tmp_path, files)
    found = members(archive)
    assert dict(found.files) == {name: len(content) for name, content in files.items()}
    assert not found.left_out
    assert read_all(archive) == files


@pytest.mark.parametrize(
    "command", ["zip -qr archive.zip .", "zip -qr - . > archive.zip", "zip -qr0 archive.zip image"]
)
def test_what_zip_stores_is_read(tmp_path: Path, command: str) -> None:
    check_command(tmp_path, command, "archive.zip", {"image/größe 漢字.png": b"g" * 5000, "image/1/a.jpg": b"a"})


@pytest.mark.parametrize("dialect", ["v7", "ustar", "gnu", "oldgnu", "pax"])
@pytest.mark.parametrize("options", ["image", "-C image/.. ./image", "--no-recursion image image/* image/*/*"])
def test_what_tar_stores_is_read(tmp_path: Path, dialect: str, options: str) -> None:
    long = {} if dialect in ("v7", "ustar") else {f"image/{'x' * 200}.jpg": b"l", f"image/{'y' * 150}/a.jpg": b"m"}
    files = {"image/größe 漢字.png": b"g" * 5000, "image/1/a.jpg": b"a", **long}
    check_command(tmp_path, f"tar --format={dialect} -cf archive.tar {options}", "archive.tar", files)


def check_command(folder: Path, command: str, archive: str, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    subprocess.run(command, shell=True, check=True, cwd=folder)
    found = read_all(folder / archive)
    found.pop(archive, None)  # the folder that was packed
    assert found == files


def test_a_member_longer_than_a_block_is_read_in_blocks(tmp_path: Path) -> None:
    content = random.Random(0).randbytes(1 << 20) + bytes(3 << 20) + b"end"
    for make in MAKERS.values():
        archive = make(tmp_path, {"a": content, "b": bytes(2 << 20)})
        blocks = list(member_blocks(archive, "a"))
        assert max(map(len, blocks)) <= 1 << 20
        assert b"".join(blocks) == content
        assert read_member(archive, "b", at_most=2 << 20) == bytes(2 << 20)


def test_what_the_last_bytes_of_a_member_stand_for_is_read(tmp_path: Path) -> None:
    for beyond in range(12):  # zlib keeps what does not fit into a block of 1 MiB
        content = bytes((1 << 20) + beyond - 7) + bytes(range(7))
        archive = zipped(tmp_path / f"{beyond}.zip", {"a": content}, zipfile.ZIP_DEFLATED)
        assert read_member(archive, "a", at_most=len(content)) == content


def test_zip64_fields_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in FILES.items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(content)
        archive.filelist[1].header_offset += 0  # as it is in the file
    wide = widened(path.read_bytes())
    with zipfile.ZipFile(io.BytesIO(wide)) as archive:
        assert archive.read("c.jpg") == b"c"  # the same to Python
    path.write_bytes(wide)
    assert read_all(path) == FILES


def widened(content: bytes) -> bytes:
    """Return a zip file with all sizes and offsets in zip64's fields, and with zip64's end."""
    *_, count, length, start, _ = struct.unpack("<4s4H2LH", content[-22:])
    directory, place = b"", start
    while place < start + length:
        entry = list(struct.unpack_from("<4s6H3L5H2L", content, place))
        name, extra = entry[10], entry[11]
        field = struct.pack("<HHHHHQQQ", 0x9999, 2, 7, 1, 24, entry[9], entry[8], entry[16])
        stored_name = content[place + 46 : place + 46 + name]
        place += 46 + name + extra
        entry[8] = entry[9] = entry[16] = 0xFFFFFFFF
        entry[11] = len(field)
        directory += struct.pack("<4s6H3L5H2L", *entry) + stored_name + field
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, start + len(directory), 1)
    classic = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return content[:start] + directory + end + locator + classic


@pytest.mark.parametrize(
    ("stored", "extra", "flags", "expected"),
    [
        ("größe".encode(), b"", 0x800, "größe"),
        ("größe".encode(), b"", 0, "größe"),
        ("größe".encode("cp437"), b"", 0, "größe"),
        ("漢字".encode("gbk"), "漢字".encode(), 0, "漢字"),
        (b"plain", b"other", 0, "plain"),
    ],
    ids=["said to be UTF-8", "UTF-8", "DOS", "with a Unicode path", "no need of one"],
)
def test_names_in_zip_files(tmp_path: Path, stored: bytes, extra: bytes, flags: int, expected: str) -> None:
    path = zipped(tmp_path / "a.zip", {"x" * len(stored): b"content"})
    field = struct.pack("<HHBL", 0x7075, 5 + len(extra), 1, zlib.crc32(stored)) + extra if extra else b""
    content = bytearray(path.read_bytes().replace(b"x" * len(stored), stored))
    local, central, end = (content.index(mark) for mark in (b"PK\3\4", b"PK\1\2", b"PK\5\6"))
    content[local + 6 : local + 8] = content[central + 8 : central + 10] = flags.to_bytes(2, "little")
    content[central + 30 : central + 32] = len(field).to_bytes(2, "little")
    content[end + 12 : end + 16] = (end - central + len(field)).to_bytes(4, "little")
    path.write_bytes(bytes(content[:end]) + field + bytes(content[end:]))
    assert read_all(path) == {expected: b"content"}


UNUSABLE_NAMES = {
    "/etc/passwd": "its name is not that of a file within a folder",
    "../a.jpg": "its name is not that of a file within a folder",
    "a/../../b.jpg": "its name is not that of a file within a folder",
    "a//b.jpg": "its name is not that of a file within a folder",
    "a\\b.jpg": "its name is not that of a file within a folder",
    "a\n.jpg": "its name is not that of a file within a folder",
    "a\x1b[2J": "its name is not that of a file within a folder",
    "x" * 256: "its name is not that of a file within a folder",
    ".hidden.jpg": "hidden",
    "__MACOSX/._a.jpg": "hidden",
}


@every_format
def test_names_that_are_none_are_left_out(tmp_path: Path, make: Callable[[Path, Mapping[str, bytes]], Path]) -> None:
    archive = make(tmp_path, {**dict.fromkeys(UNUSABLE_NAMES, b"x"), **FILES})
    assert dict(members(archive).left_out) == UNUSABLE_NAMES
    assert read_all(archive) == FILES
    for name, reason in UNUSABLE_NAMES.items():
        with pytest.raises(OSError, match=reason) as caught:
            read_member(archive, name, at_most=10)
        assert caught.value.filename == f"{archive}/{name}"


def test_what_is_no_plain_file_in_a_zip_file_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("folder/", b"")
        kinds = {"link": stat.S_IFLNK, "device": stat.S_IFBLK, "inner": stat.S_IFDIR, "a": 0, "of DOS": stat.S_IFLNK}
        for name, kind in kinds.items():
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 0 if name == "of DOS" else 3, (kind | 0o644) << 16
            archive.writestr(info, b"content")
        archive.writestr("bzip2", b"content", zipfile.ZIP_BZIP2)
        archive.writestr("lzma", b"content", zipfile.ZIP_LZMA)
        archive.writestr("encrypted", b"content")
        archive.filelist[-1].flag_bits |= 1
    methods = {name: f"compressed by method {n}; only stored and" for name, n in (("bzip2", 12), ("lzma", 14))}
    expected = {"link": "a link", "device": "neither a file nor a folder", "encrypted": "encrypted", **methods}
    found = members(path)
    assert found.left_out.keys() == expected.keys()
    assert all(found.left_out[name].startswith(reason) for name, reason in expected.items())
    assert dict(found.files) == {"a": 7, "of DOS": 7}


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_what_is_no_plain_file_in_a_tar_file_is_left_out(tmp_path: Path, dialect: int) -> None:
    path = tmp_path / "a.tar"
    kinds = {"soft": b"2", "hard": b"1", "device": b"3", "disk": b"4", "pipe": b"6", "sparse": b"S", "new": b"Z"}
    with tarfile.open(path, "w", format=dialect) as archive:
        add(archive, "folder", kind=tarfile.DIRTYPE)
        add(archive, "folder, of old/", kind=tarfile.AREGTYPE)
        for name, kind in kinds.items():
            add(archive, name, b"content" if name in ("sparse", "new") else b"", kind)
        add(archive, "a", b"content", tarfile.CONTTYPE)
        add(archive, "b", b"content", tarfile.AREGTYPE)
    assert dict(members(path).left_out) == {
        **dict.fromkeys(("soft", "hard"), "a link"),
        **dict.fromkeys(("device", "disk"), "a device"),
        "pipe": "a named pipe",
        "sparse": "sparse",
        "new": "neither a file nor a folder",
    }
    assert read_all(path) == {"a": b"content", "b": b"content"}


@pytest.mark.parametrize("dialect", ["gnu", "oldgnu", "pax"])
def test_sparse_files_of_tar_are_left_out(tmp_path: Path, dialect: str) -> None:
    with (tmp_path / "sparse.jpg").open("wb") as file:
        for place in range(0, 40 << 16, 1 << 16):  # more pieces than a header lists
            file.seek(place)
            file.write(b"piece")
    (tmp_path / "b.jpg").write_bytes(b"b")
    subprocess.run(["tar", f"--format={dialect}", "-cSf", "a.tar", "sparse.jpg", "b.jpg"], check=True, cwd=tmp_path)
    assert dict(members(tmp_path / "a.tar").left_out) == {"sparse.jpg": "sparse"}
    assert read_all(tmp_path / "a.tar") == {"b.jpg": b"b"}


def test_facts_for_all_members_of_a_tar_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", pax_headers={"comment": "none", "path": "same.jpg"}) as archive:
        add(archive, "a", b"first")
        add(archive, "b", b"second", path="own.jpg")
    assert read_all(path) == {"same.jpg": b"first", "own.jpg": b"second"}


def test_a_size_of_a_tar_file_may_be_binary_or_in_a_pax_header(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    content = sealed(tarfile.TarInfo("a").tobuf(), 124, b"\x80" + (600).to_bytes(11, "big")) + b"a" * 600 + bytes(424)
    pax = tarfile.TarInfo("p")
    pax.type, pax.size = tarfile.XHDTYPE, 12
    content += pax.tobuf() + b"12 size=700\n" + bytes(500)
    content += tarfile.TarInfo("b").tobuf() + b"b" * 700 + bytes(324 + 1024)
    path.write_bytes(content)
    assert read_all(path) == {"a": b"a" * 600, "b": b"b" * 700}


def test_a_checksum_of_signed_bytes_counts(tmp_path: Path) -> None:
    header = bytearray(tarfile.TarInfo("größe").tobuf(format=tarfile.GNU_FORMAT))
    signed = sum(value - 256 * (value > 127) for value in (*header[:148], *b" " * 8, *header[156:]))
    header[148:156] = b"%06o\0 " % signed
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(1024))
    assert read_all(tmp_path / "a.tar") == {"größe": b""}


def test_an_older_header_of_a_tar_file_has_other_fields_where_ustar_has_a_prefix(tmp_path: Path) -> None:
    header = sealed(tarfile.TarInfo("a").tobuf(format=tarfile.GNU_FORMAT), 345, b"15302267353\0")  # a time
    (tmp_path / "a.tar").write_bytes(header + bytes(1024))
    assert read_all(tmp_path / "a.tar") == {"a": b""}


def test_a_link_in_a_tar_file_has_a_size_and_no_data(tmp_path: Path) -> None:
    link = sealed(sealed(tarfile.TarInfo("link").tobuf(), 124, b"00000002000\0"), 156, b"1")
    (tmp_path / "a.tar").write_bytes(link + tarfile.TarInfo("a").tobuf() + bytes(1024))
    assert read_all(tmp_path / "a.tar") == {"a": b""}
    assert dict(members(tmp_path / "a.tar").left_out) == {"link": "a link"}


def sealed(header: bytes, start: int, value: bytes) -> bytes:
    """Return a header of a tar file with another value in a place, and with the right checksum."""
    changed = bytearray(header)
    changed[start : start + len(value)] = value
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed)
    return bytes(changed)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_last_of_several_members_with_a_name_counts(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed, tarfile.open(tmp_path / "a.tar", "w") as plain:
        for content in (b"first", b"second", b"third one"):
            packed.writestr("a", content)
            add(plain, "a", content)
        packed.writestr("b", b"first")
        add(plain, "b", b"first")
        packed.writestr("b", b"second", zipfile.ZIP_BZIP2)
        add(plain, "b", kind=tarfile.SYMTYPE)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.read("a") == b"third one"
    for path in (tmp_path / "a.zip", tmp_path / "a.tar"):
        assert read_all(path) == {"a": b"third one"}
        assert members(path).left_out["a"] == "there is a later one of the same name"
        assert set(members(path).left_out) == {"a", "b"}


# Limits


@every_format
def test_a_member_up_to_the_limit_is_read(tmp_path: Path, make: Callable[[Path, Mapping[str, bytes]], Path]) -> None:
    archive = make(tmp_path, FILES)
    assert read_member(archive, "train/1/a.jpg", at_most=3000) == FILES["train/1/a.jpg"]
    with pytest.raises(OSError, match=r"^\[Errno 27\] 3,000 bytes, more than the 2,999 it may have") as caught:
        read_member(archive, "train/1/a.jpg", at_most=2999)
    assert caught.value.filename == f"{archive}/train/1/a.jpg"
    with pytest.raises(FileNotFoundError, match=r"No such file or directory.*train/1'"):
        read_member(archive, "train/1", at_most=10)


def with_another_size(path: Path, size: int) -> Path:
    """Let the directory of a zip file of one member state another size."""
    content = bytearray(path.read_bytes())
    place = content.index(b"PK\1\2") + 24
    content[place : place + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    return path


def test_a_member_is_as_long_as_the_directory_says(tmp_path: Path) -> None:
    path = with_another_size(zipped(tmp_path / "a.zip", {"a": b"content"}, zipfile.ZIP_DEFLATED), 8)
    with pytest.raises(OSError, match=r"damaged in the archive: 7 bytes, not the 8 that the archive says"):
        read_member(path, "a", at_most=10)


def test_no_more_is_made_than_the_directory_says(tmp_path: Path) -> None:
    path = with_another_size(zipped(tmp_path / "a.zip", {"a": bytes(64 << 20)}, zipfile.ZIP_DEFLATED), 5000)
    members(path)
    with (
        peak_memory() as peak,
        pytest.raises(OSError, match=r"damaged in the archive: more than the 5,000 bytes that the archive says"),
    ):
        read_member(path, "a", at_most=5000)
    assert peak[0] < 1 << 20


def test_a_list_takes_little_memory(tmp_path: Path) -> None:
    files = {f"image_train/{n:06d}_c001_{n:08d}_0.jpg": b"" for n in range(2000)}
    for make in MAKERS.values():
        archive = make(tmp_path, files)
        with peak_memory() as peak:
            assert len(members(archive).files) == 2000
        assert peak[0] < 400 * 2000


@every_format
def test_more_members_than_are_listed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path, Mapping[str, bytes]], Path]
) -> None:
    for name in ("tar_format", "zip_format"):
        monkeypatch.setattr(f"reid.runtime.files.{name}.MOST_ENTRIES", 3)
    with pytest.raises(OSError, match=r"more than 3 (members|headers)"):
        members(make(tmp_path, {"a": b"", "b": b"", "c": b"", "d": b""}))
    assert catalog.MOST_ENTRIES >= 2_000_000


@contextlib.contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Yield a list that holds, in the end, the most bytes that Python had at a time."""
    peak: list[int] = []
    tracemalloc.start()
    try:
        yield peak
    finally:
        peak.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()


def overlapping() -> bytes:
    """Return a zip file whose two members are one."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", b"content")
        archive.writestr("b", b"content")
        archive.filelist[1].header_offset = archive.filelist[0].header_offset
    return file.getvalue()


def quoting() -> bytes:
    """Return a zip file whose first member holds the second."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("b", b"content")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", inner.getvalue())
        archive.writestr("b", b"content")
        archive.filelist[1].header_offset = 31
    return file.getvalue()


def without_wide_field() -> bytes:
    """Return a zip file whose size is said to be in a field that is absent."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", b"content")
    content = file.getvalue()
    place = content.index(b"PK\1\2") + 24
    return content[:place] + b"\xff" * 4 + content[place + 4 :]


def end_of_zip(*, count: int = 0, length: int = 0, start: int = 0, disk: int = 0, comment: int = 0) -> bytes:
    return struct.pack("<4s4H2LH", b"PK\5\6", disk, 0, count & 0xFFFF, count & 0xFFFF, length, start, comment)


def wide_end(count: int, length: int, start: int) -> bytes:
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, start)
    return end + struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1) + end_of_zip(count=count, length=0xFFFFFFFF)


def long_header(kind: bytes, size: int) -> bytes:
    return sealed(sealed(tarfile.TarInfo("a").tobuf(), 124, b"\x80" + size.to_bytes(11, "big")), 156, kind)


def with_number(value: bytes) -> bytes:
    return sealed(tarfile.TarInfo("a").tobuf(), 124, value)


def with_pax(content: bytes) -> bytes:
    return long_header(b"x", len(content)) + content.ljust(512, b"\0") + tarfile.TarInfo("a").tobuf() + bytes(1024)


HOSTILE = {
    "members that overlap": (".zip", overlapping(), "its members overlap"),
    "a member that quotes another": (".zip", quoting(), "its members overlap"),
    "a size that is nowhere": (".zip", without_wide_field(), "its directory is damaged"),
    "four billion entries": (".zip", wide_end(1 << 32, 1 << 40, 0), "not where its end says"),
    "a directory before the file": (".zip", wide_end(1 << 32, (1 << 64) - 1, 1), "not where its end says"),
    "a part": (".zip", end_of_zip(disk=3), "it is one of several parts"),
    "a directory of zeros": (".zip", bytes(100) + end_of_zip(length=100), "its directory is damaged"),
    "half an entry": (".zip", bytes(10) + end_of_zip(length=10), "its directory is damaged|cut short"),
    "nothing": (".zip", b"", "it has no directory at its end"),
    "half an end": (".zip", end_of_zip()[:-1], "it has no directory at its end"),
    "no archive": (".tar", b"\xff\xd8" * 400, "it does not begin as a .tar does"),
    "no end": (".tar", b"", "cut short"),
    "a member of a petabyte": (".tar", long_header(b"0", 1 << 50) + bytes(1024), "cut short"),
    "a name of a petabyte": (".tar", long_header(b"L", 1 << 50) + bytes(1024), "a header of 1,125,899,906,842,624 byt"),
    "facts of a petabyte": (".tar", long_header(b"x", 1 << 50) + bytes(1024), "a header of 1,125,899,906,842,624 byt"),
    "a map of blocks without end": (".tar", sealed(long_header(b"S", 0), 482, b"\1") + b"\1" * 5120, "cut short"),
    "a negative size": (".tar", with_number(b"\xff" * 12) + bytes(1024), "a damaged number"),
    "a size of minus one": (".tar", with_number(b"-0000000001\0") + bytes(1024), "a damaged number"),
    "a number that is none": (".tar", with_number(b"00000000009\0") + bytes(1024), "a damaged number"),
    "a negative pax size": (".tar", with_pax(b"11 size=-1\n"), "a damaged number"),
    "a pax record without length": (".tar", with_pax(b"0 path=a\n"), "a damaged pax header"),
    "a pax record of a long length": (".tar", with_pax(b"99999999999999 path=a\n"), "a damaged pax header"),
    "a pax record without key": (".tar", with_pax(b"7 path\n"), "a damaged pax header"),
    "a pax length of many digits": (".tar", with_pax(b"9" * 400 + b" path=a\n"), "a damaged number"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused(tmp_path: Path, kind: str) -> None:
    suffix, content, reason = HOSTILE[kind]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    expected = rf"no sound {suffix} archive: .*({reason}).*; copy or make it again, or unpack it"
    with peak_memory() as peak, pytest.raises(OSError, match=expected) as caught:
        members(path)
    assert caught.value.filename == str(path)
    assert peak[0] < 1 << 20


def test_a_huge_comment_is_not_read(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", FILES)
    with path.open("r+b") as file:
        file.truncate(10 << 30)  # takes no space
    with pytest.raises(OSError, match="it has no directory at its end"):
        members(path)


# Damage


@every_format
def test_an_archive_that_is_cut_short_gives_no_wrong_content(
    tmp_path: Path, make: Callable[[Path, Mapping[str, bytes]], Path]
) -> None:
    whole = make(tmp_path, FILES)
    content = whole.read_bytes().rstrip(b"\0") + bytes(whole.suffix.lower() == ".tar")
    path = tmp_path / f"cut{whole.suffix}"
    for length in range(0, len(content), 13):
        path.write_bytes(content[:length])
        with pytest.raises(OSError, match=r"no sound .* archive: ") as caught:
            members(path)
        assert caught.value.filename == str(path)


@pytest.mark.parametrize("kind", ["stored.zip", "deflated.ZIP"])
def test_a_zip_file_with_any_byte_changed_gives_no_wrong_content(tmp_path: Path, kind: str) -> None:
    files = {"a/b.jpg": bytes(range(60)), "c": b"c" * 30}
    path = MAKERS[kind](tmp_path, files)
    sound, refused = path.read_bytes(), 0
    for place in range(len(sound)):
        content = bytearray(sound)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            assert set(read_all(path, at_most=1000).values()) <= set(files.values())
        except OSError:
            refused += 1
    assert len(sound) / 3 < refused < len(sound)


def test_a_tar_file_with_any_byte_of_a_header_changed_is_refused(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", FILES, tarfile.USTAR_FORMAT)
    sound = path.read_bytes()
    for place in range(512):
        content = bytearray(sound)
        content[place] ^= 1
        path.write_bytes(content)
        if place in (154, 155):  # what closes the checksum
            continue
        with pytest.raises(OSError, match=r"no sound \.tar archive"):
            members(path)


@pytest.mark.parametrize(
    ("start", "value", "reason"),
    [
        (b"content", b"CONTENT", "its checksum is wrong"),
        (b"PK\3\4", b"PK\3\5", "the directory of the archive leads to something else"),
        (b"name", b"NAME", "the directory of the archive leads to something else"),
    ],
)
def test_a_damaged_member_is_named(tmp_path: Path, start: bytes, value: bytes, reason: str) -> None:
    path = zipped(tmp_path / "a.zip", {"name": b"content"})
    path.write_bytes(path.read_bytes().replace(start, value, 1))
    with pytest.raises(OSError, match=f"damaged in the archive: {reason}") as caught:
        read_member(path, "name", at_most=100)
    assert caught.value.filename == f"{path}/name"


# Changes, threads and processes


@every_format
@pytest.mark.parametrize("age", [0, 60], ids=["at once", "after a minute"])
def test_an_archive_that_was_written_over_is_listed_again(
    tmp_path: Path, make: Callable[[Path, Mapping[str, bytes]], Path], age: int
) -> None:
    now = time.time()
    for place, files in enumerate([{"a": b"first"}, {"b": b"other"}, {"c": b"longer", "a": b""}]):  # two of one size
        archive = make(tmp_path, files)
        os.utime(archive, (now, now - age + place * age / 10))
        assert read_all(archive) == files


@every_format
def test_an_archive_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, make: Callable[[Path, Mapping[str, bytes]], Path]
) -> None:
    archive = make(tmp_path, {"a": bytes(2 << 20)})
    blocks = member_blocks(archive, "a")
    next(blocks)
    with archive.open("ab") as file:
        file.write(bytes(512))
    with pytest.raises(OSError, match="the archive changed while it was read"):
        list(blocks)


def test_an_archive_that_changes_while_it_is_listed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "a.zip", FILES)

    def scan(file: BinaryIO, length: int) -> catalog.Catalog:
        with path.open("ab") as more:
            more.write(b"more")
        return zip_format.scan(file, length)

    monkeypatch.setitem(archives._FORMATS, ".zip", archives._Format(scan, zip_format.blocks))
    with pytest.raises(OSError, match="it changed while it was read") as caught:
        members(path)
    assert caught.value.filename == str(path)


def test_an_archive_is_listed_once_as_long_as_others_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_MOST_ARCHIVES", 3)
    monkeypatch.setattr(archives, "_catalogs", OrderedDict())
    scanned: list[int] = []

    def scan(file: BinaryIO, length: int) -> catalog.Catalog:
        scanned.append(length)
        return zip_format.scan(file, length)

    monkeypatch.setitem(archives._FORMATS, ".zip", archives._Format(scan, zip_format.blocks))
    paths = [zipped(tmp_path / f"{n}.zip", {"a": b"%d" % n}) for n in range(4)]
    for path in paths:
        os.utime(path, (1e9, 1e9))
    for path in paths[:3] * 3:
        assert read_member(path, "a", at_most=9) == path.stem.encode()
    assert len(scanned) == 3
    read_all(paths[3])
    read_all(paths[1])
    assert len(scanned) == 4
    read_all(paths[0])
    assert len(scanned) == 5
    read_all(paths[1])
    assert len(scanned) == 5
    read_all(paths[2])
    assert len(scanned) == 6


def test_threads_read_at_the_same_time(tmp_path: Path) -> None:
    files = {f"{n}.jpg": random.Random(n).randbytes(20_000) for n in range(40)}
    paths = [make(tmp_path, files) for make in MAKERS.values()]
    order = [(path, name) for path in paths for name in files] * 3
    random.Random(0).shuffle(order)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: read_member(*one, at_most=1 << 20), order))
    assert found == [files[name] for _, name in order]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_reads_while_another_thread_lists_an_archive(tmp_path: Path) -> None:
    small = zipped(tmp_path / "small.zip", FILES)
    large = tmp_path / "large.tar"
    large.write_bytes(tarfile.TarInfo("a").tobuf() * 40_000 + bytes(1024))
    listing = threading.Thread(target=members, args=(large,))
    listing.start()
    time.sleep(0.02)  # so that it lists
    if (process := os.fork()) == 0:
        signal.alarm(20)
        os._exit(0 if read_all(small) == FILES else 1)
    listing.join()
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


# Paths


def test_only_files_named_as_archives_are_archives(tmp_path: Path) -> None:
    (tmp_path / "folder.zip").mkdir()
    os.mkfifo(tmp_path / "pipe.zip")
    for name in ("a.zip", "b.TAR", "c.tar.gz", "d.tgz", "e.txt", "f.gz", "zip", "g.zip.txt"):
        (tmp_path / name).touch()
    (tmp_path / "link.zip").symlink_to("e.txt")
    found = {path.name for path in tmp_path.iterdir() if is_archive(path)}
    assert found == {"a.zip", "b.TAR", "c.tar.gz", "d.tgz", "link.zip"}
    assert not is_archive(tmp_path / "absent.zip")
    assert not is_archive(Path("a\0.zip"))


def test_a_virtual_path_is_split_at_the_archive(tmp_path: Path) -> None:
    (tmp_path / "folder.zip").mkdir()
    archive = zipped(tmp_path / "folder.zip" / "a.zip", FILES)
    (tmp_path / "file.txt").touch()
    assert split_virtual(archive / "b.zip" / "c" / "d.jpg") == (archive, "b.zip/c/d.jpg")
    assert split_virtual(archive) is None
    assert split_virtual(tmp_path / "folder.zip" / "a.jpg") is None
    assert split_virtual(tmp_path / "file.txt" / "a.jpg") is None


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "a b.tar.gz": gzip.compress,
    "a.tgz": gzip.compress,
    "a.tar.bz2": bz2.compress,
    "a.tbz2": bz2.compress,
    "a.tar.xz": lzma.compress,
    "a.TXZ".lower(): lzma.compress,
}


@pytest.mark.parametrize("name", PACKERS)
def test_a_compressed_tar_is_refused_with_the_command_that_makes_a_tar(tmp_path: Path, name: str) -> None:
    plain = tarred(tmp_path / "plain.tar", FILES)
    path = tmp_path / name
    path.write_bytes(PACKERS[name](plain.read_bytes()))
    with pytest.raises(OSError, match=r"compressed as a whole; unpack it, or make a \.tar of it: ") as caught:
        members(path)
    command = (caught.value.strerror or "").rpartition(": ")[2]
    subprocess.run(command, shell=True, check=True)
    assert read_all(tmp_path / f"{name.partition('.')[0]}.tar") == FILES
    assert path.exists()


def test_another_file_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(OSError, match=r"neither a folder nor an archive \(.zip, .tar\)"):
        members(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError):
        members(tmp_path / "absent.zip")
    os.mkfifo(tmp_path / "pipe.zip")
    with pytest.raises(OSError, match="a named pipe, not a file"):
        members(tmp_path / "pipe.zip")


def test_a_frame_is_read_through_an_archive(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    content = cv2.imencode(".png", pixels)[1].tobytes()
    for make in MAKERS.values():
        archive = make(tmp_path, {"image/a.png": content})
        np.testing.assert_array_equal(read_frame(archive / "image" / "a.png"), pixels[..., ::-1])
