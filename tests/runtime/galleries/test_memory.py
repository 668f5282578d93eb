"""Galleries in memory: what goes in is checked, once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stored_galleries import SPACE, make_entries, unit

from reid.runtime.embedding import Embedded
from reid.runtime.errors import DataError
from reid.runtime.galleries.entry import Entry, entry_of
from reid.runtime.galleries.memory import MemoryGallery
from reid.runtime.galleries.protocol import Kind
from reid.runtime.pipeline.tracks import Unreadable
from reid.runtime.tracklet import Frame, Tracklet

CROP = np.zeros((2, 2, 3), np.uint8)


def embedded(identity: str, embedding: np.ndarray | None, frames: tuple[Frame, ...] = (CROP,)) -> Embedded:
    lost = () if embedding is not None else (Unreadable(0, f"{identity}.jpg: the file is empty"),)
    return Embedded(Tracklet(identity, frames), embedding, {}, lost)


def test_entries_without_an_embedding_are_no_members() -> None:
    gallery = MemoryGallery.collect([embedded("lost", None), embedded("kept", unit(1)[0])], SPACE)
    assert [entry.id for entry in gallery.members] == ["kept"]


def test_a_gallery_of_which_nothing_can_be_read_names_a_file() -> None:
    with pytest.raises(DataError, match=r"first\.jpg: the file is empty"):
        MemoryGallery.collect([embedded("first", None), embedded("second", None)], SPACE)
    with pytest.raises(DataError, match="no image of the gallery"):
        MemoryGallery.collect([], SPACE)


def test_an_entry_says_what_its_embedding_was_made_of() -> None:
    frames = tuple(Path(f"/x/{number}.jpg") for number in range(5))
    tracklet = Tracklet("a", frames, "c1", "7")
    assert entry_of(tracklet) == Entry("a", "c1", "7", None, "/x/2.jpg", 5)
    some = Embedded(tracklet, unit(1)[0], {}, (Unreadable(1, "empty"), Unreadable(2, "empty")))
    assert MemoryGallery.collect([some], SPACE).members == (Entry("a", "c1", "7", None, "/x/3.jpg", 3),)
    assert entry_of(Tracklet("b", (CROP,))) == Entry("b", frames=1)


@pytest.mark.parametrize(
    ("entries", "embeddings", "message"),
    [
        ([Entry("a"), Entry("a")], unit(2), "entry 'a' is there twice"),
        ([Entry("")], unit(1), "its id is empty"),
        ([Entry("a", time_s=float("nan"))], unit(1), "its time is nan"),
        ([Entry("a")], unit(2), "1 entries and 2 embeddings"),
        ([Entry("a")], 2 * unit(1), "embedding 0 has length 2"),
        ([Entry("a")], unit(1, 5), "do not fit a gallery of 6 dimensions"),
    ],
)
def test_what_cannot_be_used_does_not_go_in(entries: list[Entry], embeddings: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        MemoryGallery(tuple(entries), embeddings, SPACE)


@pytest.mark.parametrize(
    ("frames", "stated", "kind"),
    [
        ([1, 1], None, "images"),
        ([1, 4], None, "tracklets"),
        ([0, 4], None, "tracklets"),
        ([0, 1], None, None),
        ([0, 1], "tracklets", "tracklets"),
        ([1, 1], "tracklets", "images"),
        ([], None, None),
    ],
)
def test_the_kind_is_that_of_the_entries(frames: list[int], stated: Kind | None, kind: Kind | None) -> None:
    entries = tuple(Entry(str(number), frames=count) for number, count in enumerate(frames))
    assert MemoryGallery(entries, unit(len(entries)), SPACE, stated).kind == kind


def test_batches_are_all_of_it_in_order() -> None:
    entries, embeddings = tuple(make_entries(map(str, range(5000)))), unit(5000)
    gallery = MemoryGallery(entries, embeddings, SPACE)
    pieces = list(gallery.batches())
    assert len(pieces) > 1
    assert tuple(entry for some, _ in pieces for entry in some) == entries
    assert list(gallery.entries()) == [some for some, _ in pieces]
    np.testing.assert_array_equal(np.concatenate([piece for _, piece in pieces]), embeddings)
    assert MemoryGallery.of(gallery) is gallery


def test_a_search_needs_a_condition_for_each_query_and_a_match_at_least() -> None:
    gallery = MemoryGallery((Entry("a"),), unit(1), SPACE)
    for k, conditions in ((0, None), (1, [])):
        with pytest.raises(ValueError, match="expected 1 or more"):
            gallery.search(unit(1), k, conditions)
    with pytest.raises(DataError, match="do not fit"):
        gallery.search(unit(1, 5), 1)
    assert MemoryGallery((), unit(0), SPACE).search(unit(2), 3) == [(), ()]
