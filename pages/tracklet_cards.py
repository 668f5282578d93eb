"""Tracklets as cards on a page: a picture, whether the match is right, and what is known about the tracklet."""

from __future__ import annotations

from html import escape
from pathlib import Path

from reid.pages.base import Pictures, mark
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.ranked_lists import Match, Verdict
from reid.runtime.tracklet import Frame, Tracklet

__all__ = ["match_card", "query_card", "verdict_mark"]


def query_card(name: str, query: Tracklet, pictures: Pictures, *, score: str = "") -> str:
    """Return the card that stands before a query's matches.

    Args:
        name: the query's name on its page, such as "query 3".
        query: the tracklet that was searched for.
        pictures: the page's pictures.
        score: a phrase for how well the query was answered; shown in place of the name.
    """
    middle = query.frames[len(query.frames) // 2]
    return f"""<div class="card">
<div class="frame">{_picture(middle, f"{name}: {query.id}", pictures)}{_count(len(query.frames))}</div>
<p class="rank"><b>{escape(score or name.capitalize())}</b></p>
{_caption(query)}
</div>
"""


def match_card(rank: int, match: Match, judged: Verdict, pictures: Pictures) -> str:
    """Return the list item for the match at a rank, counted from 1."""
    entry = match.entry
    picture = _picture(Path(entry.picture), f"match {rank}: {entry.id}", pictures)
    return f"""<li class="card {judged.value}">
<div class="frame">{picture}{verdict_mark(judged)}{_count(entry.frames)}</div>
<p class="rank"><b>{rank}</b><span>{match.score:.3f}</span></p>
{_caption(entry)}
</li>
"""


def verdict_mark(judged: Verdict) -> str:
    """Return the mark of a verdict, in the color of the surrounding element with the verdict's class."""
    if judged is Verdict.UNKNOWN:
        return ""
    if judged is Verdict.SAME_CAMERA:
        return '<span class="mark">same camera</span>'
    return mark(judged.value)


def _picture(frame: Frame, label: str, pictures: Pictures) -> str:
    return pictures.draw(frame.absolute() if isinstance(frame, Path) else id(frame), frame, label)


def _count(frames: int) -> str:
    return f'<span class="count">{frames} frames</span>' if frames > 1 else ""


def _caption(shown: Tracklet | Entry) -> str:
    known = {"vehicle": shown.vehicle, "camera": shown.camera}
    short = " · ".join(value for value in known.values() if value is not None)
    full = ", ".join(f"{name} {value}" for name, value in known.items() if value is not None)
    origin = f'<p class="origin" title="{escape(full)}">{escape(short)}</p>\n' if short else ""
    return f'{origin}<p class="name" title="{escape(shown.id)}">{escape(shown.id)}</p>'
