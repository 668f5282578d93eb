"""Conditions as LanceDB filters by them: in SQL, before anything is compared.

A comparison with what is not known is neither true nor false in SQL, so it lets nothing pass, as a `Condition` does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from reid.runtime.galleries.conditions import ANY, Condition, Travel
from reid.runtime.galleries.lance.texts import to_stored

__all__ = ["any_of", "as_sql", "has_id"]

_NEVER = "FALSE"


def as_sql(condition: Condition) -> str:
    """Return a condition in SQL; "" for any entry."""
    parts = []
    if condition.cameras is not None:
        parts.append(_in("camera", condition.cameras))
    if condition.not_cameras:
        parts.append(f"(camera IS NULL OR camera NOT IN ({_texts(condition.not_cameras)}))")
    if condition.time_s is not None:
        parts.append(f"time_s IS NOT NULL AND {_within(condition.time_s)}")
    if condition.travel is not None:
        parts.append(f"camera IS NOT NULL AND time_s IS NOT NULL AND {_reachable(condition.travel)}")
    return " AND ".join(parts)


def any_of(conditions: Iterable[Condition]) -> str:
    """Return in SQL that one of several conditions is met; "" for any entry."""
    alternatives = list(dict.fromkeys(conditions))
    if ANY in alternatives:
        return ""
    return " OR ".join(f"({as_sql(one)})" for one in alternatives)


def has_id(ids: Iterable[str]) -> str:
    """Return in SQL that an entry has one of these ids."""
    return _in("id", ids)


def _reachable(travel: Travel) -> str:
    """Return that an entry of a known camera and time was seen where and when travel allows; the rest has no limits."""
    here, pairs = travel.seen.camera, travel.times.limits
    near = sorted({start for start, end in pairs if end == here} | {end for start, end in pairs if start == here})
    if not near:
        return "TRUE"
    ways = [f"camera NOT IN ({_texts(near)})"]
    for camera in near:
        before, after = travel.times.windows(travel.seen, camera) or ((0.0, 0.0), (0.0, 0.0))
        ways.append(f"({_in('camera', [camera])} AND ({_within(before)} OR {_within(after)}))")
    return f"({' OR '.join(ways)})"


def _within(window: tuple[float, float]) -> str:
    """Return that a time is in a window, ends included; it is finite where it is known."""
    first, last = window
    if math.isnan(first) or math.isnan(last) or first == math.inf or last == -math.inf:
        return _NEVER
    parts = [f"time_s >= {_number(first)}"] if first > -math.inf else []
    parts += [f"time_s <= {_number(last)}"] if last < math.inf else []
    return f"({' AND '.join(parts) or 'TRUE'})"


def _number(number: float) -> str:
    """Return a number with all its digits; -0 is 0, which sorts after it in Arrow."""
    return repr(float(number) + 0.0)


def _in(column: str, texts: Iterable[str]) -> str:
    return f"{column} IN ({listed})" if (listed := _texts(texts)) else _NEVER


def _texts(texts: Iterable[str]) -> str:
    return ", ".join("'" + to_stored(text).replace("'", "''") + "'" for text in sorted(texts))
