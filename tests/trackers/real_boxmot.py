"""BoxMOT itself, with a bundle's features: `tests/trackers.sh` runs this file in an environment of BoxMOT."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from adapters import adapter
from boxmot import BotSort, DeepOcSort, StrongSort
from meeting import Moment, Tracker, ids_of, mixed_up, moments

from reid import Session, Tracklet, embed

CLASS = 2
BOTSORT = {"use_cmc": False, "proximity_thresh": 0.9}  # the gates of IoU, wide open
DEEPOCSORT = {"cmc_off": True, "aw_off": True, "w_association_emb": 2.0}  # features count twice as much as IoU


def ids(tracker: Tracker) -> list[tuple[int, int]]:
    def track(moment: Moment) -> dict[int, int]:
        rows = [[*corners, 0.9, CLASS] for corners in moment.corners]
        tracks = tracker.update(np.array(rows, np.float32).reshape(-1, 6), moment.picture)
        return {int(row[7]): int(row[4]) for row in tracks}

    return ids_of(track)


@pytest.mark.parametrize(("kind", "options"), [(BotSort, BOTSORT), (DeepOcSort, DEEPOCSORT)])
def test_ids_are_swapped_by_motion_and_kept_by_features(
    session: Session, kind: Callable[..., Tracker], options: dict[str, object]
) -> None:
    before, after = ids(kind(use_embeddings=False, **options))
    assert mixed_up(before, after)
    before, after = ids(kind(reid_model=adapter("boxmot").ReidModel(session), **options))
    assert after == before
    assert before[0] != before[1]


def test_strongsort_which_lets_nothing_turn_back_gives_new_ids_instead_of_swapped_ones(session: Session) -> None:
    before, after = ids(StrongSort(reid_model=adapter("boxmot").ReidModel(session)))
    assert before[0] != before[1]
    assert not mixed_up(before, after)


def test_the_tracker_gets_what_embed_gives(session: Session) -> None:
    """RGB, cut off at the edge; and black where there is nothing, since BoxMOT refuses zeros."""
    moment = next(iter(moments()))
    boxes = np.array([*moment.corners, [-30, 100, 50.4, 180], [-90, 0, -10, 50]], np.float32)
    features = adapter("boxmot").ReidModel(session).get_features(boxes, moment.picture)
    rgb = moment.picture[:, :, ::-1]
    cut = [tuple(np.rint(box).astype(int)) for box in boxes[:2]]
    crops = [rgb[top:bottom, left:right] for left, top, right, bottom in cut]
    crops += [rgb[100:180, :50], np.zeros((8, 8, 3), np.uint8)]
    expected = [one.embedding for one in embed(session, (Tracklet(str(i), [crop]) for i, crop in enumerate(crops)))]
    np.testing.assert_allclose(features, expected, atol=1e-6)
    assert features.dtype == np.float32
    tracker = BotSort(reid_model=adapter("boxmot").ReidModel(session), **BOTSORT)
    tracker.update(np.array([[*box, 0.9, CLASS] for box in boxes], np.float32), moment.picture)
