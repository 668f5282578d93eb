"""What the service answers, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel

from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.protocol import Found
from reid.runtime.operating_point import OperatingPoint, written_score

__all__ = [
    "About",
    "Answer",
    "Camera",
    "EntryAnswer",
    "Fault",
    "LeftOut",
    "LimitsAnswer",
    "Listing",
    "Match",
    "Matches",
    "Point",
    "matches_of",
]


class EntryAnswer(BaseModel):
    """An entry of the gallery; what is not known is null. The time is in seconds on the data's own clock."""

    id: str
    camera: str | None
    time: float | None
    frames: int | None

    @classmethod
    def of(cls, entry: Entry) -> EntryAnswer:
        """Return an entry as it is answered."""
        return cls(id=entry.id, camera=entry.camera, time=entry.time_s, frames=entry.frames or None)


class Match(BaseModel):
    """A match; `same` is null where no operating point decides."""

    rank: int
    entry: EntryAnswer
    score: float
    same: bool | None


class LeftOut(BaseModel):
    """A picture that could not be read."""

    picture: str
    reason: str


class Matches(BaseModel):
    """The matches of a query, best first."""

    left_out: list[LeftOut]
    milliseconds: float
    matches: list[Match]


class Listing(BaseModel):
    """Some of the gallery's entries, and how many there are of what was asked for."""

    total: int
    entries: list[EntryAnswer]


class Camera(BaseModel):
    """A camera and the number of its entries."""

    name: str
    entries: int


class Point(BaseModel):
    """The operating point for queries of one picture."""

    false_match_rate: float
    threshold: float

    @classmethod
    def of(cls, point: OperatingPoint | None) -> Point | None:
        """Return an operating point as it is answered; None where there is none."""
        if point is None or point.threshold is None:
            return None
        return cls(false_match_rate=point.false_match_rate, threshold=point.threshold.value)


class LimitsAnswer(BaseModel):
    """What a request may have: pictures, bytes together, and pixels of each."""

    pictures: int
    bytes: int
    pixels: int


class About(BaseModel):
    """The service, its model and its gallery."""

    reid: str
    model: str
    precision: str
    session: str
    dimensions: int
    entries: int
    cameras: list[Camera]
    first_time: float | None
    last_time: float | None
    operating_point: Point | None
    writable: bool
    limits: LimitsAnswer


class Fault(BaseModel):
    """What is wrong with a request, in one line."""

    error: str


class Answer(JSONResponse):
    """A response in JSON. Ids may hold the bytes of names that are no UTF-8, so all of it is ASCII."""

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - whatever is no model is JSON as it is
        """Return the body."""
        plain = content.model_dump() if isinstance(content, BaseModel) else content
        return json.dumps(plain, allow_nan=False).encode()


def matches_of(found: Iterable[Found], point: OperatingPoint | None) -> list[Match]:
    """Return matches as they are answered: scores with six decimals, by which a point decides."""
    threshold = None if point is None or point.threshold is None else point.threshold.value
    matches = []
    for rank, one in enumerate(found, start=1):
        score = written_score(one.score)
        same = None if threshold is None else score >= threshold
        matches.append(Match(rank=rank, entry=EntryAnswer.of(one.entry), score=score, same=same))
    return matches
