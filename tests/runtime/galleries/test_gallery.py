from __future__ import annotations

import os
import tracemalloc
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reid.runtime.embedding import Embedded
from reid.runtime.errors import DataError, ModelError, ReidError
from reid.runtime.galleries.gallery import Gallery, open_gallery
from reid.runtime.pipeline.tracks import Unreadable
from reid.runtime.space import Space
from reid.runtime.tracklet import Frame, Tracklet

SPACE = Space("f" * 64, "fp16", 6)
CROP = np.zeros((2, 2, 3), np.uint8)


def unit(rows: int, seed: int = 0, dimensions: int = 6) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dimensions)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def entry(identity: str, embedding: np.ndarray | None, frames: tuple[Frame, ...] = (CROP,)) -> Embedded:
    tracklet = Tracklet(identity, frames)
    lost = () if embedding is not None else (Unreadable(0, f"{identity}.jpg: the file is empty"),)
    return Embedded(tracklet, embedding, {}, lost)


def gallery_of(vectors: np.ndarray) -> Gallery:
    return Gallery.collect([entry(f"g{i}", vector) for i, vector in enumerate(vectors)], SPACE)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    tracklets = (
        Tracklet("a/b", (Path("/x/1.jpg"), Path("/x/2.jpg"), Path("/x/3.jpg")), "c001", "0007"),
        Tracklet("größe \udcff.jpg", (CROP,)),
        Tracklet("c", (Path("relative.jpg"),), None, "9"),
    )
    path = tmp_path / "gallery.npz"
    Gallery(tracklets, unit(3), SPACE).save(path)
    return path


def test_matches_are_those_of_a_sort_by_similarity_for_every_query_in_order() -> None:
    members, queries = unit(37), unit(11, seed=1)
    rankings = list(gallery_of(members).rank((entry(f"q{i}", q) for i, q in enumerate(queries)), 5, block=4))
    assert [ranking.query.id for ranking in rankings] == [f"q{i}" for i in range(11)]
    for ranking, query in zip(rankings, queries, strict=True):
        scores = [(float(np.dot(query.astype(float), g)), f"g{i}") for i, g in enumerate(members)]
        expected = sorted(scores, key=lambda pair: -pair[0])[:5]
        assert [match.tracklet.id for match in ranking.matches] == [name for _, name in expected]
        assert [match.score for match in ranking.matches] == pytest.approx([score for score, _ in expected], abs=1e-6)


def test_the_first_ranking_comes_with_the_first_query_and_blocks_grow() -> None:
    drawn = 0

    def asked() -> Iterator[Embedded]:
        nonlocal drawn
        for number, query in enumerate(unit(40, seed=1)):
            drawn += 1
            yield entry(f"q{number}", query)

    ahead = [drawn - done for done, _ in enumerate(gallery_of(unit(5)).rank(asked(), 2, block=8), start=1)]
    assert ahead[0] == 0
    assert 0 < max(ahead) <= 7


def test_a_query_that_comes_late_does_not_wait_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    now, drawn = 0.0, 0
    monkeypatch.setattr("reid.runtime.galleries.gallery.time.monotonic", lambda: now)

    def asked() -> Iterator[Embedded]:
        nonlocal now, drawn
        for number, query in enumerate(unit(10, seed=1)):
            now, drawn = now + 1, drawn + 1
            yield entry(f"q{number}", query)

    assert [drawn - done for done, _ in enumerate(gallery_of(unit(5)).rank(asked(), 2), start=1)] == [0] * 10


def test_equal_matches_keep_the_order_of_the_gallery() -> None:
    same = np.repeat(unit(1), 6, axis=0)
    (ranking,) = gallery_of(same).rank([entry("q", same[0])], 4)
    assert [match.tracklet.id for match in ranking.matches] == ["g0", "g1", "g2", "g3"]


def test_more_matches_than_there_are_entries_are_all_of_them() -> None:
    (ranking,) = gallery_of(unit(3)).rank([entry("q", unit(1)[0])], 100)
    assert len(ranking.matches) == 3


def test_entries_without_an_embedding_are_neither_members_nor_queries() -> None:
    gallery = Gallery.collect([entry("lost", None), entry("kept", unit(1)[0])], SPACE)
    assert [tracklet.id for tracklet in gallery.tracklets] == ["kept"]
    rankings = list(gallery.rank([entry("lost", None), entry("q", unit(1)[0])], 1))
    assert [ranking.query.id for ranking in rankings] == ["q"]


def test_a_gallery_of_which_nothing_can_be_read_names_a_file() -> None:
    with pytest.raises(DataError, match=r"first\.jpg: the file is empty"):
        Gallery.collect([entry("first", None), entry("second", None)], SPACE)


def test_an_empty_gallery_is_refused() -> None:
    with pytest.raises(DataError, match="no image of the gallery"):
        Gallery.collect([], SPACE)


def test_queries_are_taken_a_block_at_a_time() -> None:
    drawn = 0

    def endless() -> Iterator[Embedded]:
        nonlocal drawn
        while True:
            drawn += 1
            yield entry(str(drawn), unit(1, seed=drawn)[0])

    stream = gallery_of(unit(5)).rank(endless(), 2, block=3)
    assert [next(stream).query.id for _ in range(7)] == [str(i) for i in range(1, 8)]
    assert drawn == 9


def test_a_saved_gallery_comes_back_with_its_middle_pictures(saved: Path) -> None:
    loaded = open_gallery(saved, SPACE)
    facts = [(t.id, t.camera, t.vehicle) for t in loaded.tracklets]
    assert facts == [("a/b", "c001", "0007"), ("größe \udcff.jpg", None, None), ("c", None, "9")]
    assert loaded.tracklets[0].frames == (Path("/x/2.jpg"),)
    assert loaded.tracklets[2].frames == (Path("relative.jpg").absolute(),)
    assert loaded.space == SPACE
    assert np.array_equal(loaded.embeddings, unit(3))


def test_a_gallery_is_replaced_whole_or_not_at_all(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", lambda file, **_: (file.write(b"half"), 1 / 0))
        with pytest.raises(ZeroDivisionError):
            gallery_of(unit(2)).save(saved)
    assert saved.read_bytes() == before
    gallery_of(unit(2)).save(str(saved))
    assert [tracklet.id for tracklet in open_gallery(str(saved), SPACE).tracklets] == ["g0", "g1"]
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_gallery_of_another_model_is_refused_with_both_fingerprints(saved: Path) -> None:
    with pytest.raises(ModelError, match=rf"{'f' * 12}.*{'e' * 12}"):
        open_gallery(saved, replace(SPACE, fingerprint="e" * 64))


def test_a_gallery_of_another_precision_is_refused_with_both(saved: Path) -> None:
    with pytest.raises(ModelError, match="embedded in fp16, not int8: use --precision fp16"):
        open_gallery(saved, replace(SPACE, precision="int8"))


def test_a_gallery_of_before_the_precision_was_recorded_loads_with_a_word(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rewrite(saved, format_version=np.array(1), precision=None, digest=None)
    assert np.array_equal(open_gallery(saved, SPACE).embeddings, unit(3))
    assert "does not state its precision; assuming fp16" in caplog.text


def rewrite(path: Path, **changes: np.ndarray | None) -> None:
    with np.load(path) as stored:
        fields = {name: stored[name] for name in stored.files} | changes
    np.savez(path, **{name: value for name, value in fields.items() if value is not None})


def test_a_gallery_of_before_there_was_a_digest_loads(saved: Path) -> None:
    rewrite(saved, format_version=np.array(2), digest=None)
    assert np.array_equal(open_gallery(saved, SPACE).embeddings, unit(3))


def test_a_newer_format_is_refused_with_the_remedy(saved: Path) -> None:
    rewrite(saved, format_version=np.array(5))
    with pytest.raises(DataError, match=r"format version 5.*update reid"):
        open_gallery(saved, SPACE)
    rewrite(saved, pictures=None, crops=np.array(["a newer format has other fields"]))
    with pytest.raises(DataError, match=r"format version 5.*update reid"):
        open_gallery(saved, SPACE)


@pytest.mark.parametrize("field", ["embeddings", "ids", "cameras", "vehicles", "pictures", "fingerprint", "precision"])
def test_a_change_that_keeps_the_form_is_noticed_by_the_digest(saved: Path, field: str) -> None:
    with np.load(saved) as stored:
        value = stored[field]
    other = np.full_like(value, "/other") if value.dtype.kind == "U" else value[::-1]
    rewrite(saved, **{field: other})
    with pytest.raises((DataError, ModelError), match=r"digest differs"):
        open_gallery(saved, SPACE)


def test_a_field_that_nobody_wrote_is_refused_unread(saved: Path) -> None:
    rewrite(saved, bomb=np.zeros(1 << 24, np.uint8))
    tracemalloc.start()
    with pytest.raises(DataError, match="it also holds bomb"):
        open_gallery(saved, SPACE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 22


def test_a_compressed_gallery_which_could_be_larger_than_its_file_is_refused(saved: Path) -> None:
    with np.load(saved) as stored:
        np.savez_compressed(saved, **{name: stored[name] for name in stored.files})
    with pytest.raises(DataError, match="compressed arrays"):
        open_gallery(saved, SPACE)


@pytest.mark.parametrize("picture", ["../crop.jpg", "/x/a\0b.jpg"])
def test_pictures_are_absolute_paths(saved: Path, picture: str) -> None:
    rewrite(saved, format_version=np.array(2), digest=None, pictures=np.array([picture] * 3))
    with pytest.raises(DataError, match="pictures are not absolute paths"):
        open_gallery(saved, SPACE)


def test_a_pipe_or_a_device_is_no_gallery(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    for name, what in (("pipe.npz", "a named pipe"), ("zero.npz", "a device")):
        with pytest.raises(DataError, match=f"{name}: {what}, not a file"):
            open_gallery(tmp_path / name, SPACE)


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
    ],
)
def test_a_gallery_that_contradicts_itself_is_refused(saved: Path, changes: dict[str, np.ndarray | None]) -> None:
    rewrite(saved, **changes)
    with pytest.raises(DataError, match="not a readable gallery"):
        open_gallery(saved, SPACE)


def test_other_files_are_no_galleries(tmp_path: Path) -> None:
    picture, array, archive, empty = (tmp_path / name for name in ("a.jpg", "a.npy", "a.zip", "empty.npz"))
    picture.write_bytes(b"\xff\xd8 not much of a picture")
    np.save(array, unit(3))
    zipfile.ZipFile(archive, "w").close()
    empty.touch()
    for path in (picture, array, archive, empty):
        with pytest.raises(DataError, match=f"{path.name} is not a readable gallery"):
            open_gallery(path, SPACE)


def test_a_damaged_gallery_is_refused_or_gives_what_was_stored(saved: Path) -> None:
    content, whole = saved.read_bytes(), open_gallery(saved, SPACE)
    random = np.random.default_rng(0)
    refused = 0
    for position in random.choice(len(content), 250, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= int(random.integers(1, 256))
        saved.write_bytes(damaged)
        try:
            loaded = open_gallery(saved, SPACE)
        except ReidError:
            refused += 1
        else:  # time stamps and the like, which nothing reads
            assert np.array_equal(loaded.embeddings, whole.embeddings)
            assert [t.id for t in loaded.tracklets] == [t.id for t in whole.tracklets]
    assert refused > 100
    for end in (0, 10, len(content) // 2, len(content) - 1):
        saved.write_bytes(content[:end])
        with pytest.raises(DataError, match="not a readable gallery"):
            open_gallery(saved, SPACE)
