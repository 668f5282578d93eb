"""Whatever is done with a gallery, it is as a dictionary would be, and its rankings are those of a loop."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from stored_galleries import DIMENSIONS, SPACE, Model, contents, files_of, make_entries, naive_search, unit

from reid.runtime.errors import DataError
from reid.runtime.galleries.conditions import Condition, Travel
from reid.runtime.galleries.store import compaction, search
from reid.runtime.galleries.store.manifest import Storage
from reid.runtime.galleries.store.store import Store
from reid.runtime.galleries.travel_times import Sighting, TravelTimes

_CAMERAS = st.sampled_from(["c1", "c2", "c3", "c4"])
_TIMES = st.integers(-1, 10).map(float)
_LIMITS = st.dictionaries(
    st.tuples(_CAMERAS, _CAMERAS), st.tuples(st.integers(0, 4), st.sampled_from([0, 3, np.inf])), max_size=8
).map(lambda found: TravelTimes({pair: (float(least), least + most) for pair, (least, most) in found.items()}))
_CONDITIONS = st.builds(
    Condition,
    cameras=st.none() | st.frozensets(_CAMERAS),
    not_cameras=st.just(frozenset()) | st.frozensets(_CAMERAS),
    time_s=st.none() | st.tuples(_TIMES, _TIMES),
    travel=st.none() | st.builds(Travel, times=_LIMITS, seen=st.builds(Sighting, camera=_CAMERAS, time_s=_TIMES)),
)


class StoreMachine(RuleBasedStateMachine):
    """A store and a dictionary to which the same is done."""

    storage: Storage = "fp32"

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="store-"))
        self.path = self.root / "gallery"
        self.store = Store.create(self.path, SPACE, storage=self.storage)
        self.reader, self.seen = Store.open(self.path), {}
        self.model: Model = {}
        self.number = itertools.count()

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.root)

    def _new(self, count: int, seed: int) -> Model:
        entries, embeddings = (
            make_entries([f"e{next(self.number)}" for _ in range(count)], seed),
            unit(count, seed=seed),
        )
        if self.storage == "fp16":
            embeddings = embeddings.astype(np.float16).astype(np.float32)
        return {entry.id: (entry, tuple(row)) for entry, row in zip(entries, embeddings.tolist(), strict=True)}

    @rule(count=st.integers(0, 7), seed=st.integers(0, 3))
    def add(self, count: int, seed: int) -> None:
        new = self._new(count, seed)
        _add(self.store, new)
        self.model |= new

    @rule(data=st.data())
    def add_what_is_there(self, data: st.DataObject) -> None:
        if self.model:
            identity = data.draw(st.sampled_from(sorted(self.model)))
            with pytest.raises(DataError, match=f"there is an entry '{identity}' already"):
                self.store.add(make_entries([f"new {identity}", identity]), unit(2))

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        ids = data.draw(st.lists(st.sampled_from([*sorted(self.model), "nobody"])))
        assert self.store.remove(ids) == len(self.model.keys() & set(ids))
        for identity in ids:
            self.model.pop(identity, None)

    @rule(data=st.data())
    def add_again_what_was_removed(self, data: st.DataObject) -> None:
        if self.model:
            identity = data.draw(st.sampled_from(sorted(self.model)))
            again = {identity: self.model.pop(identity)}
            self.store.remove([identity])
            _add(self.store, again)
            self.model |= again

    @rule()
    def compact(self) -> None:
        self.store.compact()
        assert len(self.store.segments) <= 1

    @rule(sizes=st.lists(st.integers(0, 4), max_size=3), seed=st.integers(0, 3))
    def merge(self, sizes: list[int], seed: int) -> None:
        others = [self._new(size, seed) for size in sizes]
        paths = [self.root / f"other{number}" for number in range(len(others))]
        for path, other in zip(paths, others, strict=True):
            with Store.create(path, SPACE) as written:
                _add(written, other)
        self.store.merge([Store.open(path) for path in paths])
        for path, other in zip(paths, others, strict=True):
            self.model |= other
            shutil.rmtree(path)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store.open(self.path, SPACE, write=True)

    @rule()
    def refresh_the_reader(self) -> None:
        changed = self.reader._now.manifest.generation != self.store._now.manifest.generation
        assert self.reader.refresh() == changed
        self.seen = dict(self.model)

    @rule(
        count=st.integers(1, 4),
        seed=st.integers(0, 5),
        k=st.integers(1, 9),
        conditions=st.lists(_CONDITIONS, min_size=4, max_size=4),
        any_entry=st.booleans(),
    )
    def search(self, count: int, seed: int, k: int, conditions: list[Condition], any_entry: bool) -> None:
        queries, asked = unit(count, seed=seed), None if any_entry else conditions[:count]
        for store, model in ((self.store, self.model), (self.reader, self.seen)):
            assert store.search(queries, k, asked) == naive_search(model, queries, k, asked or [Condition()] * count)

    @invariant()
    def is_as_the_dictionary(self) -> None:
        assert len(self.store) == len(self.model)
        assert list(contents(self.store).items()) == list(self.model.items())
        assert list(contents(self.reader).items()) == list(self.seen.items())
        assert files_of(self.path) == {"gallery.json", "lock", *self.store._now.manifest.files}


class HalfStoreMachine(StoreMachine):
    storage: Storage = "fp16"


def _add(store: Store, new: Model) -> None:
    embeddings = np.array([row for _, row in new.values()], np.float32).reshape(-1, DIMENSIONS)
    store.add([entry for entry, _ in new.values()], embeddings)


@pytest.mark.parametrize("machine", [StoreMachine, HalfStoreMachine])
def test_a_store_is_a_dictionary(machine: type[StoreMachine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_FIRST_ROWS", 2)
    monkeypatch.setattr(search, "_TILE_BYTES", 4 * DIMENSIONS * 3)
    monkeypatch.setattr(search, "_QUERIES", 3)
    monkeypatch.setattr(search, "_DECIDED_ROWS", 2)
    monkeypatch.setattr(compaction, "_FOLDED_BYTES", 4 * DIMENSIONS * 8)
    with patch("os.fsync"):  # which is slow, and what it is for is tested elsewhere
        run_state_machine_as_test(machine, settings=settings(max_examples=15, stateful_step_count=15))
