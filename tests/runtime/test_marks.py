"""Whether numbers are among others, and what becomes of a file of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stored_galleries import SPACE, make_entries, unit

from reid.runtime.galleries.store.store import Store
from reid.runtime.marks import Marks, is_among, read_counterparts, write_counterparts


@pytest.mark.parametrize("size", [0, 1, 5, 300])
def test_a_number_is_among_others_if_it_is(size: int) -> None:
    random = np.random.default_rng(size)
    marks, others = (random.integers(0, 100, count, np.uint64) * np.uint64(2**57 + 1) for count in (200, size))
    found = is_among(marks, others)
    assert found.tolist() == [mark in set(others.tolist()) for mark in marks.tolist()]
    assert is_among(marks[:0], others).tolist() == []


def test_marks_tell_entries_apart_by_all_that_they_are_and_by_their_embeddings(tmp_path: Path) -> None:
    entries, marks = make_entries("abcd"), []
    for number, (added, seed) in enumerate([(entries, 0), (entries, 1), (make_entries("abcd", seed=1), 0)]):
        with Store.create(tmp_path / str(number), SPACE) as store:
            store.add(added, unit(4, seed=seed))
            marks.append(Marks.of(store))
    assert len({tuple(one.ids.tolist()) for one in marks}) == 1
    assert len({mark for one in marks for mark in one.contents[:2].tolist()}) == 6


def test_a_file_of_marks_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    assert read_counterparts(tmp_path).tolist() == []
    contents = np.arange(3, dtype=np.uint64)
    write_counterparts(tmp_path, Marks(contents, contents))
    assert read_counterparts(tmp_path).tolist() == [0, 1, 2]
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-3])
    assert read_counterparts(tmp_path).tolist() == [0, 1]
