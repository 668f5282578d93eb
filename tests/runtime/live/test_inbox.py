"""What waits for the pipeline, with a clock that the test sets, against a plain model of the rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from projection import crop

from reid.runtime.live.growing import Growing
from reid.runtime.live.inbox import Inbox
from reid.runtime.live.tracks import CameraCounts
from reid.runtime.pipeline.events import FrameEvent

Name = tuple[str, str]


class Desk:
    """An inbox, and short words for what is done with it. A frame's time is its number."""

    def __init__(self, room: int = 100, expire_s: float = 10.0) -> None:
        self.inbox = Inbox(room, expire_s)

    def push(self, name: str, number: float | None = None, now: float = 0.0, refusal: str | None = None) -> None:
        """Push a frame of a track; the camera is the first letter of its name."""
        self.inbox.push(name, name[0], FrameEvent(name, crop(0), number), now, refusal)

    def pull(self) -> list[str]:
        """Pull all that waits: "a1:3" is frame 3 of track a1, "a1." its end."""
        return [self._word(event) for event in iter(self.pull_one, None)]

    def pull_one(self, *, wanted: bool = True) -> FrameEvent | None:
        """Pull what waits longest, and settle it."""
        event = self.inbox.pull()
        if event and not event.last:
            assert self.inbox.settle(wanted=wanted) == wanted
        return event

    @staticmethod
    def _word(event: FrameEvent) -> str:
        assert isinstance(event.track, Growing)
        assert event.last == (event.crop is None)
        return f"{event.track.id}." if event.last else f"{event.track.id}:{event.time_s:.0f}"


def test_cameras_take_turns_and_each_keeps_its_order() -> None:
    desk = Desk()
    for number, name in enumerate(["a1", "a1", "a2", "a1", "b1", "c1", "b1"]):
        desk.push(name, number)
    assert desk.pull() == ["a1:0", "b1:4", "c1:5", "a1:1", "b1:6", "a2:2", "a1:3"]


def test_an_end_follows_the_last_frame_that_waits() -> None:
    desk = Desk()
    for number, name in enumerate(["a1", "a2", "a1"]):
        desk.push(name, number)
    assert desk.inbox.finish("a1")
    assert not desk.inbox.finish("a1")
    assert desk.pull() == ["a1:0", "a2:1", "a1:2", "a1."]
    assert desk.inbox.finish("a2")
    assert desk.pull() == ["a2."]
    assert not desk.inbox.finish("a3")


def test_a_frame_after_the_end_begins_another_track() -> None:
    desk = Desk()
    desk.push("a1", 0)
    desk.inbox.finish("a1")
    desk.push("a1", 1)
    first, end, second = (desk.pull_one() for _ in range(3))
    assert first is not None
    assert second is not None
    assert end is not None
    assert first.track is end.track
    assert first.track is not second.track


def test_the_longest_queue_loses_its_oldest_frame() -> None:
    desk = Desk(room=4)
    for number, name in enumerate(["a1", "b1", "a1", "a1", "c1", "a2", "b1", "b1"]):
        desk.push(name, number)
    assert desk.pull() == ["a2:5", "b1:6", "c1:4", "b1:7"]
    counts = desk.inbox.counts()
    assert {camera: (one.pushed, one.embedding, one.dropped) for camera, one in counts.items()} == {
        "a": (4, 1, 3),
        "b": (3, 2, 1),
        "c": (1, 1, 0),
    }


def test_the_end_of_a_track_that_lost_its_last_frames_comes_all_the_same() -> None:
    desk = Desk(room=1)
    desk.push("a1", 0)
    assert desk.pull() == ["a1:0"]
    desk.push("a1", 1)
    desk.inbox.finish("a1")
    desk.push("a2", 2)
    assert desk.pull() == ["a1.", "a2:2"]
    assert desk.inbox.counts()["a"] == CameraCounts(pushed=3, embedding=2, dropped=1)


def test_a_track_without_a_frame_left_is_lost_and_counted() -> None:
    desk = Desk(room=1)
    for name in ("a1", "a2", "a3"):
        desk.push(name, 0)
        desk.inbox.finish(name)
    desk.push("b1", 0)
    desk.push("b1", 1)
    desk.inbox.finish_all()
    assert desk.pull() == ["b1:1", "b1."]
    assert {camera: one.lost_tracks for camera, one in desk.inbox.counts().items()} == {"a": 3, "b": 0}


def test_a_track_without_frames_expires_and_no_other_does() -> None:
    desk = Desk(expire_s=10)
    assert desk.inbox.expire(0) is None
    desk.push("a1", 0, now=100)
    desk.push("a2", 0, now=103)
    desk.push("a1", 1, now=104)
    assert desk.inbox.expire(105) == 8
    assert desk.inbox.expire(112.5) == 0.5
    assert desk.pull() == ["a1:0", "a2:0", "a1:1"]
    assert desk.inbox.expire(113) == 1
    assert desk.pull() == ["a2."]
    assert desk.inbox.growing("a2") is None
    assert desk.inbox.growing("a1") is not None
    desk.push("a2", 2, now=113)
    assert desk.inbox.expire(1000) is None
    assert desk.pull() == ["a1.", "a2:2", "a2."]


def test_frames_that_are_dropped_or_repeated_keep_a_track_alive() -> None:
    desk = Desk(room=1, expire_s=10)
    for now in (0, 8, 16):
        desk.push("a1", 7, now=now)
    assert desk.inbox.expire(25) == 1
    assert desk.inbox.counts()["a"].repeated == 2


def test_a_time_counts_once_for_each_camera_and_track() -> None:
    inbox = Inbox(100, 10)
    for camera, key, time_s in [
        ("a", 1, 5.0),
        ("a", 1, 5.0),
        ("b", 1, 5.0),
        ("a", 2, 5.0),
        ("a", 1, 4.0),
        ("a", 1, 5.0),
        ("a", 1, None),
        ("a", 1, None),
    ]:
        inbox.push(key, camera, FrameEvent(key, crop(0), time_s), 0)
    track = inbox.growing(1)
    assert track is not None
    assert (track.repeated, track.waiting, track.first_s, track.last_s) == (2, 5, 4.0, 5.0)
    assert {camera: one.repeated for camera, one in inbox.counts().items()} == {"a": 2, "b": 0}


STEPS = st.one_of(
    st.tuples(st.sampled_from("ppp"), st.sampled_from(["a1", "a2", "b1", "b2", "c1"]), st.integers(0, 3)),
    st.tuples(st.sampled_from("flrs"), st.sampled_from(["a1", "a2", "b1", "b2", "c1"]), st.integers(0, 3)),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(STEPS, max_size=60), st.integers(1, 5), st.integers(0, 6))
def test_every_frame_and_every_track_has_one_fate(steps: list[tuple[str, str, int]], room: int, expire_s: int) -> None:
    """Push, finish and pull in any order while time goes on; some frames are refused, and some skipped."""
    desk, now, tracks, pulled = Desk(room, expire_s), 0, set[Growing](), list[FrameEvent]()
    for number, (step, name, passing) in enumerate(steps):
        now += passing
        desk.inbox.expire(now)
        if step in "pr":
            desk.push(name, number, now, "no" if step == "r" else None)
            track = desk.inbox.growing(name)
            assert track is not None
            tracks.add(track)
        elif step == "f":
            desk.inbox.finish(name)
        elif (event := desk.pull_one(wanted=step == "l")) and (step == "l" or event.last):
            pulled.append(event)
        assert 0 <= sum(one.waiting for one in desk.inbox.counts().values()) <= room
    desk.inbox.finish_all()
    pulled += iter(desk.pull_one, None)
    frames, ends = [event for event in pulled if event.crop is not None], [event for event in pulled if event.last]
    counts = desk.inbox.counts().values()
    assert len(frames) == sum(one.embedding for one in counts)
    assert sum(one.pushed for one in counts) == sum(step in "pr" for step, *_ in steps)
    assert sum(one.refused for one in counts) == sum(step == "r" for step, *_ in steps)
    fates = (one.embedding + one.dropped + one.refused + one.skipped for one in counts)
    assert sum(one.pushed for one in counts) == sum(fates)
    assert len({event.track for event in ends}) == len(ends)
    told = {track for track in tracks if track.refused or track.skipped}
    assert {event.track for event in ends} == {event.track for event in frames} | told
    assert len(tracks) == len(ends) + sum(one.lost_tracks for one in counts)
    times: dict[Hashable, list[float]] = defaultdict(list)
    for event in pulled:
        last = float("inf") if event.time_s is None else event.time_s
        times[event.track].append(last)
    assert all(of_track == sorted(of_track) for of_track in times.values())


def test_what_is_forgotten_never_comes_and_stays_counted() -> None:
    desk = Desk()
    desk.push("a1", 0)
    desk.pull()
    desk.push("a1", 1)
    desk.inbox.finish("a1")
    desk.push("a2", 2)
    desk.inbox.clear()
    assert desk.pull() == []
    assert desk.inbox.expire(1e9) is None
    assert desk.inbox.counts()["a"] == CameraCounts(pushed=3, embedding=1, forgotten=2)
    desk.inbox.clear()
    assert desk.inbox.counts()["a"].forgotten == 2


def test_a_frame_that_was_dropped_may_come_again() -> None:
    desk = Desk(room=2)
    for number in (1, 2, 3, 1, 3):
        desk.push("a1", number)
    assert desk.pull() == ["a1:3", "a1:1"]
    assert desk.inbox.counts()["a"] == CameraCounts(pushed=5, embedding=2, dropped=2, repeated=1)


@pytest.mark.parametrize(("camera", "words"), [(None, "track 5"), ("c1", "track 5 of camera c1")])
def test_messages_name_track_and_camera(camera: str | None, words: str) -> None:
    assert str(Growing(5, camera, 0.0)) == words
