"""What `reid-export` and `reid-verify` share: the tolerance that is asked for, and what is said of a verification."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reid.commands.shell import signed

if TYPE_CHECKING:
    from reid.evaluation.verification.records import PrecisionVerification, Tolerance, Verification

__all__ = ["log_verification", "summary_of", "tolerance_of"]

logger = logging.getLogger(__name__)


def tolerance_of(file: Path | None, tolerance_map: float, tolerance_rank: float, *, strict: bool) -> Tolerance:
    """Return the tolerance that the options ask for; a file takes the place of those for single measures."""
    from reid.evaluation.verification.records import Tolerance
    from reid.evaluation.verification.tolerances import read_tolerance

    if file is None:
        return Tolerance(map=tolerance_map, rank=tolerance_rank, strict=strict)
    tolerance = read_tolerance(file)
    return Tolerance(**{**tolerance.model_dump(), "strict": strict or tolerance.strict})


def summary_of(verification: Verification) -> dict[str, Any]:
    """Return a verification for --json, without what only the stored file and the report have room for."""
    result = verification.model_dump(mode="json") | {"retrieval": verification.retrieval}
    for precision in result["precisions"]:
        for long in ("worst_queries", "drift"):
            del precision[long]
        _shorten(precision)
        for long in ("counts", "edges"):
            del precision["similarity"][long]
    _shorten(result)
    return result


def _shorten(result: dict[str, Any]) -> None:
    for scores in result["scores"]:
        for long in ("genuine", "impostor", "curve"):
            del scores[long]


def log_verification(verification: Verification) -> None:
    """Log what was measured, in lines for people."""
    from reid.evaluation.evaluate import warn_of_unreadable

    first = verification.precisions[0]
    warn_of_unreadable(first.unreadable, first.queries_left_out)
    for one in verification.precisions:
        for line in _lines(one, "the FP32 graph" if verification.stand_in else "PyTorch"):
            logger.info("%s", line)


def _lines(found: PrecisionVerification, reference: str) -> Iterator[str]:
    """Yield the findings about a precision, compared with a reference, in lines."""
    from reid.evaluation.verification.sentences import ranking_name, undecided_sentence

    name = found.precision
    for comparison in found.protocols:
        measures = ", ".join(
            f"{change.measure} {change.candidate:.2f} ({signed(change.difference, 2)})" for change in comparison.changes
        )
        changed = f"first match changed for {comparison.first_match_changed:.1f} % of {comparison.queries} queries"
        yield f"{name} {ranking_name(comparison)}: {measures}; {changed}"
    yield f"{name}: smallest cosine similarity to {reference} {found.similarity.levels[0].minimum:.6f}"
    if found.undecided:
        yield f"{name}: {undecided_sentence(found.undecided)}"
    if found.in_fp32:
        layers = ", ".join(one.layer for one in found.in_fp32)
        yield f"{name}: {len(found.in_fp32)} layers stay in FP32: {layers}"
