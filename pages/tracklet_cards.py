"""Tracklets as cards on a page: a picture, whether the match is right, and what is known about the tracklet."""

from __future__ import annotations

from html import escape

from reid.pages.base import Pictures, mark
from reid.runtime.galleries.ranked_lists import Match, Verdict
from reid.runtime.tracklet import Tracklet

__all__ = ["match_card", "query_card", "verdict_mark"]


def query_card(name: str, query: Tracklet, pictures: Pictures, *, score: str = "") -> str:
    """Return the card that stands before a query's matches.

    Args:
        name: the query's name on its page, such as "query 3".
        query: the tracklet that was searched for.
        pictures: the page's pictures.
        score: a phrase for how well the query was answered; shown in place of the name.
    """
    return f"""<div class="card">
<div class="frame">{_picture(query, f"{name}: {query.id}", pictures)}{_count(query)}</div>
<p class="rank"><b>{escape(score or name.capitalize())}</b></p>
{_caption(query)}
</div>
"""


def match_card(rank: int, match: Match, judged: Verdict, pictures: Pictures) -> str:
    """Return the list item for the match at a rank, counted from 1."""
    tracklet = match.tracklet
    picture = _picture(tracklet, f"match {rank}: {tracklet.id}", pictures)
    return f"""<li class="card {judged.value}">
<div class="frame">{picture}{verdict_mark(judged)}{_count(tracklet)}</div>
<p class="rank"><b>{rank}</b><span>{match.score:.3f}</span></p>
{_caption(tracklet)}
</li>
"""


def verdict_mark(judged: Verdict) -> str:
    """Return the mark of a verdict, in the color of the surrounding element with the verdict's class."""
    if judged is Verdict.UNKNOWN:
        return ""
    if judged is Verdict.SAME_CAMERA:
        return '<span class="mark">same camera</span>'
    return mark(judged.value)


def _picture(tracklet: Tracklet, label: str, pictures: Pictures) -> str:
    middle = tracklet.frames[len(tracklet.frames) // 2]
    return pictures.draw(tracklet, middle, label)


def _count(tracklet: Tracklet) -> str:
    frames = len(tracklet.frames)
    return f'<span class="count">{frames} frames</span>' if frames > 1 else ""


def _caption(tracklet: Tracklet) -> str:
    known = {"vehicle": tracklet.vehicle, "camera": tracklet.camera}
    short = " · ".join(value for value in known.values() if value is not None)
    full = ", ".join(f"{name} {value}" for name, value in known.items() if value is not None)
    origin = f'<p class="origin" title="{escape(full)}">{escape(short)}</p>\n' if short else ""
    return f'{origin}<p class="name" title="{escape(tracklet.id)}">{escape(tracklet.id)}</p>'
