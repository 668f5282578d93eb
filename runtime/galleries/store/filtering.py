"""Conditions on many entries at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reid.runtime.galleries.conditions import ALWAYS, ANY, Condition
from reid.runtime.galleries.store.segment import Segment

__all__ = ["allowed_rows"]


def allowed_rows(segment: Segment, start: int, stop: int, conditions: Sequence[Condition]) -> NDArray[np.bool_] | None:
    """Return which rows of a segment each condition allows, bool [conditions, n]; removed rows are none.

    None stands for: everything is allowed.
    """
    live = None if segment.live is None else segment.live[start:stop]
    if all(condition == ANY for condition in conditions):
        return None if live is None or live.all() else np.broadcast_to(live, (len(conditions), stop - start))
    allowed = np.array([_allowed(segment, start, stop, condition) for condition in conditions])
    return allowed if live is None else allowed & live


def _allowed(segment: Segment, start: int, stop: int, condition: Condition) -> NDArray[np.bool_]:
    allowed = np.ones(stop - start, np.bool_)
    if condition.cameras is not None or condition.not_cameras or condition.travel is not None:
        names = (*segment.cameras, None)  # -1, of a camera that is not known, is the last
        passes = np.array([condition.allows_camera(name) for name in names])
        allowed &= passes[segment.camera(start, stop)]
    if condition.needs_time and allowed.any():
        allowed &= _in_time(segment, start, stop, condition)
    return allowed


def _in_time(segment: Segment, start: int, stop: int, condition: Condition) -> NDArray[np.bool_]:
    time_s = segment.time_s(start, stop)  # NaN compares false
    first, last = condition.time_s or ALWAYS
    inside = (time_s >= first) & (time_s <= last)
    if condition.travel is not None:
        windows = np.array([condition.windows(name) or (ALWAYS, ALWAYS) for name in (*segment.cameras, None)])
        (first_before, last_before), (first_after, last_after) = windows[segment.camera(start, stop)].transpose(1, 2, 0)
        before = (time_s >= first_before) & (time_s <= last_before)
        inside &= before | ((time_s >= first_after) & (time_s <= last_after))
    return inside
