"""Conditions on many entries at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reid.runtime.galleries.conditions import ALWAYS, ANY, Condition

__all__ = ["Seen", "allowed_rows", "windows_of"]

_NEVER = (np.inf, -np.inf)

_ANY_KNOWN = (float(np.finfo(np.float64).min), np.inf)
"""Leaves out minus infinity, which stands for a time that is not known."""


class Seen(Protocol):
    """Where and when entries were seen: those of a `Segment`, or others."""

    @property
    def live(self) -> NDArray[np.bool_] | None:
        """Which are not removed, bool [N]; None for all."""

    @property
    def cameras(self) -> tuple[str, ...]:
        """The names of their cameras."""

    def camera(self, start: int, stop: int) -> NDArray[np.int32]:
        """Return the cameras of some, int32 [n], as positions in `cameras`; -1 where it is not known."""

    def time_s(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the times of some, float64 [n]; NaN where it is not known."""


def allowed_rows(segment: Seen, start: int, stop: int, conditions: Sequence[Condition]) -> NDArray[np.bool_] | None:
    """Return which rows of a segment each condition allows, bool [conditions, n]; removed rows are none.

    None stands for: everything is allowed.
    """
    live = None if segment.live is None else segment.live[start:stop]
    if all(condition == ANY for condition in conditions):
        return None if live is None or live.all() else np.broadcast_to(live, (len(conditions), stop - start))
    allowed = np.array([_allowed(segment, start, stop, condition) for condition in conditions])
    return allowed if live is None else allowed & live


def _allowed(segment: Seen, start: int, stop: int, condition: Condition) -> NDArray[np.bool_]:
    allowed = np.ones(stop - start, np.bool_)
    if condition.cameras is not None or condition.not_cameras or condition.travel is not None:
        names = (*segment.cameras, None)  # -1, of a camera that is not known, is the last
        passes = np.array([condition.allows_camera(name) for name in names])
        allowed &= passes[segment.camera(start, stop)]
    if condition.needs_time and allowed.any():
        allowed &= _in_time(segment, start, stop, condition)
    return allowed


def _in_time(segment: Seen, start: int, stop: int, condition: Condition) -> NDArray[np.bool_]:
    time_s = segment.time_s(start, stop)  # NaN compares false
    first, last = condition.time_s or ALWAYS
    inside = (time_s >= first) & (time_s <= last)
    if condition.travel is not None:
        windows = np.array([condition.windows(name) or (ALWAYS, ALWAYS) for name in (*segment.cameras, None)])
        (first_before, last_before), (first_after, last_after) = windows[segment.camera(start, stop)].transpose(1, 2, 0)
        before = (time_s >= first_before) & (time_s <= last_before)
        inside &= before | ((time_s >= first_after) & (time_s <= last_after))
    return inside


def windows_of(conditions: Sequence[Condition], cameras: Sequence[str | None]) -> NDArray[np.float64]:
    """Return which times of each camera each condition allows, float64 [conditions, cameras, 2, 2].

    An entry of a camera is allowed if its time is in one of two windows, whose first and last time belong to them. A
    time that is not known is minus infinity there, and a camera that is not known None.
    """
    known = {one: np.array([_windows(one, camera) for camera in cameras]) for one in set(conditions)}
    return np.stack([known[one] for one in conditions])


def _windows(condition: Condition, camera: str | None) -> tuple[tuple[float, float], tuple[float, float]]:
    if not condition.allows_camera(camera):
        return _NEVER, _NEVER
    if not condition.needs_time:
        return ALWAYS, ALWAYS
    within = _common(condition.time_s or ALWAYS, _ANY_KNOWN)
    before, after = condition.windows(camera) or (ALWAYS, ALWAYS)
    return _common(before, within), _common(after, within)


def _common(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return max(one[0], other[0]), min(one[1], other[1])
