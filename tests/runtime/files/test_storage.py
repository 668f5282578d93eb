from __future__ import annotations

import errno
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
from reid.runtime.files import publishing
from reid.runtime.files.manifest import MANIFEST_FILE, remove_replaceable, replaceable_directory
from reid.runtime.files.reading import sha256_of
from reid.runtime.files.storage import (
    amended_directory,
    atomic_directory,
    atomic_write,
    check_apart,
    companion,
    workspace_for,
)

MARKER = "model.json"
FAILURES = [ValueError("no"), KeyboardInterrupt(), SystemExit(1), OSError(28, "no space left")]


def contents(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and path.name != MANIFEST_FILE)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def write_bundle(target: Path, text: str) -> None:
    with replaceable_directory(target) as folder:
        (folder / MARKER).write_text(text)
        (folder / "deep").mkdir()
        (folder / "deep" / "file").write_text(text)


def bundle(text: str) -> dict[str, bytes]:
    return {MARKER: text.encode(), "deep/file": text.encode()}


# ---- folders ----


def test_a_folder_appears_whole_and_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "new" / "bundle"
    with replaceable_directory(target) as folder:
        (folder / MARKER).write_text("x")
        assert not target.exists()
        assert target.parent in folder.parents  # on the same file system, so that a rename will do
    assert contents(target) == {MARKER: b"x"}
    assert os.listdir(target.parent) == ["bundle"]


def test_a_folder_of_its_own_kind_and_an_empty_folder_are_replaced(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    write_bundle(target, "first")
    (target / "deep" / "file").unlink()
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
    with pytest.raises(ReidError, match="--output") as raised, replaceable_directory(target):
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
            with (
                pytest.raises(ReidError, match="exists and is not an empty folder"),
                atomic_directory(target, records=None),
            ):
                pytest.fail("the block must not run: all its work would be lost")
        else:
            with atomic_directory(target, records=None) as folder:
                (folder / "new").touch()
        assert os.listdir(target) == (before or ["new"])


def test_what_another_process_put_there_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "bundle"

    def write() -> None:
        with replaceable_directory(target) as folder:
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
        with replaceable_directory(target) as folder:
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
    monkeypatch.setattr(publishing, "_exchange", lambda one, other: False)  # as on an older kernel
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


@pytest.mark.parametrize("kind", ["own file", "own file deep", "changed", "link", "link to a folder"])
def test_a_folder_with_anything_that_was_not_written_there_is_refused_before_the_work(
    tmp_path: Path, kind: str
) -> None:
    target, elsewhere = tmp_path / "bundle", tmp_path / "elsewhere"
    write_bundle(target, "first")
    elsewhere.mkdir()
    (elsewhere / "file").write_text("first")
    foreign = {"own file": "thesis", "own file deep": "deep/thesis", "changed": "deep/file"}.get(kind, "deep/file")
    if kind == "link":
        (target / "deep" / "file").unlink()
        (target / "deep" / "file").symlink_to(elsewhere / "file")
    elif kind == "link to a folder":
        (target / "deep" / "file").unlink()
        (target / "deep").rmdir()
        (target / "deep").symlink_to(elsewhere)
        foreign = "deep"
    else:
        (target / foreign).write_text("years of work")
    before = contents(tmp_path)
    with pytest.raises(ReidError, match=f"holds {foreign}, which is not as reid"), replaceable_directory(target):
        pytest.fail("the block must not run: all its work would be lost")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("manifest", ["", "{}", "[" * 10_000, '{"format_version": 1, "files": {"../x": "0"}}', None])
def test_without_a_valid_list_nothing_in_a_folder_counts_as_written_by_reid(tmp_path: Path, manifest: str) -> None:
    target = tmp_path / "bundle"
    write_bundle(target, "first")
    if manifest is None:
        (target / MANIFEST_FILE).unlink()
    else:
        (target / MANIFEST_FILE).write_text(manifest)
    with pytest.raises(ReidError, match="--output"), replaceable_directory(target):
        pytest.fail("the block must not run")
    remove_replaceable(target)
    assert contents(target) == bundle("first")


def test_a_folder_of_an_earlier_try_is_removed_if_it_holds_nothing_else(tmp_path: Path) -> None:
    for name in ("clean", "used"):
        write_bundle(tmp_path / name, "first")
    (tmp_path / "used" / "thesis").touch()
    for name in ("clean", "used", "absent"):
        remove_replaceable(tmp_path / name)
    assert os.listdir(tmp_path) == ["used"]


def test_folders_that_were_made_for_an_output_go_when_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), replaceable_directory(tmp_path / "a" / "b" / "c"):
        raise RuntimeError
    assert os.listdir(tmp_path) == []


# ---- an output is no input ----


@pytest.mark.parametrize(
    ("output", "source", "relation"),
    [
        ("data", "data", "is"),
        ("data/new", "data", "lies in"),
        ("data/deep/new/newer", "data", "lies in"),
        (".", "data", "holds"),
        ("data", "data/deep", "holds"),
        ("data", "data/deep/file", "holds"),
        ("link", "data", "is"),
        ("link/new", "data/deep/..", "lies in"),
        ("data/deep/new", "link", "lies in"),
    ],
)
def test_an_output_is_apart_from_the_inputs(tmp_path: Path, output: str, source: str, relation: str) -> None:
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "deep" / "file").touch()
    (tmp_path / "link").symlink_to("data")
    with pytest.raises(ReidError, match=f"{relation} .*, which is an input; choose another place for it"):
        check_apart(tmp_path / output, [tmp_path / "absent", tmp_path / source])


def test_outputs_beside_the_inputs_are_fine(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data-2").mkdir()
    (tmp_path / "file").touch()
    for output in ("new", "data-2", "data-3", "new/deep"):
        check_apart(tmp_path / output, [tmp_path / "data", tmp_path / "file", tmp_path / "absent"])


# ---- volumes: what cannot be renamed is filled in place ----


@pytest.fixture
def volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that counts as a mount point; renaming it fails, as it would."""
    target = tmp_path / "volume"
    target.mkdir()
    rename = Path.rename

    def refuse(self: Path, new: Path) -> Path:
        if target in (self, new):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(self))
        return rename(self, new)

    monkeypatch.setattr(Path, "rename", refuse)
    monkeypatch.setattr(publishing, "_is_mount_point", lambda folder: folder == target)
    return target


def test_a_volume_is_filled_and_filled_again(volume: Path) -> None:
    for text in ("first", "second"):
        write_bundle(volume, text)
        assert contents(volume) == bundle(text)
        assert sorted(os.listdir(volume)) == [MANIFEST_FILE, "deep", MARKER]
    assert os.listdir(volume.parent) == ["volume"]


def test_a_real_mount_point_is_recognized_and_filled(tmp_path: Path) -> None:
    """One with a file system of its own, and one bound to the same file system, in a namespace of their own."""
    script = f"""
set -e
mkdir {tmp_path}/source {tmp_path}/bound {tmp_path}/small
mount --bind {tmp_path}/source {tmp_path}/bound
mount -t tmpfs tmpfs {tmp_path}/small
for target in bound small; do
  for turn in 1 2; do "{sys.executable}" -c "{WRITE_ONE}" {tmp_path}/$target; done
  ls -A {tmp_path}/$target
done
"""
    found = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script], capture_output=True, text=True
    )
    if "Operation not permitted" in found.stderr or "unshare failed" in found.stderr:
        pytest.skip(f"mounting is not allowed here: {found.stderr.strip()}")
    assert found.stdout.split() == [MANIFEST_FILE, "file"] * 2, found.stderr


WRITE_ONE = """
import sys; from pathlib import Path; from reid.runtime.files.manifest import replaceable_directory
with replaceable_directory(Path(sys.argv[1])) as folder:
    (folder / 'file').touch()
"""


def test_the_working_folder_is_filled_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_ino
    write_bundle(Path("."), "first")
    assert contents(tmp_path) == bundle("first")
    assert tmp_path.stat().st_ino == before
    (tmp_path / "thesis").touch()
    with pytest.raises(ReidError, match=r"^\. holds thesis"):
        write_bundle(Path("."), "second")


@pytest.mark.parametrize("nth", range(8))
def test_a_volume_is_as_it_was_when_filling_it_fails(volume: Path, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    write_bundle(volume, "old")
    rename, calls = Path.rename, 0

    def failing(self: Path, new: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == nth + 1:
            raise OSError(errno.EIO, "input/output error")
        return rename(self, new)

    monkeypatch.setattr(Path, "rename", failing)
    if nth < 7:  # three entries out, a step, three entries in
        with pytest.raises(OSError, match="input/output"):
            write_bundle(volume, "new")
    else:
        write_bundle(volume, "new")
    assert contents(volume) == bundle("old" if nth < 7 else "new")
    assert sorted(os.listdir(volume)) == [MANIFEST_FILE, "deep", MARKER]


KILLED = """
import os, signal, sys
from pathlib import Path
from reid.runtime.files import publishing
from reid.runtime.files.manifest import replaceable_directory

target, nth, calls, rename = Path(sys.argv[1]), int(sys.argv[2]), 0, Path.rename
publishing._is_mount_point = lambda folder: True

def kill(self, new):
    global calls
    calls += 1
    if calls == nth + 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, new)

Path.rename = kill
with replaceable_directory(target) as folder:
    (folder / "model.json").write_text("new")
    (folder / "extra").write_text("new")
"""


@pytest.mark.parametrize("nth", range(9))
def test_a_kill_while_a_volume_is_filled_is_undone_by_the_next_try(
    volume: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    write_bundle(volume, "old")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(volume), str(nth)])
    assert killed.returncode == (-signal.SIGKILL if nth < 7 else 0)
    if nth in range(1, 7):  # from the first move to the last, the folder counts as absent
        assert not (volume / MANIFEST_FILE).exists()
    with pytest.raises(RuntimeError), replaceable_directory(volume):
        raise RuntimeError
    assert contents(volume) == (bundle("old") if nth < 7 else {MARKER: b"new", "extra": b"new"})
    assert not [name for name in os.listdir(volume) if name.endswith(".partial")]


@pytest.mark.parametrize("output", ["bundle", "a/bundle", "."])
def test_what_a_command_keeps_between_tries_lies_beside_its_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(publishing, "has_to_be_in_place", lambda folder: False)
    expected = {".": ".search.json.partial"}.get(output, f"{output}.search.json")
    assert companion(Path(output), "search.json").resolve() == tmp_path / "here" / expected


def test_what_is_kept_on_a_volume_does_not_count_as_foreign(volume: Path) -> None:
    write_bundle(volume, "old")
    kept = companion(volume, "search.json")
    assert kept.parent == volume
    atomic_write(kept, b"{}")
    write_bundle(volume, "new")
    assert contents(volume) == bundle("new")


# ---- folders that are amended ----


def amend(target: Path, text: str | None) -> None:
    with amended_directory(target, last="*.json") as folder:
        for name in ("engine", "engine.json"):
            (folder / name).unlink(missing_ok=True)
            (folder / name).write_text("half" if text is None else text)
            if text is None:
                raise RuntimeError


def own_things(target: Path) -> dict[str, tuple[int, ...]]:
    """Put what a user may have into a folder: an empty folder, links, a named pipe, a file without permissions."""
    (target / "deep" / "empty").mkdir(parents=True)
    (target / "deep").chmod(0o711)
    (target / "deep" / "thesis").write_text("years of work")
    (target / "secret").write_text("x")
    (target / "secret").chmod(0)
    (target / "dangling").symlink_to("nowhere")
    (target / "link").symlink_to(target / "deep")
    os.mkfifo(target / "pipe")
    return facts_of(target)


def facts_of(target: Path) -> dict[str, tuple[int, ...]]:
    found = {path.relative_to(target).as_posix(): path.lstat() for path in target.rglob("*")}
    return {name: (state.st_mode, 0 if stat.S_ISDIR(state.st_mode) else state.st_ino) for name, state in found.items()}


@pytest.mark.parametrize("place", ["folder", "volume"])
def test_a_folder_is_amended_and_what_else_is_in_it_stays(request: pytest.FixtureRequest, place: str) -> None:
    target: Path = request.getfixturevalue("tmp_path") / "engines"
    if place == "volume":
        target = request.getfixturevalue("volume")
    amend(target, "old")
    before = own_things(target)
    kept = target.parent / "kept"
    os.link(target / "engine", kept)
    amend(target, "new")
    after = facts_of(target)
    assert {name: after[name] for name in after if "engine" not in name} == {
        name: before[name] for name in before if "engine" not in name
    }
    assert (target / "engine").read_text() == (target / "engine.json").read_text() == "new"
    assert kept.read_text() == "old"
    with pytest.raises(RuntimeError):
        amend(target, None)
    assert facts_of(target) == after
    assert (target / "engine").read_text() == "new"
    assert sorted(os.listdir(target.parent)) == sorted(["kept", target.name])


def test_a_folder_that_was_absent_stays_so_if_it_cannot_be_amended(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        amend(tmp_path / "bundle" / "engines", None)
    assert os.listdir(tmp_path) == []


def test_where_no_links_can_be_made_what_is_in_an_amended_folder_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "not permitted")

    target = tmp_path / "engines"
    amend(target, "old")
    (target / "thesis").write_text("years of work")
    (target / "thesis").chmod(0o640)
    (target / "dangling").symlink_to("nowhere")
    monkeypatch.setattr(os, "link", fail)
    amend(target, "new")
    assert contents(target) == {"engine": b"new", "engine.json": b"new", "thesis": b"years of work"}
    assert stat.S_IMODE((target / "thesis").stat().st_mode) == 0o640
    assert os.readlink(target / "dangling") == "nowhere"


@pytest.mark.parametrize("change", ["added", "changed", "removed"])
def test_what_another_process_did_to_an_amended_folder_meanwhile_is_not_undone(tmp_path: Path, change: str) -> None:
    target = tmp_path / "engines"
    amend(target, "old")
    (target / "thesis").write_text("years of work")

    def write() -> None:
        with amended_directory(target, last="") as folder:
            (folder / "engine").unlink()
            if change == "removed":
                (target / "thesis").unlink()
            else:
                (target / ("thesis" if change == "changed" else "other")).write_text("more of it")

    with pytest.raises(ReidError, match="engines was changed by another process meanwhile; try again"):
        write()
    expected = {"engine": b"old", "engine.json": b"old", "thesis": b"years of work"}
    if change == "removed":
        del expected["thesis"]
    else:
        expected["thesis" if change == "changed" else "other"] = b"more of it"
    assert contents(target) == expected
    assert os.listdir(tmp_path) == ["engines"]


def test_only_a_folder_is_amended(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("years of work")
    for place, says in (("file", "exists and is not a folder"), ("file/engines", "cannot be made")):
        with pytest.raises(ReidError, match=f"{place} {says}.*; move it elsewhere"):
            amend(tmp_path / place, "new")
    assert contents(tmp_path) == {"file": b"years of work"}


# ---- workspaces ----


@pytest.mark.parametrize("place", ["folder", "volume"])
def test_a_workspace_is_on_the_file_system_of_its_target_and_goes(request: pytest.FixtureRequest, place: str) -> None:
    around: Path = request.getfixturevalue("tmp_path")
    target = request.getfixturevalue("volume") if place == "volume" else around / "target"
    dead, living = workspace_of(target, dead_process()), workspace_of(target, os.getppid())
    if place == "volume":
        dead, living = target / dead.name, target / living.name
    for left in (dead, living):
        left.mkdir()
        (left / "half").touch()
    with workspace_for(target) as workspace:
        assert workspace.parent == (target if place == "volume" else target.parent)
        assert os.listdir(workspace) == []
        (workspace / "half").touch()
    assert not workspace.exists()
    assert not dead.exists()
    assert living.exists()


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
from reid.runtime.files.manifest import replaceable_directory
from reid.runtime.files.storage import atomic_write

root, size = Path(sys.argv[1]), 1 << 16
print("ready", flush=True)
for turn in range(1_000_000):
    letter = b"abcdefgh"[turn % 8 : turn % 8 + 1]
    atomic_write(root / "file", letter * size)
    with replaceable_directory(root / "bundle") as folder:
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
            assert (root / "bundle" / MANIFEST_FILE).exists()
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
    with replaceable_directory(target) as folder:
        (folder / "marker").touch()
    assert not dead.exists()
    assert living.exists()
    assert (tmp_path / ".results.elsewhere.1.abcd.partial").exists()


def test_a_folder_that_a_killed_process_had_moved_aside_comes_back(tmp_path: Path) -> None:
    target = tmp_path / "results"
    write_bundle(target, "old")
    workspace = workspace_of(target, dead_process())
    workspace.mkdir()
    target.rename(workspace / "replaced")
    with pytest.raises(RuntimeError), replaceable_directory(target):
        raise RuntimeError
    assert contents(target) == bundle("old")


@pytest.mark.parametrize("name", ["replaced", "taking", "names", "new"])
@pytest.mark.parametrize("in_place", [False, True])
def test_an_output_may_have_any_name(
    tmp_path: Path, name: str, in_place: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that the workspace uses for itself, when a kill left half of it there."""
    target = tmp_path / name
    if in_place:
        target.mkdir()
        monkeypatch.setattr(publishing, "_is_mount_point", lambda folder: folder == target)
    child = os.fork()
    if not child:
        with replaceable_directory(target) as folder:
            (folder / "half").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with replaceable_directory(target) as folder:
        (folder / "whole").touch()
    assert {path.name for path in target.iterdir()} == {"whole", MANIFEST_FILE}
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("whose", ["another user's", "open to others", "a link"])
def test_what_somebody_else_planted_beside_an_output_is_neither_published_nor_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    target = tmp_path / "results"
    planted = workspace_of(target, dead_process())
    place = tmp_path / "theirs" if whose == "a link" else planted
    (place / "replaced").mkdir(parents=True)
    (place / "replaced" / "rankings.json").write_text("made up")
    if whose == "a link":
        planted.symlink_to(place)
    elif whose == "open to others":
        planted.chmod(0o777)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(RuntimeError), replaceable_directory(target):
        raise RuntimeError
    assert not target.exists()
    assert (planted / "replaced" / "rankings.json").exists()


def test_files_that_killed_processes_left_are_cleared(tmp_path: Path) -> None:
    target = tmp_path / "file"
    dead, living = workspace_of(target, dead_process()), workspace_of(target, os.getppid())
    dead.write_text("half")
    living.write_text("half")
    atomic_write(target, b"whole")
    assert sorted(os.listdir(tmp_path)) == sorted([living.name, "file"])
