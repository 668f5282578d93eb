"""The file of a saved gallery: it comes back whole, or is refused."""

from __future__ import annotations

import os
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reid.runtime.errors import DataError, ModelError, ReidError
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.memory import MemoryGallery
from reid.runtime.space import Space

SPACE = Space("f" * 64, "fp16", 6)
ENTRIES = (
    Entry("a/b", "c001", "0007", 12.5, "/x/2.jpg", 3),
    Entry("größe \udcff.jpg"),
    Entry("c", None, "9", -1.0, "relative.jpg", 1),
)


def unit(rows: int, seed: int = 0, dimensions: int = 6) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def gallery_of(rows: int) -> MemoryGallery:
    return MemoryGallery(tuple(Entry(f"g{row}") for row in range(rows)), unit(rows), SPACE)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "gallery.npz"
    MemoryGallery(ENTRIES, unit(3), SPACE).save(path)
    return path


def test_a_saved_gallery_comes_back_whole(saved: Path) -> None:
    loaded = MemoryGallery.open(saved, SPACE)
    assert loaded.members == (*ENTRIES[:2], replace(ENTRIES[2], picture=str(Path("relative.jpg").absolute())))
    assert (loaded.space, loaded.kind) == (SPACE, "tracklets")
    assert MemoryGallery.open(saved).space == SPACE
    assert np.array_equal(loaded.embeddings, unit(3))


def test_a_gallery_is_replaced_whole_or_not_at_all(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", lambda file, **_: (file.write(b"half"), 1 / 0))
        with pytest.raises(ZeroDivisionError):
            gallery_of(2).save(saved)
    assert saved.read_bytes() == before
    gallery_of(2).save(str(saved))
    assert [entry.id for entry in MemoryGallery.open(str(saved), SPACE).members] == ["g0", "g1"]
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_gallery_of_another_model_is_refused_with_both_fingerprints(saved: Path) -> None:
    with pytest.raises(ModelError, match=rf"{'f' * 12}.*{'e' * 12}"):
        MemoryGallery.open(saved, replace(SPACE, fingerprint="e" * 64))


def test_a_gallery_of_another_precision_is_refused_with_both(saved: Path) -> None:
    with pytest.raises(ModelError, match="embedded in fp16, not int8: use --precision fp16"):
        MemoryGallery.open(saved, replace(SPACE, precision="int8"))


def test_a_gallery_of_before_the_precision_was_recorded_loads_with_a_word(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rewrite(saved, format_version=np.array(1), precision=None, digest=None, times=None, frames=None)
    assert np.array_equal(MemoryGallery.open(saved, SPACE).embeddings, unit(3))
    assert "does not state its precision; assuming fp16" in caplog.text


def rewrite(path: Path, **changes: np.ndarray | None) -> None:
    with np.load(path) as stored:
        fields = {name: stored[name] for name in stored.files} | changes
    np.savez(path, **{name: value for name, value in fields.items() if value is not None})


def test_a_gallery_of_before_there_were_times_and_frames_loads_with_its_kind(saved: Path) -> None:
    rewrite(saved, format_version=np.array(2), digest=None, times=None, frames=None, kind=np.array("tracklets"))
    loaded = MemoryGallery.open(saved)
    assert loaded.kind == "tracklets"
    assert [(entry.time_s, entry.frames) for entry in loaded.members] == [(None, 0)] * 3
    loaded.save(saved)
    assert MemoryGallery.open(saved).kind == "tracklets"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ids": np.array(["a", "b", "a"])}, "entry 'a' is there twice"),
        ({"ids": np.array(["a", "", "c"])}, "its id is empty"),
        ({"embeddings": np.ones((3, 6), np.float32)}, r"length 2\.449, expected 1"),
    ],
)
def test_what_is_in_a_file_of_before_there_was_a_digest_is_checked(
    saved: Path, changes: dict[str, np.ndarray], reason: str
) -> None:
    rewrite(saved, format_version=np.array(2), digest=None, times=None, frames=None, **changes)
    with pytest.raises(DataError, match=rf"gallery\.npz is not a readable gallery .*{reason}"):
        MemoryGallery.open(saved)


def test_a_precision_that_nobody_knows_is_refused(saved: Path) -> None:
    rewrite(saved, format_version=np.array(2), digest=None, times=None, frames=None, precision=np.array("int9"))
    for space in (None, SPACE):
        with pytest.raises(ReidError, match="int9"):
            MemoryGallery.open(saved, space)


def test_a_file_that_states_no_precision_needs_a_space(saved: Path) -> None:
    rewrite(saved, format_version=np.array(1), precision=None, digest=None, times=None, frames=None)
    with pytest.raises(DataError, match="does not state its precision"):
        MemoryGallery.open(saved)


def test_a_text_that_the_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ends in NUL"):
        MemoryGallery((Entry("a\0"),), unit(1), SPACE).save(tmp_path / "gallery.npz")
    assert not list(tmp_path.iterdir())


def test_a_gallery_of_before_there_was_a_digest_loads(saved: Path) -> None:
    rewrite(saved, format_version=np.array(2), digest=None, times=None, frames=None)
    assert np.array_equal(MemoryGallery.open(saved, SPACE).embeddings, unit(3))


def test_a_newer_format_is_refused_with_the_remedy(saved: Path) -> None:
    rewrite(saved, format_version=np.array(6))
    with pytest.raises(DataError, match=r"format version 6.*update reid"):
        MemoryGallery.open(saved, SPACE)
    rewrite(saved, pictures=None, crops=np.array(["a newer format has other fields"]))
    with pytest.raises(DataError, match=r"format version 6.*update reid"):
        MemoryGallery.open(saved, SPACE)


@pytest.mark.parametrize(
    "field", ["embeddings", "ids", "cameras", "vehicles", "pictures", "fingerprint", "precision", "times", "frames"]
)
def test_a_change_that_keeps_the_form_is_noticed_by_the_digest(saved: Path, field: str) -> None:
    with np.load(saved) as stored:
        value = stored[field]
    other = np.full_like(value, "/other") if value.dtype.kind == "U" else value[::-1]
    rewrite(saved, **{field: other})
    with pytest.raises((DataError, ModelError), match=r"digest differs"):
        MemoryGallery.open(saved, SPACE)


def test_a_field_that_nobody_wrote_is_refused_unread(saved: Path) -> None:
    rewrite(saved, bomb=np.zeros(1 << 24, np.uint8))
    tracemalloc.start()
    with pytest.raises(DataError, match="it also holds bomb"):
        MemoryGallery.open(saved, SPACE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 22


def test_a_compressed_gallery_which_could_be_larger_than_its_file_is_refused(saved: Path) -> None:
    with np.load(saved) as stored:
        np.savez_compressed(saved, **{name: stored[name] for name in stored.files})
    with pytest.raises(DataError, match="compressed arrays"):
        MemoryGallery.open(saved, SPACE)


@pytest.mark.parametrize("picture", ["../crop.jpg", "/x/a\0b.jpg"])
def test_pictures_are_absolute_paths(saved: Path, picture: str) -> None:
    rewrite(saved, format_version=np.array(2), digest=None, times=None, frames=None, pictures=np.array([picture] * 3))
    with pytest.raises(DataError, match="pictures are not absolute paths"):
        MemoryGallery.open(saved, SPACE)


def test_a_pipe_or_a_device_is_no_gallery(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    for name, what in (("pipe.npz", "a named pipe"), ("zero.npz", "a device")):
        with pytest.raises(DataError, match=f"{name}: {what}, not a file"):
            MemoryGallery.open(tmp_path / name, SPACE)


@pytest.mark.parametrize(
    "changes",
    [
        {"ids": None},
        {"ids": np.array(["only one"])},
        {"embeddings": unit(2)},
        {"embeddings": np.array("text")},
        {"embeddings": unit(3, dimensions=5)},
        {"embeddings": unit(3)[:, 0]},
        {"format_version": np.array([1, 2])},
        {"ids": np.array([{"pickled": 1}] * 3, dtype=object)},
        {"cameras": np.arange(3)},
        {"vehicles": np.array([["a"], ["b"], ["c"]])},
        {"digest": None},
        {"kind": np.array("vehicles")},
        {"times": None},
        {"frames": np.ones(3)},
    ],
    ids=[
        "field missing",
        "too few ids",
        "too few embeddings",
        "text for numbers",
        "other size",
        "numbers",
        "two versions",
        "pickle",
        "numbers for text",
        "a table for a column",
        "no digest",
        "unknown kind",
        "no times",
        "numbers with fractions",
    ],
)
def test_a_gallery_that_contradicts_itself_is_refused(saved: Path, changes: dict[str, np.ndarray | None]) -> None:
    rewrite(saved, **changes)
    with pytest.raises(DataError, match="not a readable gallery"):
        MemoryGallery.open(saved, SPACE)


def test_other_files_are_no_galleries(tmp_path: Path) -> None:
    picture, array, archive, empty = (tmp_path / name for name in ("a.jpg", "a.npy", "a.zip", "empty.npz"))
    picture.write_bytes(b"\xff\xd8 not much of a picture")
    np.save(array, unit(3))
    zipfile.ZipFile(archive, "w").close()
    empty.touch()
    for path in (picture, array, archive, empty):
        with pytest.raises(DataError, match=f"{path.name} is not a readable gallery"):
            MemoryGallery.open(path, SPACE)


def test_a_damaged_gallery_is_refused_or_gives_what_was_stored(saved: Path) -> None:
    content, whole = saved.read_bytes(), MemoryGallery.open(saved, SPACE)
    random = np.random.default_rng(0)
    refused = 0
    for position in random.choice(len(content), 250, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= int(random.integers(1, 256))
        saved.write_bytes(damaged)
        try:
            loaded = MemoryGallery.open(saved, SPACE)
        except ReidError:
            refused += 1
        else:  # time stamps and the like, which nothing reads
            assert np.array_equal(loaded.embeddings, whole.embeddings)
            assert loaded.members == whole.members
    assert refused > 100
    for end in (0, 10, len(content) // 2, len(content) - 1):
        saved.write_bytes(content[:end])
        with pytest.raises(DataError, match="not a readable gallery"):
            MemoryGallery.open(saved, SPACE)
