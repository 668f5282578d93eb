"""The verdict of a verification in words: what everything else on the page rests on."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from reid.evaluation.verification.failures import Verdict
from reid.evaluation.verification.records import (
    Change,
    EngineFacts,
    PrecisionVerification,
    ProtocolComparison,
    Tolerance,
    Verification,
)
from reid.evaluation.verification.sentences import ranking_name, reason, undecided_sentence
from reid.evaluation.verification.similarity import judged_similarities
from reid.pages.base import mark

__all__ = ["MARKS", "bar", "verdict_section"]

MARKS: dict[Verdict, str] = {"within": "right", "outside": "wrong", "undecided": "open"}
"""The mark of a verdict, and the class of what has it."""

_WORDS: dict[Verdict, str] = {
    "within": "within tolerance",
    "outside": "OUTSIDE tolerance",
    "undecided": "not outside tolerance, in part undecided",
}


def bar(title: str, verification: Verification) -> str:
    """Return the strip that stays at the top of the window."""
    verdict = verification.verdict
    words = _WORDS[verdict] if verification.retrieval or verdict == "outside" else f"embeddings {_WORDS[verdict]}"
    name = MARKS[verdict]
    badge = f'<p class="badge {name}">{mark(name, words)} <b>{words}</b></p>\n' if verification.precisions else ""
    return f"<header>\n<h1>{escape(title)}</h1>\n{badge}</header>\n"


def verdict_section(verification: Verification) -> str:
    """Return the verdict on each precision, with its reasons, and what was not verified."""
    judged = "".join(_judgment(precision, verification.tolerance) for precision in verification.precisions)
    verdicts = f"<ul>\n{judged}</ul>\n" if judged else "<p>No precision was verified.</p>\n"
    notes = "".join(f'<p class="note">{note}</p>\n' for note in _notes(verification))
    return f'<section class="verdict">\n{notes}{verdicts}</section>\n'


def _judgment(precision: PrecisionVerification, tolerance: Tolerance) -> str:
    words, lines = _found(precision, tolerance)
    name = MARKS[precision.verdict]
    shown = "".join(f"<p>{escape(line)}</p>\n" for line in lines)
    return f"""<li class="{name}">{mark(name, _WORDS[precision.verdict])}
<div><p><b>{escape(f"{precision.precision} {words}")}</b></p>
{shown}</div></li>
"""


def _found(precision: PrecisionVerification, tolerance: Tolerance) -> tuple[str, list[str]]:
    """Return the verdict on a precision, and its reasons."""
    if precision.failures:
        said = "is OUTSIDE tolerance" if precision.verdict == "outside" else "is undecided, and REFUSED"
        return f"{said}{_worst_change(precision)}", [reason(one) for one in precision.failures]
    margins = [*_margins(precision, tolerance)]
    if precision.undecided:
        words = f"is not outside tolerance on {_extent(precision)}, and in part undecided"
        return words, [undecided_sentence(precision.undecided), *margins]
    return f"is within tolerance on {_extent(precision)}", margins


def _extent(precision: PrecisionVerification) -> str:
    protocols = [*dict.fromkeys(comparison.protocol.upper() for comparison in precision.protocols)]
    if not protocols:
        return "embeddings alone"
    return protocols[0] if len(protocols) == 1 else f"all protocols: {', '.join(protocols)}"


def _worst_change(precision: PrecisionVerification) -> str:
    outside = [one for one in _changes(precision) if one[1].verdict == "outside"]
    if not outside:
        return ""
    comparison, change = max(outside, key=lambda one: abs(one[1].difference))
    moved = "rose" if change.difference > 0 else "fell"
    return (
        f": {ranking_name(comparison)} {change.measure} {moved} {abs(change.difference):.2f} points "
        f"(tolerance {change.allowed:.2f})"
    )


def _margins(precision: PrecisionVerification, tolerance: Tolerance) -> Iterator[str]:
    """Yield how near to its tolerance a precision came."""
    falls = [
        (change.difference, change.allowed, ranking_name(one), change.measure) for one, change in _changes(precision)
    ]
    falls = [fall for fall in falls if not fall[3].startswith("FMR")]
    if falls:
        fall, allowed, ranking, measure = min(falls)
        fell = f"largest fall: {ranking} {measure} by {-fall:.2f} points (tolerance {allowed:.2f})"
        yield fell if round(fall, 2) < 0 else "no metric fell"
    for one in judged_similarities(precision.precision, precision.similarity, tolerance):
        which = "smallest cosine similarity" if one.share == 1 else f"smallest of {one.share:.0%}"
        yield f"{which}: {one.value:.6f} (needs {one.required:.6f})"


def _changes(precision: PrecisionVerification) -> Iterator[tuple[ProtocolComparison, Change]]:
    return ((comparison, change) for comparison in precision.protocols for change in comparison.changes)


def _notes(verification: Verification) -> Iterator[str]:
    """Yield what was not verified, and what the reference is where it is not PyTorch."""
    if not verification.retrieval and verification.precisions:
        crops = f"{verification.precisions[0].similarity.frames:,} reference crops"
        yield f"<b>mAP and Rank-k were not verified</b>: embeddings of {crops} only; give <code>--verify DATA</code>"
    if verification.stand_in:
        yield f"<b>Compared with {escape(verification.reference)}</b>, which stands in for PyTorch"
    for engine in verification.engines:
        if isinstance(engine, EngineFacts):
            yield f"<b>{escape(f'{engine.precision} engine for {engine.device}')}</b>: {escape(engine.judged.sentence)}"
