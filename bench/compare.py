"""Two results beside each other: what changed beyond noise, and whether that is a regression.

A figure's interval is where another run of the same command would find it in 99 of 100 cases. Of a hundred figures one
would thus leave its interval by chance, so the intervals are widened to hold all figures of both runs at once in 99 of
100 cases (Bonferroni's correction, for figures that scatter normally). A figure changed if its two widened intervals do
not overlap; that is stricter than needed, since an alarm in CI that is none costs more than a change of a few percent.

Where the machine itself took longer, or less long, for what never changes (`reid.bench.pace`), the earlier interval
also holds the figure that this explains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from statistics import NormalDist
from typing import TypeAlias

from reid.bench.comparison import Comparison, Difference, Figure, QualityChange, SpeedChange, Vanished, Verdict
from reid.bench.facts import flat_facts, machine_name
from reid.bench.recommendation import is_wrong
from reid.bench.records import Estimate, Record
from reid.bench.result import BatchResult, BenchResult, SubjectResult
from reid.evaluation.verification.records import Tolerance

__all__ = ["RELEVANT_PERCENT", "compare"]

RELEVANT_PERCENT = 10.0
"""Figures count as equal where a change of so much is excluded; where it is not, they are too noisy to decide."""

_CONFIDENCE = 0.99
_TOLERANCE = Tolerance()
_NEVER_EQUAL = ("idle power", "memory")
"""Facts that are measured, and differ from run to run."""


def compare(before: BenchResult, after: BenchResult) -> Comparison:
    """Compare two results, on one machine or on two."""
    earlier, later = _by_name(before), _by_name(after)
    pairs = [(earlier[name], one) for name, one in later.items() if name in earlier]
    figures = [figures for pair in pairs for figures in _figures(*pair)]
    widening = _widening(len(figures))
    machines = machine_name(before.environment), machine_name(after.environment)
    pace = _pace(before, after) if machines[0] == machines[1] else None
    return Comparison(
        machines=machines,
        same_machine=machines[0] == machines[1],
        pace=pace,
        same_task=_task(before) == _task(after),
        comparisons=len(figures),
        widened=widening,
        speeds=tuple(_speed(*one, widening, pace or 1.0) for one in figures),
        qualities=tuple(change for pair in pairs for change in _qualities(*pair)),
        came=tuple(name for name in later if name not in earlier),
        went=tuple(
            Vanished(subject=name, reason=_reason(name, after) if one.kind == "session" else "")
            for name, one in earlier.items()
            if name not in later
        ),
        differences=tuple(_differences(before, after)),
    )


def _pace(before: BenchResult, after: BenchResult) -> float | None:
    return after.pace_ms.value / before.pace_ms.value if before.pace_ms and after.pace_ms else None


def _task(result: BenchResult) -> tuple[object, ...]:
    """Return what was to be computed, and with how much: two runs that differ in it say nothing of the code."""
    model = result.model
    return result.settings.threads, model.backbone, model.levels, model.image_size


def _by_name(result: BenchResult) -> dict[str, SubjectResult]:
    """Return the subjects that have figures."""
    return {one.name: one for one in result.subjects if one.batches and one.failure is None}


_Pair: TypeAlias = tuple[SubjectResult, int, Figure, Estimate, Estimate]


def _figures(before: SubjectResult, after: SubjectResult) -> Iterator[_Pair]:
    """Yield the figures that both have."""
    earlier = {batch.frames: batch for batch in before.batches}
    for batch in after.batches:
        if batch.frames in earlier:
            both = (earlier[batch.frames], batch)
            yield after, batch.frames, "frames_per_s", *_both(both, "frames_per_s")
            yield after, batch.frames, "p99_ms", *_both(both, "p99_ms")


def _both(batches: tuple[BatchResult, BatchResult], figure: Figure) -> tuple[Estimate, Estimate]:
    before, after = (one.frames_per_s if figure == "frames_per_s" else one.latency_ms.p99 for one in batches)
    return before, after


def _widening(comparisons: int) -> float:
    """Return how many times as wide intervals are that all hold at once as often as one of them alone."""
    alone, together = (1 - (1 - _CONFIDENCE) / (2 * n) for n in (1, max(1, 2 * comparisons)))
    return NormalDist().inv_cdf(together) / NormalDist().inv_cdf(alone)


def _speed(
    subject: SubjectResult, frames: int, figure: Figure, before: Estimate, after: Estimate, widening: float, pace: float
) -> SpeedChange:
    more_is_better = figure == "frames_per_s"
    expected = _also_at(_widened(before, widening), 1 / pace if more_is_better else pace)
    return SpeedChange(
        subject=subject.name,
        kind=subject.kind,
        frames=frames,
        figure=figure,
        before=before,
        after=after,
        percent=100 * (after.value / before.value - 1),
        verdict=_verdict(expected, _widened(after, widening), more_is_better=more_is_better),
    )


def _also_at(one: Estimate, factor: float) -> Estimate:
    """Return the figure with an interval that also holds it on a machine that is so many times as fast, or as slow."""
    return Estimate(value=one.value, low=one.low * min(1, factor), high=one.high * max(1, factor))


def _widened(one: Estimate, factor: float) -> Estimate:
    """Return the figure with a wider interval, on the logarithmic scale that it was found on."""
    low, high = (one.value * (end / one.value) ** factor for end in (one.low, one.high))
    return Estimate(value=one.value, low=low, high=high)


def _verdict(before: Estimate, after: Estimate, *, more_is_better: bool) -> Verdict:
    if after.low > before.high:
        return "faster" if more_is_better else "slower"
    if after.high < before.low:
        return "slower" if more_is_better else "faster"
    # An interval holds the noise of two runs already, so the wider one is that of the change.
    room = 1 + RELEVANT_PERCENT / 100
    ratio = after.value / before.value
    up, down = (
        max(one.high / one.value for one in (before, after)),
        max(one.value / one.low for one in (before, after)),
    )
    return "equal" if 1 / room <= ratio / down and ratio * up <= room else "undecided"


def _qualities(before: SubjectResult, after: SubjectResult) -> Iterator[QualityChange]:
    """Yield the mAP by protocol, and the least similarity, that both subjects have."""
    if before.quality is None or after.quality is None:
        return
    for protocol, earlier in before.quality.map_percent.items():
        if (later := after.quality.map_percent.get(protocol)) is not None:
            fell = later < earlier - _TOLERANCE.map
            yield _quality(after, protocol, earlier, later, regressed=fell)
    one, other = before.quality.least_similarity, after.quality.least_similarity
    if one is not None and other is not None:
        wrong = is_wrong(after.quality, after.precision) and not is_wrong(before.quality, before.precision)
        yield _quality(after, "least_similarity", one, other, regressed=wrong)


def _quality(subject: SubjectResult, measure: str, before: float, after: float, *, regressed: bool) -> QualityChange:
    ours = subject.kind == "session"
    return QualityChange(
        subject=subject.name, measure=measure, before=before, after=after, regressed=regressed and ours
    )


def _reason(name: str, result: BenchResult) -> str:
    """Return why a result has no figures of a subject; empty where it does not know it."""
    failed = {
        one.name: f"failed during {one.failure.during}: {one.failure.reason}" for one in result.subjects if one.failure
    }
    absent = {one.name: one.reason for one in result.absent}
    backend = name.partition(" ")[0]
    return failed.get(name) or absent.get(name) or absent.get(backend) or ""


def _differences(before: BenchResult, after: BenchResult) -> Iterator[Difference]:
    """Yield what differs besides the figures."""
    parts: Sequence[tuple[str, Record, Record]] = (
        ("", before.environment, after.environment),
        ("settings ", before.settings, after.settings),
        ("model ", before.model, after.model),
    )
    for prefix, one, other in parts:
        yield from _changed(prefix, flat_facts(one), flat_facts(other))
    earlier, later = _by_name(before), _by_name(after)
    asked = {*before.settings.batches} & {*after.settings.batches}
    for name in later:
        if name in earlier:
            yield from _changed(name, *_subject_facts(earlier[name], later[name], asked))


def _changed(prefix: str, facts: Mapping[str, str], others: Mapping[str, str]) -> Iterator[Difference]:
    for fact in dict.fromkeys((*facts, *others)):
        if facts.get(fact) != others.get(fact) and not fact.startswith(_NEVER_EQUAL):
            yield Difference(fact=prefix + fact, before=facts.get(fact, ""), after=others.get(fact, ""))


def _subject_facts(before: SubjectResult, after: SubjectResult, asked: Set[int]) -> Iterator[dict[str, str]]:
    """Yield what is known of a subject in each result besides what is compared: a mAP is there if only one has it."""
    known = [one.quality.map_percent if one.quality else {} for one in (before, after)]
    for one, qualities, others in zip((before, after), known, reversed(known), strict=True):
        sizes = ", ".join(str(batch.frames) for batch in one.batches if batch.frames in asked)
        alone = {f" mAP ({name.upper()})": f"{qualities[name]:.2f} %" for name in qualities if name not in others}
        yield {"": one.backend, " device": one.device, " batches": sizes} | alone
