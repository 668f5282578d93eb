"""A store ranks as the same embeddings in a saved file do, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from stored_galleries import DIMENSIONS, SPACE, make_entries, unit

from reid.runtime.embedding import Embedded
from reid.runtime.errors import DataError
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.gallery import Gallery, Kind, open_gallery
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.galleries.ranked_lists import Ranking
from reid.runtime.galleries.store.store import Store
from reid.runtime.galleries.store_folder import is_stored
from reid.runtime.galleries.stored import StoredGallery
from reid.runtime.tracklet import Tracklet

CROP = np.zeros((2, 2, 3), np.uint8)


def asked(embeddings: np.ndarray) -> Iterator[Embedded]:
    """Yield queries; one between them could not be read."""
    for number, embedding in enumerate(embeddings):
        yield Embedded(Tracklet(f"q{number}", (CROP,)), embedding, {}, ())
        if number == 1:
            yield Embedded(Tracklet("lost", (CROP,)), None, {}, ())


def facts(ranking: Ranking) -> tuple[object, ...]:
    matches = (
        (one.tracklet.id, one.tracklet.camera, one.tracklet.vehicle, one.tracklet.frames, one.score)
        for one in ranking.matches
    )
    return (ranking.query.id, *matches)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[StoredGallery, Gallery]:
    """A store of several segments, of which entries were removed, and a saved gallery of what is left."""
    folder = tmp_path_factory.mktemp("galleries")
    names = [f"g{number}" for number in range(150)]
    entries, embeddings = make_entries(names), unit(150)
    with Store.create(folder / "store", SPACE) as store:
        for start, stop in ((0, 100), (100, 140), (140, 150)):
            store.add(entries[start:stop], embeddings[start:stop])
        assert len(store.segments) == 3
        gone = [3, 99, 100, 149]
        store.remove([names[row] for row in gone])
    kept = np.delete(np.arange(150), gone)
    tracklets = []
    for entry in (entries[row] for row in kept):
        picture = Path(entry.picture) if entry.picture else CROP
        tracklets.append(Tracklet(entry.id, (picture,), entry.camera, entry.vehicle))
    Gallery(tuple(tracklets), embeddings[kept], SPACE).save(folder / "gallery.npz")
    return StoredGallery.open(folder / "store", SPACE), open_gallery(folder / "gallery.npz", SPACE)


@pytest.mark.parametrize(
    ("k", "block", "post_processing"),
    [
        (1, 256, PLAIN),
        (7, 4, PLAIN),
        (1000, 256, PLAIN),
        (7, 4, PostProcessing(expand_queries=3)),
        (7, 256, PostProcessing(rerank=True)),
        (200, 256, PostProcessing(expand_queries=2, rerank=True)),
    ],
    ids=str,
)
def test_rankings_are_those_of_a_saved_file_bit_for_bit(
    both: tuple[StoredGallery, Gallery], k: int, block: int, post_processing: PostProcessing
) -> None:
    queries = np.concatenate([unit(20, seed=1), unit(150)[:10]])
    found, expected = (
        list(map(facts, gallery.rank(asked(queries), k, post_processing, block=block))) for gallery in both
    )
    assert found == expected
    assert len(found) == 30
    assert {len(ranking) for ranking in found} == {1 + min(k, 146)}


def test_it_says_how_many_there_are_and_of_which_space(both: tuple[StoredGallery, Gallery]) -> None:
    stored, saved = both
    assert (len(stored), stored.space) == (len(saved), saved.space) == (146, SPACE)


def test_the_first_ranking_comes_with_the_first_query(both: tuple[StoredGallery, Gallery]) -> None:
    drawn = []

    def drawing() -> Iterator[Embedded]:
        for one in asked(unit(5)):
            drawn.append(one)
            yield one

    next(both[0].rank(drawing(), 1))
    assert len(drawn) == 1


@pytest.mark.parametrize(
    ("frames", "removed", "kind"),
    [
        ([1, 1], [], "images"),
        ([1, 4], [], "tracklets"),
        ([0, 4], [], "tracklets"),
        ([0, 1], [], None),
        ([0, 1], ["0"], "images"),
        ([4, 1], ["0"], "images"),
        ([4, 0], ["0"], None),
    ],
)
def test_the_kind_is_that_of_the_entries_that_are_left(
    tmp_path: Path, frames: list[int], removed: list[str], kind: Kind | None
) -> None:
    with Store.create(tmp_path / "store", SPACE) as store:
        for number, count in enumerate(frames):
            store.add([Entry(str(number), frames=count)], unit(1))
        store.remove(removed)
        assert StoredGallery(store).kind == kind


def test_the_kind_is_found_without_reading_texts(tmp_path: Path) -> None:
    entries = [Entry(str(row), picture=f"/{'long' * 250}", frames=1) for row in range(1000)]
    with Store.create(tmp_path / "store", SPACE) as store:
        store.add(entries, unit(1000))
        (segment,) = store.segments
        with segment.path.open("r+b") as file:
            file.seek(segment.path.stat().st_size // 2)
            file.write(b"\0")
        with Store.open(store.path) as reader:
            assert StoredGallery(reader).kind == "images"
            assert len(reader.verify()) == 1


def test_an_empty_store_is_refused_with_what_to_do(tmp_path: Path) -> None:
    Store.create(tmp_path / "store", SPACE).close()
    with pytest.raises(DataError, match=r"store is empty; add crops to it with `reid-gallery append`"):
        StoredGallery.open(tmp_path / "store", SPACE)


def test_a_store_is_known_by_its_manifest(tmp_path: Path) -> None:
    Store.create(tmp_path / "store", SPACE).close()
    assert is_stored(tmp_path / "store")
    (tmp_path / "store" / "gallery.json").write_text("damaged")
    assert is_stored(tmp_path / "store")
    (tmp_path / "crops" / "gallery.json").mkdir(parents=True)
    (tmp_path / "gallery.npz").write_text("a file")
    for name in ("crops", "nowhere", "gallery.npz"):
        assert not is_stored(tmp_path / name)


def test_half_precision_ranks_as_the_numbers_it_holds(tmp_path: Path) -> None:
    with Store.create(tmp_path / "store", SPACE, storage="fp16") as store:
        store.add(make_entries(f"{number}" for number in range(40)), unit(40))
        held = np.concatenate([embeddings for _, embeddings in store.batches()])
        found = [facts(one) for one in StoredGallery(store).rank(asked(unit(6, seed=2)), 5)]
    assert not np.array_equal(held, unit(40))
    assert held.shape == (40, DIMENSIONS)
    gallery = Gallery(tuple(Tracklet(str(number), (CROP,)) for number in range(40)), held, SPACE)
    expected = [facts(one) for one in gallery.rank(asked(unit(6, seed=2)), 5)]
    assert [[(match[0], match[-1]) for match in ranking[1:]] for ranking in found] == [
        [(match[0], match[-1]) for match in ranking[1:]] for ranking in expected
    ]
