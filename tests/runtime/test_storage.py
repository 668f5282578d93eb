from __future__ import annotations

import hashlib
import os
import platform
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reid.runtime.errors import ReidError
from reid.runtime.reading import sha256_of
from reid.runtime.storage import atomic_directory, atomic_write

MARKER = "model.json"
FAILURES = [ValueError("no"), KeyboardInterrupt(), SystemExit(1), OSError(28, "no space left")]


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def write_bundle(target: Path, text: str) -> None:
    with atomic_directory(target, replaces=MARKER) as folder:
        (folder / MARKER).write_text(text)
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text(text)


def bundle(text: str) -> dict[str, bytes]:
    return {MARKER: text.encode(), "deep/file": text.encode()}


# ---- folders ----


def test_a_folder_appears_whole_and_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "new" / "bundle"
    with atomic_directory(target, replaces=MARKER) as folder:
        (folder / MARKER).write_text("x")
        assert not target.exists()
        assert folder.parent.parent == target.parent  # on the same file system, so that a rename will do
    assert contents(target) == {MARKER: b"x"}
    assert os.listdir(target.parent) == ["bundle"]


def test_a_folder_of_its_own_kind_and_an_empty_folder_are_replaced(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    write_bundle(target, "first")
    (target / "stale").touch()
    write_bundle(target, "second")
    assert contents(target) == bundle("second")
    assert os.listdir(tmp_path) == ["bundle"]


@pytest.mark.parametrize("kind", ["folder", "file", "link to a folder", "dangling link"])
def test_what_is_not_its_own_is_refused_and_left_alone(tmp_path: Path, kind: str) -> None:
    target, precious = tmp_path / "target", tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis").write_text("years of work")
    if kind == "folder":
        precious = precious.rename(target)
    elif kind == "file":
        target.write_text("years of work")
    else:
        target.symlink_to(precious if kind.startswith("link") else tmp_path / "nowhere")
    before = sorted(os.listdir(tmp_path)), contents(tmp_path)
    with pytest.raises(ReidError, match="--output") as raised, atomic_directory(target, replaces=MARKER):
        pytest.fail("the block must not run: all its work would be lost")
    assert str(target) in str(raised.value)
    assert (sorted(os.listdir(tmp_path)), contents(tmp_path)) == before
    assert target.is_symlink() == ("link" in kind)


def test_a_folder_of_a_kind_that_is_never_replaced_has_to_be_absent_or_empty(tmp_path: Path) -> None:
    for name, before in (("absent", None), ("empty", []), ("used", ["thesis"])):
        target = tmp_path / name
        if before is not None:
            target.mkdir()
            for file in before:
                (target / file).touch()
        if before:
            with pytest.raises(ReidError, match="not empty"), atomic_directory(target, replaces=None):
                pytest.fail("the block must not run: all its work would be lost")
        else:
            with atomic_directory(target, replaces=None) as folder:
                (folder / "new").touch()
        assert os.listdir(target) == (before or ["new"])


def test_what_another_process_put_there_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "bundle"

    def write() -> None:
        with atomic_directory(target, replaces=MARKER) as folder:
            (folder / MARKER).touch()
            target.mkdir()
            (target / "thesis").write_text("years of work")

    with pytest.raises(ReidError):
        write()
    assert contents(tmp_path) == {"bundle/thesis": b"years of work"}


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
@pytest.mark.parametrize("exists", [True, False])
def test_after_a_failure_there_is_what_there_was_before(tmp_path: Path, failure: BaseException, exists: bool) -> None:
    target = tmp_path / "bundle"
    if exists:
        write_bundle(target, "old")

    def write() -> None:
        with atomic_directory(target, replaces=MARKER) as folder:
            (folder / MARKER).write_text("half")
            raise failure

    with pytest.raises(type(failure)):
        write()
    assert contents(tmp_path) == ({f"bundle/{name}": text for name, text in bundle("old").items()} if exists else {})
    assert os.listdir(tmp_path) == (["bundle"] if exists else [])


@pytest.mark.parametrize("nth", [0, 1])
@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_the_old_folder_comes_back_when_putting_the_new_one_in_its_place_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, nth: int
) -> None:
    target = tmp_path / "bundle"
    write_bundle(target, "old")
    rename, calls = Path.rename, 0

    def failing(self: Path, new: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == nth + 1:
            raise failure
        return rename(self, new)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(type(failure)):
        write_bundle(target, "new")
    assert calls > nth
    assert contents(target) == bundle("old")
    assert os.listdir(tmp_path) == ["bundle"]


def test_what_is_written_has_the_permissions_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_bundle(tmp_path / "bundle", "x")
        atomic_write(tmp_path / "file", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "bundle").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_a_relative_target_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_bundle(Path("bundle"), "x")
    atomic_write(Path("file"), b"x")
    assert sorted(os.listdir(tmp_path)) == ["bundle", "file"]


# ---- files ----


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    for content in (b"first", b"", b"third"):
        atomic_write(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
        assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "rename"])
@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: BaseException
) -> None:
    atomic_write(tmp_path / "file", b"old")

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(*{"fsync": (os, "fsync", fail), "rename": (Path, "rename", fail)}[step])
    with pytest.raises(type(failure)):
        atomic_write(tmp_path / "file", b"new")
    assert contents(tmp_path) == {"file": b"old"}


def test_a_file_cannot_take_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="file"):
        atomic_write(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == ["file"]


# ---- a process that is killed ----

WRITER = """
import sys
from pathlib import Path
from reid.runtime.storage import atomic_directory, atomic_write

root, size = Path(sys.argv[1]), 1 << 16
print("ready", flush=True)
for turn in range(1_000_000):
    letter = b"abcdefgh"[turn % 8 : turn % 8 + 1]
    atomic_write(root / "file", letter * size)
    with atomic_directory(root / "bundle", replaces="model.json") as folder:
        for name in ("model.json", "1", "2"):
            (folder / name).write_bytes(letter * size)
"""


def test_a_kill_at_any_moment_leaves_files_and_folders_whole(tmp_path: Path) -> None:
    moments = random.Random(0)
    complete = {letter * (1 << 16) for letter in (b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h")}
    for turn in range(12):
        root = tmp_path / str(turn // 3)  # the later turns also meet what an earlier kill left
        root.mkdir(exist_ok=True)
        had_file = (root / "file").exists()
        with subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(moments.uniform(0, 0.04))
            process.send_signal(signal.SIGKILL)
        if had_file or (root / "file").exists():
            assert (root / "file").read_bytes() in complete
        if (root / "bundle").exists():
            found = contents(root / "bundle")
            assert set(found) == {"model.json", "1", "2"}
            assert len(set(found.values())) == 1
            assert set(found.values()) <= complete


# ---- digests ----


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_the_digest_is_that_of_the_whole_file(tmp_path: Path, size: int) -> None:
    content = random.Random(size).randbytes(size)
    (tmp_path / "file").write_bytes(content)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def workspace_of(target: Path, process: int) -> Path:
    return target.parent / f".{target.name}.{platform.node()}.{process}.abcd.partial"


def test_what_a_killed_process_left_is_cleared_and_a_living_ones_is_not(tmp_path: Path) -> None:
    target = tmp_path / "results"
    dead, living = workspace_of(target, dead_process()), workspace_of(target, os.getppid())
    for workspace in (dead, living, tmp_path / ".results.elsewhere.1.abcd.partial"):
        (workspace / "results").mkdir(parents=True)
    with atomic_directory(target, replaces="marker") as folder:
        (folder / "marker").touch()
    assert not dead.exists()
    assert living.exists()
    assert (tmp_path / ".results.elsewhere.1.abcd.partial").exists()


def test_a_folder_that_a_killed_process_had_moved_aside_comes_back(tmp_path: Path) -> None:
    target = tmp_path / "results"
    replaced = workspace_of(target, dead_process()) / "replaced"
    replaced.mkdir(parents=True)
    (replaced / "marker").write_text("old")
    with pytest.raises(RuntimeError), atomic_directory(target, replaces="marker"):
        raise RuntimeError
    assert (target / "marker").read_text() == "old"
