"""Rankings of galleries in memory and on disk, against a naive loop and one another, and as queries come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stored_galleries import DIMENSIONS, SPACE, Model, make_entries, naive_search, unit

from reid.runtime.embedding import Embedded
from reid.runtime.galleries.conditions import Condition, Travel
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.expansion import expanded_queries
from reid.runtime.galleries.memory import MemoryGallery
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.galleries.protocol import Gallery
from reid.runtime.galleries.queries import rank
from reid.runtime.galleries.ranked_lists import Ranking
from reid.runtime.galleries.reranking import reranked_rows
from reid.runtime.galleries.store.store import Store
from reid.runtime.galleries.travel_times import Sighting, TravelTimes
from reid.runtime.tracklet import Tracklet

CROP = np.zeros((2, 2, 3), np.uint8)
ENTRIES, EMBEDDINGS = make_entries(f"g{row}" for row in range(150)), unit(150)
GONE = [3, 99, 100, 149]
QUERIES = np.concatenate([unit(20, seed=1), unit(150)[:10]])


def asked(embeddings: np.ndarray) -> Iterator[Embedded]:
    """Yield queries; one between them could not be read."""
    for number, embedding in enumerate(embeddings):
        yield Embedded(Tracklet(f"q{number}", (CROP,)), embedding, {}, ())
        if number == 1:
            yield Embedded(Tracklet("lost", (CROP,)), None, {}, ())


def facts(ranking: Ranking) -> tuple[object, ...]:
    return (ranking.query.id, *((match.entry, match.score) for match in ranking.matches))


@pytest.fixture(scope="module")
def galleries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Gallery, ...]:
    """A store of several segments, of which entries were removed, what is left in memory, and that saved and opened."""
    path = tmp_path_factory.mktemp("galleries")
    store = Store.create(path / "store", SPACE)
    for start, stop in ((0, 100), (100, 140), (140, 150)):
        store.add(ENTRIES[start:stop], EMBEDDINGS[start:stop])
    assert len(store.segments) == 3
    store.remove([ENTRIES[row].id for row in GONE])
    kept = [row for row in range(150) if row not in GONE]
    memory = MemoryGallery(tuple(ENTRIES[row] for row in kept), EMBEDDINGS[kept], SPACE)
    memory.save(path / "gallery.npz")
    return store, memory, MemoryGallery.open(path / "gallery.npz", SPACE)


def left() -> Model:
    return {
        entry.id: (entry, tuple(embedding))
        for row, (entry, embedding) in enumerate(zip(ENTRIES, EMBEDDINGS.tolist(), strict=True))
        if row not in GONE
    }


cameras = st.sampled_from(["c1", "c2", "c3", "c4"])
seconds = st.integers(-2, 11).map(float)
limits = st.tuples(st.integers(0, 6).map(float), st.integers(0, 9).map(float)).map(lambda pair: (min(pair), max(pair)))
travels = st.builds(
    Travel,
    st.dictionaries(st.tuples(cameras, cameras), limits).map(TravelTimes),
    st.builds(Sighting, cameras, seconds),
)
conditions = st.builds(
    Condition,
    st.none() | st.frozensets(cameras),
    st.frozensets(cameras, max_size=2),
    st.none() | st.tuples(seconds, seconds),
    st.none() | travels,
)


@settings(max_examples=25)
@given(st.data(), st.integers(1, 160), st.sampled_from([1, 4, 256]))
def test_every_gallery_ranks_as_a_naive_loop_with_conditions(
    galleries: tuple[Gallery, ...], data: st.DataObject, k: int, block: int
) -> None:
    own = data.draw(st.none() | st.lists(conditions, min_size=5, max_size=5))
    queries = QUERIES[18:23]
    expected = naive_search(left(), queries, k, own or [Condition()] * 5)
    condition = None if own is None else lambda query: own[int(query.id[1:])]
    for gallery in galleries:
        found = list(rank(gallery, asked(queries), k, PLAIN, condition, block=block))
        assert [one.query.id for one in found] == [f"q{number}" for number in range(5)]
        assert [[(m.entry.id, m.score) for m in one.matches] for one in found] == [
            [(one.entry.id, one.score) for one in ranked] for ranked in expected
        ]


@pytest.mark.parametrize(
    ("k", "block", "post_processing"),
    [
        (7, 4, PostProcessing(expand_queries=3)),
        (7, 256, PostProcessing(rerank=True)),
        (200, 256, PostProcessing(expand_queries=2, rerank=True)),
    ],
    ids=str,
)
def test_post_processed_rankings_are_the_same_in_every_gallery(
    galleries: tuple[Gallery, ...], k: int, block: int, post_processing: PostProcessing
) -> None:
    store, memory, saved = (
        list(map(facts, rank(gallery, asked(QUERIES), k, post_processing, block=block))) for gallery in galleries
    )
    assert store == memory == saved
    assert {len(one) for one in memory} == {1 + min(k, 146)}


@pytest.mark.parametrize("post_processing", [PostProcessing(3), PostProcessing(rerank=True)], ids=str)
def test_post_processing_takes_the_whole_gallery_and_conditions_leave_out_of_its_result(
    galleries: tuple[Gallery, ...], post_processing: PostProcessing
) -> None:
    condition = Condition(frozenset({"c1", "c3"}), time_s=(2, 7))
    memory = galleries[1]
    assert isinstance(memory, MemoryGallery)
    if post_processing.rerank:
        (block,) = reranked_rows(QUERIES, memory.embeddings)
        scores = 1 - block.values.astype(np.float64)
    else:
        scores = expanded_queries(QUERIES, memory.embeddings, 3).astype(np.float64) @ memory.embeddings.T
    allowed = [row for row, entry in enumerate(memory.members) if condition.allows(entry)]
    assert 5 < len(allowed) < 60
    for gallery in galleries:
        found = list(rank(gallery, asked(QUERIES), 200, post_processing, lambda _: condition))
        for own, ranking in zip(scores, found, strict=True):
            assert {match.entry.id for match in ranking.matches} == {memory.members[row].id for row in allowed}
            np.testing.assert_allclose(
                [match.score for match in ranking.matches], sorted(own[allowed], reverse=True), atol=1e-5
            )


def test_a_query_for_which_nothing_is_allowed_has_no_matches(galleries: tuple[Gallery, ...]) -> None:
    for gallery, step in ((gallery, step) for gallery in galleries for step in (PLAIN, PostProcessing(rerank=True))):
        first, second = rank(gallery, asked(QUERIES[:2]), 3, step, lambda query: nothing_for_the_first(query.id))
        assert (first.matches, len(second.matches)) == ((), 3)


def nothing_for_the_first(name: str) -> Condition:
    return Condition(frozenset() if name == "q0" else None)


def test_half_precision_ranks_as_the_numbers_it_holds(tmp_path: Path) -> None:
    with Store.create(tmp_path / "store", SPACE, storage="fp16") as store:
        store.add(make_entries(f"{number}" for number in range(40)), unit(40))
        held = np.concatenate([embeddings for _, embeddings in store.batches()])
        found = list(map(facts, rank(store, asked(unit(6, seed=2)), 5)))
        memory = MemoryGallery.of(store)
    assert not np.array_equal(held, unit(40))
    assert held.shape == (40, DIMENSIONS)
    np.testing.assert_array_equal(memory.embeddings, held)
    assert found == list(map(facts, rank(memory, asked(unit(6, seed=2)), 5)))


@pytest.fixture
def small() -> MemoryGallery:
    return MemoryGallery(tuple(Entry(f"g{row}") for row in range(5)), unit(5), SPACE)


def test_the_first_ranking_comes_with_the_first_query_and_blocks_grow(small: MemoryGallery) -> None:
    drawn = 0

    def queries() -> Iterator[Embedded]:
        nonlocal drawn
        for number, query in enumerate(unit(40, seed=1)):
            drawn += 1
            yield Embedded(Tracklet(f"q{number}", (CROP,)), query, {}, ())

    ahead = [drawn - done for done, _ in enumerate(rank(small, queries(), 2, block=8), start=1)]
    assert ahead[0] == 0
    assert 0 < max(ahead) <= 7


def test_a_query_that_comes_late_does_not_wait_for_others(
    small: MemoryGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, drawn = 0.0, 0
    monkeypatch.setattr("reid.runtime.galleries.queries.time.monotonic", lambda: now)

    def queries() -> Iterator[Embedded]:
        nonlocal now, drawn
        for number, query in enumerate(unit(10, seed=1)):
            now, drawn = now + 1, drawn + 1
            yield Embedded(Tracklet(f"q{number}", (CROP,)), query, {}, ())

    assert [drawn - done for done, _ in enumerate(rank(small, queries(), 2), start=1)] == [0] * 10


def test_queries_are_taken_a_block_at_a_time(small: MemoryGallery) -> None:
    drawn = 0

    def endless() -> Iterator[Embedded]:
        nonlocal drawn
        while True:
            drawn += 1
            yield Embedded(Tracklet(str(drawn), (CROP,)), unit(1, seed=drawn)[0], {}, ())

    stream = rank(small, endless(), 2, block=3)
    assert [next(stream).query.id for _ in range(7)] == [str(i) for i in range(1, 8)]
    assert drawn == 9
