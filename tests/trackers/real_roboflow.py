"""Roboflow's trackers themselves, with a bundle's features: `tests/trackers.sh` runs this file in their environment."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from adapters import adapter
from meeting import Moment, ids_of, mixed_up, moments
from supervision import Detections
from trackers import BoTSORTTracker, ByteTrackTracker, SORTTracker

from reid import Session, Tracklet, embed

THRESHOLD = 0.5
KINDS = [partial(BoTSORTTracker, enable_cmc=False), ByteTrackTracker, partial(SORTTracker, minimum_iou_threshold=0.1)]


def detections_of(moment: Moment) -> Detections:
    confidence = np.full(len(moment.corners), 0.9, np.float32)
    return Detections(moment.corners, confidence=confidence, data={"index": np.arange(len(moment.corners))})


def ids(update: Callable[[Moment], Detections]) -> list[tuple[int, int]]:
    def track(moment: Moment) -> dict[int, int]:
        tracked = update(moment)
        return dict(zip(tracked.data.get("index", []), tracked.tracker_id, strict=True))

    return ids_of(track)


@pytest.mark.parametrize("make", KINDS)
def test_ids_are_swapped_by_motion_and_kept_by_features(session: Session, make: Callable[..., Any]) -> None:
    alone = make()
    before, after = ids(lambda moment: alone.update(detections_of(moment)))
    assert mixed_up(before, after)
    tracker = adapter("roboflow").ReidTracker(session, make, THRESHOLD)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before, after = ids(lambda moment: tracker.update(detections_of(moment), moment.picture))
    assert after == before
    assert before[0] != before[1]
    assert -1 not in before


def test_the_result_holds_what_embed_gives(session: Session) -> None:
    """RGB, and cut off at the edge; zeros where there is nothing, which leave the boxes' IoU as it is."""
    moment = next(iter(moments()))
    corners = np.array([*moment.corners, [-30, 100, 50.4, 180], [-90, 0, -10, 50]], np.float32)
    tracker = adapter("roboflow").ReidTracker(session, BoTSORTTracker, THRESHOLD)
    for _ in range(3):
        found = Detections(corners, confidence=np.full(4, 0.9, np.float32), data={"index": np.arange(4)})
        tracked = tracker.update(found, moment.picture)
    assert sorted(tracked.tracker_id) == [0, 1, 2, 3]
    rgb = moment.picture[:, :, ::-1]
    cut = [tuple(np.rint(box).astype(int)) for box in corners[:2]]
    crops = [*(rgb[top:bottom, left:right] for left, top, right, bottom in cut), rgb[100:180, :50]]
    expected = [one.embedding for one in embed(session, (Tracklet(str(i), [crop]) for i, crop in enumerate(crops)))]
    features = tracked.data["reid"][np.argsort(tracked.data["index"])]
    np.testing.assert_allclose(features[:3], expected, atol=1e-6)
    assert not features[3].any()


def test_what_is_known_of_tracks_that_are_gone_is_forgotten(session: Session) -> None:
    tracker = adapter("roboflow").ReidTracker(session, partial(BoTSORTTracker, lost_track_buffer=2), THRESHOLD)
    first = next(iter(moments()))
    tracker.update(detections_of(first), first.picture)
    assert len(tracker.known) == 2
    for _ in range(4):
        empty = Detections(np.empty((0, 4), np.float32), confidence=np.empty(0, np.float32))
        tracker.update(empty, first.picture)
    assert tracker.known == {}
