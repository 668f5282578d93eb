"""The folder that `reid-infer` writes: ranked lists as JSON and CSV, the gallery, and the page that shows them."""

from __future__ import annotations

from pathlib import Path

from reid.pages.ranked_lists import write_report
from reid.runtime.galleries.ranked_lists import write_csv, write_json
from reid.runtime.inference import Inference
from reid.runtime.sessions.session import Session

__all__ = ["write_results"]


def write_results(folder: Path, inference: Inference, session: Session) -> None:
    """Write rankings.json, rankings.csv, report.html and gallery.npz into an existing folder."""
    facts = {
        "model": inference.gallery.space.fingerprint[:12],
        "session": str(session.info),
        "precision": inference.gallery.space.precision,
        "queries": f"{len(inference.rankings):,}",
        "gallery": f"{len(inference.gallery.tracklets):,} tracklets",
        "frames": f"{inference.frames:,}",
    }
    write_json(
        folder / "rankings.json",
        inference.rankings,
        space=inference.gallery.space,
        unreadable=inference.unreadable,
    )
    write_csv(folder / "rankings.csv", inference.rankings)
    inference.gallery.save(folder / "gallery.npz")
    write_report(
        folder / "report.html",
        inference.rankings,
        title="Ranked gallery",
        facts=facts,
        unreadable=inference.unreadable,
    )
