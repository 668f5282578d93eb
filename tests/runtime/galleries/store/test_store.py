from __future__ import annotations

import os
import shutil
import threading
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from stored_galleries import DIMENSIONS, SPACE, contents, files_of, make_entries, unit

from reid.runtime.errors import DataError, ModelError, ReidError
from reid.runtime.galleries.conditions import Condition
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.ranking import top_k
from reid.runtime.galleries.store import compaction, search
from reid.runtime.galleries.store.blocks import BLOCK
from reid.runtime.galleries.store.filtering import allowed_rows
from reid.runtime.galleries.store.segment import Segment
from reid.runtime.galleries.store.store import Store
from reid.runtime.space import Space

LARGE = Space("a" * 64, "fp16", 256)
ROWS = 1500
"""Of 256 numbers: more than five blocks."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.create(tmp_path / "gallery", SPACE) as store:
        yield store


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of several blocks and segments; its entries are numbers and were seen at that time."""
    path = tmp_path_factory.mktemp("large") / "gallery"
    embeddings = unit(ROWS, 256)
    with Store.create(path, LARGE) as store:
        for start, stop in ((0, 1000), (1000, ROWS)):
            store.add([numbered(row) for row in range(start, stop)], embeddings[start:stop])
    return path


def numbered(row: int) -> Entry:
    return Entry(str(row), f"c{row % 7}", time_s=float(row), picture=f"/{'long' * 100}/{row}.jpg")


def refused(store: Store, entries: list[Entry], embeddings: NDArray[np.float32]) -> str:
    before, files = contents(store), files_of(store.path)
    with pytest.raises(DataError) as error:
        store.add(entries, embeddings)
    assert contents(store) == before
    assert files_of(store.path) == files
    return str(error.value)


# ---- what goes in ----


@pytest.mark.parametrize(
    ("scale", "length"), [(1.02, "1.02"), (0, "0"), (np.nan, "nan"), (np.inf, "inf"), (1e30, "inf")]
)
def test_an_embedding_without_length_1_is_refused(store: Store, scale: float, length: str) -> None:
    embeddings = unit(3)
    with np.errstate(all="ignore"):
        embeddings[1] *= np.float32(scale)
    assert f"embedding 1 has length {length}" in refused(store, make_entries("abc"), embeddings)


@pytest.mark.parametrize("shape", [(3, DIMENSIONS + 1), (3,), (0, 2)])
def test_embeddings_of_another_size_are_refused(store: Store, shape: tuple[int, ...]) -> None:
    assert "do not fit a gallery of 6 dimensions" in refused(store, make_entries("abc"), np.ones(shape, np.float32))


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (Entry(""), "its id is empty"),
        (Entry("x", camera=""), "the camera is empty"),
        (Entry("x", vehicle=""), "the vehicle is empty"),
        (Entry("x", time_s=float("nan")), "its time is nan"),
        (Entry("x", frames=-1), "it has -1 frames"),
        (Entry("x", frames=2**31), "frames"),
        (Entry("x", picture="\0"), "NUL"),
        (Entry("0"), "'0' is there twice"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(store: Store, entry: Entry, reason: str) -> None:
    assert reason in refused(store, [Entry("0"), entry], unit(2))


def test_there_is_an_embedding_for_each_entry(store: Store) -> None:
    assert refused(store, make_entries("ab"), unit(3)).startswith("2 entries and 3 embeddings")


@pytest.mark.parametrize(
    ("space", "error", "reason"),
    [
        (Space("e" * 64, "fp32", DIMENSIONS), ModelError, "was made by model {}, this one is {}"),
        (Space("f" * 64, "int8", DIMENSIONS), ModelError, "was embedded in {}, not {}"),
        (Space("f" * 64, "fp32", 9), DataError, "embeddings of {} numbers, not {}"),
    ],
)
def test_a_gallery_of_another_space_is_refused(
    store: Store, tmp_path: Path, space: Space, error: type[ReidError], reason: str
) -> None:
    ours, theirs = "(f{12}|fp32|6)", "(e{12}|int8|9)"
    with pytest.raises(error, match=f"^{store.path} .*{reason.format(ours, theirs)}"):
        Store.open(store.path, space)
    other = Store.create(tmp_path / "other", space)
    with pytest.raises(error, match=f"^{other.path} .*{reason.format(theirs, ours)}"):
        store.merge([other])


def test_galleries_that_share_an_id_are_not_merged(store: Store, tmp_path: Path) -> None:
    others = []
    for name, ids in (("one", "ab"), ("other", "cb")):
        others.append(Store.create(tmp_path / name, SPACE))
        others[-1].add(make_entries(ids), unit(2))
    with pytest.raises(DataError, match="there is an entry 'b' already"):
        store.merge(others)
    assert len(store) == 0
    store.merge(others[:1])
    with pytest.raises(DataError, match="there is an entry 'b' already"):
        store.merge(others[1:])
    others[1].remove(["b"])
    store.merge(others[1:])
    assert list(contents(store)) == ["a", "b", "c"]


def test_nothing_is_made_where_something_is(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("years of work")
    with pytest.raises(ReidError, match="not an empty folder"):
        Store.create(tmp_path, SPACE)
    with pytest.raises(DataError, match=r"gallery\.json: No such file.*give the folder of a gallery"):
        Store.open(tmp_path)
    assert files_of(tmp_path) == {"thesis"}


# ---- writers and readers ----


def test_a_second_writer_is_refused_in_one_line_until_the_first_has_closed(store: Store) -> None:
    with pytest.raises(DataError, match=rf"is being written by process {os.getpid()} on .*: wait for it"):
        Store.open(store.path, write=True)
    store.add(make_entries("a"), unit(1))
    store.close()
    with Store.open(store.path, write=True) as second:
        assert list(contents(second)) == ["a"]


def test_a_copy_of_the_process_neither_writes_nor_holds_the_lock(store: Store) -> None:
    receiver, sender = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            store.add(make_entries("a"), unit(1))
        except DataError:
            code = 0
        os.close(sender)
        os.read(receiver, 1)  # until the parent is done
        os._exit(code)
    store.close()
    with Store.open(store.path, write=True) as second:
        second.add(make_entries("b"), unit(1))
    os.close(sender)
    assert os.waitpid(child, 0)[1] == 0


def test_a_reader_changes_nothing_and_needs_no_right_to(store: Store) -> None:
    store.add(make_entries("abc"), unit(3))
    store.close()
    before = {path.name: path.stat() for path in store.path.iterdir()}
    for path in store.path.iterdir():
        path.chmod(0o444)
    store.path.chmod(0o555)
    with Store.open(store.path) as reader:
        assert len(reader.search(unit(1), 2)[0]) == 2
        assert reader.verify() == []
        for change in (reader.compact, lambda: reader.remove(["a"]), lambda: reader.add([], unit(0))):
            with pytest.raises(DataError, match="is open for reading"):
                change()
    assert {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in store.path.iterdir()} == {
        name: (state.st_mtime_ns, state.st_ino) for name, state in before.items()
    }
    if os.geteuid():  # root may write anywhere
        (store.path / "lock").unlink(missing_ok=True)
        with pytest.raises(DataError, match="cannot be written to"):
            Store.open(store.path, write=True)
    store.path.chmod(0o755)


def test_a_reader_sees_one_moment_until_it_refreshes(store: Store) -> None:
    store.add(make_entries("abcdef"), unit(6))
    reader = Store.open(store.path)
    before, query = contents(reader), unit(2, seed=5)
    found = reader.search(query, 9)
    store.remove(["b", "d"])
    store.compact()
    store.add(make_entries("xyz"), unit(3, seed=1))
    store.compact()  # by now, no file is left that the reader has open
    assert contents(reader) == before
    assert reader.search(query, 9) == found
    assert reader.refresh()
    assert "".join(contents(reader)) == "acefxyz"
    assert not reader.refresh()


def test_readers_open_and_search_while_a_writer_compacts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer removes files all the time; each entry's camera is its id, so that a mixture would be seen."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    store.add([Entry("0", "0")], unit(1))
    over, failures = threading.Event(), []

    def read() -> None:
        shared = Store.open(store.path)
        while not over.is_set():
            for reader in (Store.open(store.path), shared, store):
                found = [match.entry for match in reader.search(unit(1), 50)[0]]
                numbers = sorted(int(entry.id) for entry in found)
                if any(entry.id != entry.camera for entry in found) or numbers != list(
                    range(numbers[0], numbers[-1] + 1)
                ):
                    failures.append(found)
            shared.refresh()

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, 25):
        store.add([Entry(str(number), str(number))], unit(1, seed=number))
        if number % 3 == 0:
            store.remove([str(number // 3 - 1)])
            store.compact()
    over.set()
    for thread in threads:
        thread.join()
    assert failures == []


def test_what_is_closed_is_not_used(store: Store) -> None:
    store.close()
    with pytest.raises(ValueError, match="is closed"):
        store.search(unit(1), 1)
    store.close()


def test_a_gallery_that_grows_by_single_entries_has_few_segments(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "_FOLDED_BYTES", 32 * 4 * DIMENSIONS)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    for number in range(130):
        store.add(make_entries([str(number)]), unit(1))
        rows = [segment.record.rows for segment in store.segments]
        assert max(rows) <= 32
        assert len(rows) <= number // 32 + 6
    assert list(contents(store)) == [str(number) for number in range(130)]


# ---- searches ----


def test_a_large_gallery_is_ranked_as_arrays_are(large: Path) -> None:
    embeddings, queries = unit(ROWS, 256), unit(300, 256, seed=3)
    with Store.open(large) as store:
        for k in (1, 7, 130):
            indices, scores = top_k(queries, embeddings, k)
            found = store.search(queries, k)
            assert [[int(match.entry.id) for match in one] for one in found] == indices.tolist()
            assert [[match.score for match in one] for one in found] == scores.tolist()
        assert [match.entry for match in found[0]] == [numbered(row) for row in indices[0].tolist()]
        assert store.verify() == []


def test_what_was_removed_is_not_found_whatever_the_condition(large: Path, tmp_path: Path) -> None:
    shutil.copytree(large, tmp_path / "gallery")
    embeddings, wanted = unit(ROWS, 256), [row for row in range(ROWS) if row % 7 == 2 and 100 <= row <= 1200]
    gone, left = wanted[::3], [row for row in wanted if row not in wanted[::3]]
    condition = Condition(frozenset({"c2"}), time_s=(100, 1200))
    with Store.open(tmp_path / "gallery", write=True) as store:
        assert store.remove(map(str, gone)) == len(gone)
        (one, other) = store.search(embeddings[gone[:2]], 9, [condition, Condition(not_cameras=frozenset({"c2"}))])
    indices, _ = top_k(embeddings[gone[:1]], embeddings[left], 9)
    assert [int(match.entry.id) for match in one] == [left[index] for index in indices[0]]
    rest = [row for row in range(ROWS) if row % 7 != 2]
    indices, _ = top_k(embeddings[gone[1:2]], embeddings[rest], 9)
    assert [int(match.entry.id) for match in other] == [rest[index] for index in indices[0]]


def test_equal_embeddings_keep_their_order_however_many_there_are(tmp_path: Path) -> None:
    embeddings = np.repeat(unit(1, 64), 9000, axis=0)
    with Store.create(tmp_path / "gallery", Space("f", "fp32", 64)) as store:
        for start in (0, 5000):
            rows = range(start, min(start + 5000, 9000))
            store.add([Entry(str(row)) for row in rows], embeddings[rows.start : rows.stop])
        store.remove(["1"])
        for found in store.search(embeddings[:40], 4):
            assert [match.entry.id for match in found] == ["0", "2", "3", "4"]
            assert len({match.score for match in found}) == 1


def test_memory_does_not_grow_with_the_gallery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what the page cache holds, which is not counted here."""
    tile = 1 << 16
    monkeypatch.setattr(search, "_TILE_BYTES", search._CONVERTED * tile)
    peaks = []
    with Store.create(tmp_path / "gallery", LARGE, storage="fp16") as store:
        for copy in "abc":
            store.add([Entry(f"{copy}{row}") for row in range(ROWS)], unit(ROWS, 256))
            store.search(unit(1, 256), 5)
            tracemalloc.start()
            store.search(unit(4, 256), 5)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert max(peaks) < 4 * tile
    assert max(peaks) < 1.1 * peaks[0]


def test_conditions_are_held_for_some_queries_at_a_time(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each, a row of the gallery takes a byte."""
    held = []

    def watched(segment: Segment, start: int, stop: int, conditions: Sequence[Condition]) -> object:
        held.append(len(conditions))
        return allowed_rows(segment, start, stop, conditions)

    monkeypatch.setattr(search, "_QUERIES", 20)
    monkeypatch.setattr(search, "allowed_rows", watched)
    conditions = [Condition(time_s=(row, row + number % 2)) for number, row in enumerate(range(0, ROWS - 1, 7))]
    with Store.open(large) as store:
        found = store.search(unit(ROWS, 256)[: len(conditions)], 2, conditions)
    assert max(held) == 20
    assert [sorted(int(match.entry.id) for match in one) for one in found] == [
        [row, row + 1][: 1 + number % 2] for number, row in enumerate(range(0, ROWS - 1, 7))
    ]


@pytest.mark.parametrize("place", ["embeddings", "time_s", "pictures"])
def test_damage_is_found_where_it_is_used_and_not_before(large: Path, tmp_path: Path, place: str) -> None:
    with Store.open(large) as store:
        section = store.segments[0]._sections[place]
        name = store.segments[0].path.name
        content = bytearray(store.segments[0].path.read_bytes())
    content[(section.start + section.stop) // 2] ^= 16
    for path in large.iterdir():
        (tmp_path / path.name).write_bytes(content if path.name == name else path.read_bytes())
    message = rf"{name} is damaged \(the checksum of bytes from [\d,]+ differs\); restore the gallery from a copy"
    with Store.open(tmp_path) as store:
        with pytest.raises(DataError, match=message):
            for _ in store.batches():
                pass
        if place == "embeddings":
            assert store.search(unit(1, 256), 1, [Condition(cameras=frozenset({"nowhere"}))]) == [()]
            assert (section.start + section.stop) // 2 > BLOCK
            with pytest.raises(DataError, match=message):
                store.search(unit(1, 256), 1)
            found = store.search(unit(1, 256), 1, [Condition(time_s=(0, 9))])  # from another block
            assert found[0][0].entry == numbered(0)
        (problem,) = store.verify()
        assert name in problem
    with Store.open(tmp_path, write=True) as store:
        with pytest.raises(DataError, match=message):
            store.compact()
        assert store.verify() == [problem]


def test_k_and_conditions_have_to_fit(store: Store) -> None:
    store.add(make_entries("ab"), unit(2))
    assert len(store.search(unit(1), 100)[0]) == 2
    assert store.search(unit(0), 3) == []
    with pytest.raises(ValueError, match="k is 0"):
        store.search(unit(1), 0)
    with pytest.raises(ValueError, match="2 queries, 1 conditions"):
        store.search(unit(2), 1, [Condition()])
    with pytest.raises(DataError, match="embedding 0 has length 2"):
        store.search(2 * unit(1), 1)
