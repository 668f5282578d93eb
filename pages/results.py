"""The folder that `reid-infer` writes: ranked lists as JSON and CSV, the gallery, and the page that shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from reid.pages.ranked_lists import write_report
from reid.runtime.data_drift.comparison import CameraCheck
from reid.runtime.data_drift.sentences import camera_name, changes_phrase, check_summary, likely_causes
from reid.runtime.galleries.filters import Filters
from reid.runtime.galleries.memory import MemoryGallery
from reid.runtime.galleries.ranked_lists import Ranking, write_csv, write_json
from reid.runtime.inference import Inference
from reid.runtime.operating_point import OperatingPoint, rate_name
from reid.runtime.sessions.session import Session

__all__ = ["write_results"]


def write_results(
    folder: Path, inference: Inference, session: Session, checks: Sequence[CameraCheck] | None = None
) -> None:
    """Write rankings.json, rankings.csv, report.html and, if it is in memory, gallery.npz into an existing folder.

    Args:
        folder: the folder.
        inference: the rankings.
        session: what embedded them.
        checks: how the crops look beside the data that the model was verified on; None where nobody looked.
    """
    facts = {
        "model": inference.gallery.space.fingerprint[:12],
        "session": str(session.info),
        "precision": inference.gallery.space.precision,
        "ranking": inference.post_processing.name,
        "queries": f"{len(inference.rankings):,}",
        "gallery": f"{len(inference.gallery):,} tracklets",
        "frames": f"{inference.frames:,}",
    }
    filters, point = inference.filters, inference.operating_point
    if filters:
        facts |= {"filters": ", ".join(_words(filters)), "without a match": _share(inference)}
    if point is not None:
        facts |= _decision(point, inference.rankings)
    if checks is not None:
        changed = [one for one in checks if one.verdict == "changed"]
        facts |= {"check of the crops": check_summary(checks), **dict(map(_changed, changed))}
    write_json(
        folder / "rankings.json",
        inference.rankings,
        space=inference.gallery.space,
        unreadable=inference.unreadable,
        post_processing=inference.post_processing,
        operating_point=point,
        filters=filters.facts if filters else None,
    )
    write_csv(folder / "rankings.csv", inference.rankings, decided=point is not None)
    if isinstance(inference.gallery, MemoryGallery):  # the others stay where they are, and may be large
        inference.gallery.save(folder / "gallery.npz")
    write_report(
        folder / "report.html",
        inference.rankings,
        title="Ranked gallery",
        facts=facts,
        unreadable=inference.unreadable,
        score=inference.post_processing.score_meaning,
    )


def _decision(point: OperatingPoint, rankings: Sequence[Ranking]) -> dict[str, str]:
    """Return what decided the matches, and what came of it, as facts for people."""
    new = sum(ranking.is_new_vehicle is True for ranking in rankings)
    facts = {"false-match rate": rate_name(point.false_match_rate)}
    if point.threshold is not None:
        low, high = point.threshold.interval
        facts["threshold"] = f"{point.threshold.value:.6f} [{low:.4f}, {high:.4f}]"
    if point.true_match_rate is not None:
        low, high = point.true_match_rate.interval
        facts["true-match rate"] = f"{point.true_match_rate.value:.1f} % [{low:.1f}, {high:.1f}]"
    return facts | {"new vehicles": f"{new:,} of {len(rankings):,} queries"}


def _changed(check: CameraCheck) -> tuple[str, str]:
    """Return what has changed of a camera, as a fact for people."""
    causes = likely_causes(check)
    because = f" ({'; '.join(causes)})" if causes else ""
    return f"{camera_name(check.camera)} changed", f"{changes_phrase(check)}{because}"


def _share(inference: Inference) -> str:
    return f"{inference.unmatched:,} of {len(inference.rankings):,} queries"


def _words(filters: Filters) -> Iterator[str]:
    """Yield what the matches had to be, for people."""
    if filters.cameras is not None:
        yield f"cameras {', '.join(sorted(filters.cameras))}"
    if filters.not_cameras:
        yield f"not {', '.join(sorted(filters.not_cameras))}"
    if filters.other_cameras:
        yield "not the query's camera"
    if filters.since_s is not None:
        yield f"from {filters.since_s:,g} s"
    if filters.until_s is not None:
        yield f"until {filters.until_s:,g} s"
    if filters.travel is not None:
        yield f"travel times of {len(filters.travel.limits):,} pairs of cameras"
