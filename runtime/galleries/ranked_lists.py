"""What every query found: ranked matches, whether they are right, and the files that keep them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from reid.runtime.file_names import parse_name
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.operating_point import OperatingPoint, written_score
from reid.runtime.space import Space
from reid.runtime.tracklet import Tracklet

__all__ = ["Match", "Ranking", "Verdict", "verdict", "write_csv", "write_json"]

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Spreadsheets take cells that begin like this for formulas (OWASP, "CSV Injection"); the last are fullwidth forms."""

_WORD = re.compile(r"-[\w.]+", re.ASCII)
"""A name that no spreadsheet could compute anything from."""


class Verdict(Enum):
    """What the identities say about a match."""

    RIGHT = "right"
    WRONG = "wrong"
    SAME_CAMERA = "same-camera"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Match:
    """A gallery entry and its score: its cosine similarity to the query, or see `PostProcessing.score_meaning`."""

    entry: Entry
    score: float
    same: bool | None = None
    """Whether the score reaches the threshold of the operating point that was chosen; None where none was."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """A query and its matches, the most similar first."""

    query: Tracklet
    matches: tuple[Match, ...]

    def decided(self, threshold: float) -> Ranking:
        """Return the ranking with matches that say whether their scores, as they are written, reach a threshold."""
        decided = (replace(match, same=written_score(match.score) >= threshold) for match in self.matches)
        return Ranking(self.query, tuple(decided))

    @property
    def is_new_vehicle(self) -> bool | None:
        """Whether no match reaches the threshold; None where there is none."""
        found = [match.same for match in self.matches]
        return None if None in found or not found else not any(found)

    @property
    def first_verdict(self) -> Verdict:
        """The verdict on the first match that evaluation counts; unknown where there is none."""
        verdicts = (verdict(self.query, match.entry) for match in self.matches)
        return next((v for v in verdicts if v is not Verdict.SAME_CAMERA), Verdict.UNKNOWN)


def verdict(query: Tracklet, match: Entry) -> Verdict:
    """Judge a match by its vehicle; as in evaluation, the query's vehicle in the query's own camera is left out."""
    if query.vehicle is None or match.vehicle is None:
        return Verdict.UNKNOWN
    if query.vehicle != match.vehicle:
        return Verdict.WRONG
    if query.camera is not None and query.camera == match.camera:
        return Verdict.SAME_CAMERA
    return Verdict.RIGHT


def write_json(
    path: Path,
    rankings: Iterable[Ranking],
    *,
    space: Space,
    unreadable: Sequence[str],
    post_processing: PostProcessing = PLAIN,
    operating_point: OperatingPoint | None = None,
    filters: Mapping[str, object] | None = None,
) -> None:
    """Write the rankings as one JSON object, a query a line; it says how they were made, and what a score is.

    With an operating point it also says from which threshold a match is `same`, and with filters, which these are.
    """
    made: dict[str, object] = {"post_processing": post_processing.name, "score": post_processing.score_meaning}
    if filters is not None:
        made["filters"] = filters
    if operating_point is not None and operating_point.threshold is not None:
        made |= {
            "false_match_rate": operating_point.false_match_rate,
            "threshold": operating_point.threshold.value,
        }
    head = json.dumps({"model": space.fingerprint, "precision": space.precision, **made})
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{head.removesuffix("}")}, "queries": [')
        for index, ranking in enumerate(rankings):
            file.write(",\n" if index else "\n")
            file.write(json.dumps(_plain(ranking), allow_nan=False))
        file.write(f'\n], "unreadable": {json.dumps(list(unreadable))}}}\n')


def write_csv(path: Path, rankings: Iterable[Ranking], *, decided: bool = False) -> None:
    """Write one line a match: query, rank from 1, match, score; and, of decided rankings, same (true, false).

    A query without a match has one line, too, in which the other cells are empty.

    A name that a spreadsheet would take for a formula stands behind an apostrophe, which is no part of it; names that
    encode labels, such as Market's `-1_c1s1_000401_03.jpg`, stay as they are. `write_json` keeps every name.
    """
    # File names that are no valid UTF-8 reach the file as the bytes they have on the disk.
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["query", "rank", "match", "score", *(["same"] if decided else [])])
        for ranking in rankings:
            if not ranking.matches:
                writer.writerow([_cell(ranking.query.id), "", "", "", *([""] if decided else [])])
            for rank, match in enumerate(ranking.matches, start=1):
                cells = _cell(ranking.query.id), rank, _cell(match.entry.id), written_score(match.score)
                writer.writerow([*cells, *([str(match.same).lower()] if decided else [])])


def _cell(name: str) -> str:
    encodes_labels = parse_name(name) is not None and _WORD.fullmatch(name)
    return f"'{name}" if name.startswith(_FORMULA_STARTS) and not encodes_labels else name


def _plain(ranking: Ranking) -> dict[str, object]:
    return {"tracklet": ranking.query.id, "matches": [_plain_match(match) for match in ranking.matches]}


def _plain_match(match: Match) -> dict[str, object]:
    decision = {} if match.same is None else {"same": match.same}
    return {"tracklet": match.entry.id, "score": written_score(match.score), **decision}
