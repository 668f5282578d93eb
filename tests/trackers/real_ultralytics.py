"""Ultralytics itself, with a bundle's features: `tests/trackers.sh` runs this file in an environment of Ultralytics."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from adapters import adapter
from meeting import Moment, Tracker, ids_of, mixed_up, moments
from ultralytics.engine.results import Boxes
from ultralytics.trackers.track import TRACKER_MAP, on_predict_postprocess_end, on_predict_start
from ultralytics.utils import YAML, IterableSimpleNamespace
from ultralytics.utils.checks import check_yaml

from reid import Session, Tracklet, embed

CLASS = 2


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    kinds = dict(TRACKER_MAP)
    yield
    TRACKER_MAP.update(kinds)


def boxes_of(moment: Moment) -> Boxes:
    rows = [[*corners, 0.9, CLASS] for corners in moment.corners]
    return Boxes(np.array(rows, np.float32).reshape(-1, 6), moment.picture.shape[:2])


def options(name: str, **changed: object) -> IterableSimpleNamespace:
    """The file of a tracker, with the gates of IoU wide open, and a camera that stands still."""
    wide = {"gmc_method": "none", "proximity_thresh": 0.1, **changed}
    return IterableSimpleNamespace(**{**YAML.load(check_yaml(f"{name}.yaml")), **wide})


def ids(tracker: Tracker) -> list[tuple[int, int]]:
    def track(moment: Moment) -> dict[int, int]:
        tracks = tracker.update(boxes_of(moment), moment.picture)
        return {int(row[-1]): int(row[4]) for row in tracks}

    return ids_of(track)


@pytest.mark.parametrize("name", ["botsort", "deepocsort", "tracktrack"])
def test_ids_are_swapped_by_motion_and_kept_by_features(session: Session, name: str) -> None:
    before, after = ids(TRACKER_MAP[name](options(name)))
    assert mixed_up(before, after) or (name == "tracktrack" and before != after)  # which takes one for new
    before, after = ids(adapter("ultralytics").use_reid(session, name)(options(name)))
    assert after == before
    assert before[0] != before[1]


@pytest.mark.parametrize("name", ["botsort", "deepocsort", "tracktrack"])
def test_track_makes_trackers_with_the_features_from_the_file_that_says_nothing_of_them(
    session: Session, name: str
) -> None:
    """Through the two callbacks that `YOLO.track` registers."""
    kind = adapter("ultralytics").use_reid(session, name)
    predictor = SimpleNamespace(
        args=SimpleNamespace(mode="track", task="detect", tracker=f"{name}.yaml"),
        dataset=SimpleNamespace(mode="image", bs=1),
        device="cpu",
        results=[],
        model=SimpleNamespace(model=torch.nn.Identity()),
        postprocess=None,
    )
    on_predict_start(predictor)
    (tracker,) = predictor.trackers
    assert isinstance(tracker, kind)
    assert isinstance(tracker.encoder.session, type(session))
    on_predict_postprocess_end(predictor)


def test_the_tracker_gets_what_embed_gives(session: Session) -> None:
    """RGB, and cut off at the edge; zeros where there is nothing, of which Ultralytics makes no feature."""
    moment = next(iter(moments()))
    corners = np.array([*moment.corners, [-30, 100, 50.4, 180], [-90, 0, -10, 50]], np.float32)
    found = Boxes(np.array([[*box, 0.9, CLASS] for box in corners], np.float32), moment.picture.shape[:2])
    tracker = adapter("ultralytics").use_reid(session)(options("botsort"))
    tracks = tracker.init_track(found, moment.picture)
    rgb = moment.picture[:, :, ::-1]
    cut = [tuple(np.rint(box).astype(int)) for box in corners[:2]]
    crops = [*(rgb[top:bottom, left:right] for left, top, right, bottom in cut), rgb[100:180, :50]]
    expected = [one.embedding for one in embed(session, (Tracklet(str(i), [crop]) for i, crop in enumerate(crops)))]
    np.testing.assert_allclose([track.curr_feat for track in tracks[:3]], expected, atol=1e-6)
    assert tracks[3].curr_feat is None
