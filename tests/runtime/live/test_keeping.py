"""Live tracks go into a gallery, which is asked meanwhile."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from busy_threads import in_threads, results
from numbered_frames import RememberingSession, numbered_frame
from projection import ProjectionSession, crop

from reid import DataError
from reid.runtime.association.associate import Associator
from reid.runtime.association.known import identities_in
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.store.store import Store
from reid.runtime.live.keeping import as_seen, keep, name_in
from reid.runtime.live.stream import TrackletStream
from reid.runtime.live.tracks import LiveTrack
from reid.runtime.quality import Quality


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store", ProjectionSession().info.space)


def live(session: ProjectionSession, *picture: object, **facts: object) -> LiveTrack:
    with TrackletStream(session, keep_pictures=True) as stream:
        for one in picture or (crop(0),):
            stream.add(17, one, **facts)  # type: ignore[arg-type]
        stream.end()
        (track,) = stream
    return track


def test_eight_cameras_fill_a_gallery_that_four_threads_ask(store: Store) -> None:
    """A track that is kept is found by its own embedding from then on, at the first place, by every thread."""
    session, kept, done = RememberingSession(), list[tuple[str, LiveTrack]](), threading.Event()

    def push(camera: int) -> None:
        for track, number in itertools.product(range(2), range(3)):
            stream.add(track, numbered_frame(camera, track, number), camera=str(camera), time_s=float(number))

    def ask(thread: int) -> int:
        asked, is_last = 0, False
        while not is_last:
            is_last = done.wait(0.01)
            for name, track in kept[-1 - thread :: -4]:
                assert track.embedding is not None
                ((found,),) = store.search(track.embedding[None], 1)
                assert found.entry == Entry(name, track.camera, None, 1.0, "", 3)
                assert found.score == pytest.approx(1, abs=1e-6)
                asked += 1
        return asked

    with store, TrackletStream(session, room=1000, max_wait_s=0.001) as stream:
        pushing, asking = in_threads(push), in_threads(ask, 4)
        in_threads(lambda _: (results(pushing), stream.end()), 1)
        for track in stream:
            name = f"{track.camera}/{track.id}"
            assert keep(track, name, store)
            kept.append((name, track))
        done.set()
        assert sum(results(asking)) >= len(kept) == len(store) == 16


def test_what_is_kept_is_the_middle_time_the_vehicle_and_the_largest_picture(store: Store, tmp_path: Path) -> None:
    picture = np.kron(crop(0), np.ones((8, 8, 1), np.uint8))
    track = live(ProjectionSession(), picture, crop(1), camera="north", time_s=None)
    with store:
        entry = keep(track, "a/b?*", store, vehicle="7", pictures=tmp_path / "pictures")
        assert entry
        assert (entry.id, entry.camera, entry.vehicle, entry.time_s, entry.frames) == ("a/b?*", "north", "7", None, 2)
        written = cv2.cvtColor(cv2.imread(entry.picture), cv2.COLOR_BGR2RGB)  # type: ignore[arg-type]
        assert np.abs(written.astype(int) - picture).mean() < 25  # JPEG, of noise
        assert [one for entries, _ in store.batches() for one in entries] == [entry]
        with pytest.raises(DataError, match="a/b"):
            keep(track, "a/b?*", store)
        cv2.imwrite(str(tmp_path / "1.png"), crop(0))
        of_file = keep(live(ProjectionSession(), tmp_path / "1.png"), "file", store, pictures=tmp_path / "pictures")
        assert of_file
        assert of_file.picture == str(tmp_path / "1.png")
        without = keep(track, "none", store)
        assert without
        assert without.picture == ""
    assert len([*(tmp_path / "pictures").iterdir()]) == 1


def test_a_name_that_is_taken_leaves_the_picture_of_its_entry_alone(store: Store, tmp_path: Path) -> None:
    first, second = (live(ProjectionSession(), np.full((64, 64, 3), level, np.uint8)) for level in (200, 20))
    with store:
        for name in ("north/17", "\udcff"):
            entry = keep(first, name, store, pictures=tmp_path / "pictures")
            assert entry
            with pytest.raises(DataError, match=r"there is an entry .* already"):
                keep(second, name, store, pictures=tmp_path / "pictures")
            picture = cv2.imread(entry.picture)
            assert picture is not None
            assert picture.mean() == pytest.approx(200, abs=2)
    assert len([*(tmp_path / "pictures").iterdir()]) == 2


def test_a_track_without_an_embedding_stays_out(store: Store) -> None:
    def refuse(quality: Quality) -> str:
        return "no"

    with TrackletStream(ProjectionSession(), gate=refuse) as stream:
        stream.add(17, crop(0), camera="north", time_s=1)
        stream.end()
        (track,) = stream
    with store:
        assert keep(track, "17", store) is None
        assert as_seen(track, "17") is None
        assert len(store) == 0
    assert as_seen(live(ProjectionSession(), camera="north"), "17") is None
    assert as_seen(live(ProjectionSession(), time_s=1), "17") is None


def test_names_say_camera_and_time_and_are_free(store: Store) -> None:
    track = live(ProjectionSession(), camera="north", time_s=12.48)
    with store:
        names = []
        for _ in range(3):
            names.append(name_in(store, track))
            keep(track, names[-1], store)
        assert names == ["north/17@12.480", "north/17@12.480#2", "north/17@12.480#3"]
        assert name_in(store, live(ProjectionSession())) == "17"


def test_identities_go_on_after_a_restart(store: Store) -> None:
    seen = live(ProjectionSession(), camera="north", time_s=1)
    with store:
        for restart in range(3):
            associator = Associator(0.9)
            associator.remember(identities_in(store))
            later = as_seen(seen, f"{restart}")
            assert later
            assert associator.add([later]) == {f"{restart}": restart}  # one camera at one time: three vehicles
            keep(seen, f"{restart}", store, vehicle=f"{restart}")
