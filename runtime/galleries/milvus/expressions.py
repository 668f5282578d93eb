"""Conditions as the boolean expressions of Milvus, which it evaluates before it searches.

What is not known is an ordinary value in a row (see `rows`), so that no expression meets a null, which servers disagree
about.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from reid.runtime.galleries.conditions import Condition
from reid.runtime.galleries.milvus.rows import encoded

__all__ = ["expression_of", "ids_expression", "sequences_expression"]

_NEVER = "sequence < 0"


def expression_of(condition: Condition) -> str:
    """Return the expression that is true of the rows whose entries a condition allows; "" for all."""
    return " and ".join(_terms(condition))


def ids_expression(ids: Iterable[str]) -> str:
    """Return the expression for rows of these ids."""
    return f"id in {_texts(ids)}"


def sequences_expression(sequences: Iterable[int]) -> str:
    """Return the expression for rows of these sequence numbers."""
    return f"sequence in [{','.join(map(str, sequences))}]"


def _terms(condition: Condition) -> Iterable[str]:
    if condition.cameras is not None:
        known = condition.cameras - {""}  # "" stands for what is not known
        yield f"camera in {_texts(known)}" if known else _NEVER
    if known := condition.not_cameras - {""}:
        yield f"camera not in {_texts(known)}"
    if condition.needs_time:
        yield "timed == true"
    if condition.time_s is not None:
        yield _within(condition.time_s)
    if condition.travel is not None:
        yield 'camera != ""'
        yield from _travel(condition)


def _travel(condition: Condition) -> Iterable[str]:
    """Yield a term for the windows that travel leaves to the cameras that have limits."""
    assert condition.travel
    here = condition.travel.seen.camera
    cameras = {one for pair in condition.travel.times.limits if here in pair for one in pair}
    windows = {camera: found for camera in sorted(cameras) if (found := condition.windows(camera))}
    if windows:
        limited = (
            f"(camera == {_text(camera)} and ({_within(before)} or {_within(after)}))"
            for camera, (before, after) in windows.items()
        )
        yield f"(camera not in {_texts(windows)} or {' or '.join(limited)})"


def _within(window: tuple[float, float]) -> str:
    """Return the expression for times between two, ends included."""
    first, last = window
    if not first <= last or first == math.inf or last == -math.inf:  # as it is of NaN
        return _NEVER
    ends = [f"time_s >= {first!r}"] if first > -math.inf else []
    ends += [f"time_s <= {last!r}"] if last < math.inf else []
    return f"({' and '.join(ends)})" if ends else "sequence >= 0"


def _texts(texts: Iterable[str]) -> str:
    return f"[{','.join(map(_text, sorted(texts)))}]"


def _text(text: str) -> str:
    return f'"{encoded(text)}"'
