from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from stored_galleries import make_entries, unit
from strict_cuda import Driver, cuda_on
from strict_ranking import Ranking

from reid.runtime.errors import SessionError
from reid.runtime.galleries.conditions import ANY, Condition, Travel
from reid.runtime.galleries.store import device_tiles
from reid.runtime.galleries.store.filtering import windows_of
from reid.runtime.galleries.store.on_device import ROOM, StoreOnDevice
from reid.runtime.galleries.store.store import Store
from reid.runtime.galleries.travel_times import Sighting, TravelTimes
from reid.runtime.space import Space

DIMENSIONS, ROWS = 8, 700
SPACE = Space("f" * 64, "fp32", DIMENSIONS)
TILE = 4 * DIMENSIONS * 100

TRAVEL = TravelTimes({("c1", "c2"): (2.0, 4.0), ("c2", "c1"): (1.0, float("inf")), ("c1", "c1"): (3.0, 5.0)})
CONDITIONS = [
    ANY,
    Condition(cameras=frozenset({"c1", "c3", "elsewhere"})),
    Condition(not_cameras=frozenset({"c2"})),
    Condition(time_s=(3.0, 6.0)),
    Condition(time_s=(-np.inf, np.inf)),
    Condition(cameras=frozenset({"c1"}), time_s=(4.0, 4.0)),
    Condition(travel=Travel(TRAVEL, Sighting("c2", 5.0))),
    Condition(time_s=(2.0, 8.0), travel=Travel(TRAVEL, Sighting("c1", 4.0))),
    Condition(cameras=frozenset()),
]


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def kernels(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> Ranking:
    """Kernels on a GPU on which a tile has 100 rows."""
    monkeypatch.setattr(device_tiles, "_TILE_BYTES", TILE)
    return Ranking(driver, cuda_on(driver, "pycuda"))


@pytest.fixture(params=["fp32", "fp16"])
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store of two segments, of which rows are removed."""
    with Store.create(tmp_path / "gallery", SPACE, storage=request.param) as store:
        entries, embeddings = make_entries(map(str, range(ROWS))), unit(ROWS, DIMENSIONS)
        store.add(entries[:450], embeddings[:450])
        store.add(entries[450:], embeddings[450:])
        assert len(store.segments) == 2
        yield store


def queries(count: int) -> NDArray[np.float32]:
    return unit(count, DIMENSIONS, seed=1)


def on(kernels: Ranking, store: Store, room: int = ROOM) -> StoreOnDevice:
    return StoreOnDevice(store, kernels, room=room)  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [1, 10, 960])
def test_a_gpu_finds_what_the_cpu_finds(store: Store, kernels: Ranking, driver: Driver, k: int) -> None:
    searched, asked = on(kernels, store), queries(40)
    assert searched.search(asked, k) == store.search(asked, k)
    assert sum(kernels.scored) == ROWS
    store.remove([str(row) for row in range(0, 500, 7)])
    assert searched.search(asked[:1], k) == store.search(asked[:1], k)
    searched.close()
    assert not driver.faults


@pytest.mark.parametrize("removed", [0, 100])
def test_conditions_are_those_of_the_cpu(store: Store, kernels: Ranking, removed: int) -> None:
    store.remove(map(str, range(removed)))
    asked = queries(len(CONDITIONS))
    searched = on(kernels, store)
    for _ in range(2):
        found = searched.search(asked, 20, CONDITIONS)
        assert found == store.search(asked, 20, CONDITIONS)
    assert [bool(one) for one in found] == [True] * 8 + [False]


def test_windows_say_what_conditions_say(store: Store) -> None:
    cameras = (None, "c1", "c2", "c3")
    windows = windows_of(CONDITIONS, cameras)
    for entry in (entry for entries, _ in store.batches() for entry in entries):
        at = -np.inf if entry.time_s is None else entry.time_s
        for condition, own in zip(CONDITIONS, windows[:, cameras.index(entry.camera)], strict=True):
            assert any(first <= at <= last for first, last in own) == condition.allows(entry)


@pytest.mark.parametrize("room", [0, 3 * TILE])
def test_what_does_not_fit_is_uploaded_for_each_search(
    store: Store, kernels: Ranking, driver: Driver, room: int
) -> None:
    searched, asked = on(kernels, store, room), queries(3)
    expected = store.search(asked, 5)
    uploads = []
    for _ in range(3):
        before = driver.calls["cuMemcpyHtoDAsync"]
        assert searched.search(asked, 5) == expected
        uploads.append(driver.calls["cuMemcpyHtoDAsync"] - before)
    tiles = len(kernels.scored) // 3
    kept = 0 if not room else 3 if store.storage == "fp32" else 4  # two of 200 rows, and two of 50
    assert uploads == [tiles + 1, tiles - kept + 1, tiles - kept + 1]  # the one is the queries


def test_a_gpu_without_room_takes_tile_by_tile(store: Store, kernels: Ranking, driver: Driver) -> None:
    searched, asked = on(kernels, store), queries(3)
    searched.search(asked, 5)
    searched.close()
    driver.room = driver.used + (1 << 26) + (1 << 20) + 2 * TILE
    assert searched.search(asked, 5) == store.search(asked, 5)


def test_many_that_are_alike_are_told_apart_by_the_cpu(tmp_path: Path, kernels: Ranking) -> None:
    """More than are proposed, and a bit from one to the next."""
    with Store.create(tmp_path / "gallery", SPACE) as store:
        embeddings = np.repeat(queries(1), 300, axis=0)
        embeddings[::3, 0] = np.nextafter(embeddings[0, 0], np.float32(2))
        store.add(make_entries(map(str, range(300))), embeddings)
        found = on(kernels, store).search(queries(2), 30)
        assert found == store.search(queries(2), 30)
        ids = [int(one.entry.id) for one in found[0]]
        assert ids in (sorted(ids), [*range(0, 90, 3)])


def test_it_sees_what_a_writer_does(store: Store, kernels: Ranking, driver: Driver) -> None:
    asked = queries(4)
    with Store.open(store.path) as reader:
        searched = on(kernels, reader)
        searched.search(asked, 5)
        store.remove(["3", "5"])
        store.add(make_entries(["new", "newer"], seed=9), asked[:2])
        assert searched.search(asked, 5) == reader.search(asked, 5)
        reader.refresh()
        found = searched.search(asked, 5)
        assert found == store.search(asked, 5)
        assert found[0][0].entry.id == "new"
        store.compact()
        reader.refresh()
        used = driver.used
        assert searched.search(asked, 5) == store.search(asked, 5)
        assert driver.used <= used  # what is of files that are gone is given back


def test_what_it_cannot_take(tmp_path: Path, kernels: Ranking) -> None:
    with Store.create(tmp_path / "odd", Space("f" * 64, "fp32", 12)) as store, pytest.raises(SessionError) as error:
        on(kernels, store)
    assert str(error.value).startswith(f"{store.path}: embeddings have 12 dimensions")
    with Store.create(tmp_path / "empty", SPACE) as store:
        assert on(kernels, store).search(queries(2), 5) == [(), ()]
        store.add(make_entries("ab"), queries(2))
        searched = on(kernels, store)
        assert searched.search(queries(2), 2000) == store.search(queries(2), 2000)
        assert not kernels.scored
        with pytest.raises(ValueError, match="2 queries, 1 conditions"):
            searched.search(queries(2), 5, [ANY])
        assert (searched.space, len(searched), searched.kind) == (SPACE, 2, store.kind)
