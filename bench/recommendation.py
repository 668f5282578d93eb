"""What to take: the front of throughput against quality, and one session with its precision and batch size on it.

A recommendation should not turn around when the benchmark is run again. So figures whose intervals overlap count as
equal, and of equal ones the smaller batch and the more precise graph are taken.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from reid.bench.records import Estimate
from reid.bench.result import BatchResult, BenchResult, Quality, SubjectPrecision, SubjectResult
from reid.evaluation.verification.records import Tolerance

__all__ = [
    "LEAST_SIMILARITY",
    "Choice",
    "Measure",
    "Standing",
    "best_batch",
    "choose",
    "is_above",
    "is_wrong",
    "measure_of",
]

LEAST_SIMILARITY: dict[SubjectPrecision, float] = {"fp32": 0.99, "fp16": 0.99, "bf16": 0.99, "int8": 0.8}
"""A subject whose least similar embedding is below this is wrong, however fast: the gate's own limits."""

_TOLERANCE = Tolerance()
_MOST_PRECISE_FIRST: tuple[SubjectPrecision, ...] = ("fp32", "fp16", "bf16", "int8")


@dataclass(frozen=True, slots=True)
class Measure:
    """What the answers of subjects are compared by.

    Attributes:
        protocols: the protocols whose mAP is averaged; empty where mAP is not known for any session, and the least
            similarity to the reference takes its place.
    """

    protocols: tuple[str, ...]

    def of(self, quality: Quality | None) -> float | None:
        """Return the mAP in percent, or the least similarity; None where it is not known."""
        if quality is None or not self.protocols:
            return None if quality is None else quality.least_similarity
        found = [quality.map_percent[name] for name in self.protocols if name in quality.map_percent]
        return statistics.fmean(found) if len(found) == len(self.protocols) else None


@dataclass(frozen=True, slots=True)
class Standing:
    """A subject that works, as the choice sees it.

    Attributes:
        subject: the subject.
        batch: its smallest batch size within the noise of the best of those that keep the latency limit; where none
            keeps it, the one with the shortest latency.
        keeps_limit: whether any batch size keeps the limit.
        quality: what its answers are worth, by the choice's measure; None where it is not known.
    """

    subject: SubjectResult
    batch: BatchResult
    keeps_limit: bool
    quality: float | None


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and what it was chosen from.

    Attributes:
        measure: what the answers are compared by.
        standings: the subjects that work and answer rightly, in the order of the result.
        wrong: the names of the subjects whose answers are wrong.
        front: those of the standings that no other surpasses, the fastest first.
        taken: the recommended session; None where no session works.
        reference: the most precise session whose quality is known, which says what another precision costs.
        equals: the sessions as fast as the recommended one, within noise, and good enough.
        too_far: the sessions that are faster beyond noise, but too far below the reference in mAP.
        faster_peers: the peers that are faster than it beyond noise.
    """

    measure: Measure
    standings: tuple[Standing, ...]
    wrong: tuple[str, ...]
    front: tuple[Standing, ...]
    taken: Standing | None
    reference: Standing | None
    equals: tuple[Standing, ...]
    too_far: tuple[Standing, ...]
    faster_peers: tuple[Standing, ...]


def choose(result: BenchResult) -> Choice:
    """Choose among the sessions of a result; peers are measured beside them and never recommended."""
    working = [subject for subject in result.subjects if subject.failure is None and subject.batches]
    measure, limit = measure_of(result.subjects), result.settings.latency_limit_ms
    wrong = tuple(subject.name for subject in working if is_wrong(subject.quality, subject.precision))
    standings = [_standing(subject, measure, limit) for subject in working if subject.name not in wrong]
    ours = _keeping([one for one in standings if one.subject.kind == "session"])
    reference = _reference(standings)
    good_enough = [one for one in _front(ours) if _is_good_enough(one, measure, reference)]
    equals = _equals(good_enough or _most_precise(ours))
    taken = min(equals, key=_rank, default=None)
    return Choice(
        measure=measure,
        standings=tuple(standings),
        wrong=wrong,
        front=tuple(_front(_keeping([one for one in standings if one.quality is not None]))),
        taken=taken,
        reference=reference,
        equals=tuple(one for one in equals if one is not taken),
        too_far=tuple(one for one in _faster(_front(ours), taken) if one not in good_enough),
        faster_peers=tuple(_faster([one for one in standings if one.subject.kind == "peer"], taken)),
    )


def measure_of(subjects: Sequence[SubjectResult]) -> Measure:
    """Return what subjects can be compared by: the protocols that all sessions have of which any mAP is known."""
    ours = [one.quality.map_percent for one in subjects if one.kind == "session" and one.quality]
    known = [protocols for protocols in ours if protocols]
    return Measure(tuple(name for name in (known[0] if known else ()) if all(name in other for other in known)))


def best_batch(subject: SubjectResult) -> BatchResult:
    """Return a subject's batch size with the highest throughput."""
    return max(subject.batches, key=lambda batch: batch.frames_per_s.value)


def is_above(one: Estimate, other: Estimate) -> bool:
    """Return whether a figure is above another beyond noise: their intervals do not overlap."""
    return one.low > other.high


def is_wrong(quality: Quality | None, precision: SubjectPrecision) -> bool:
    """Return whether answers are known to be wrong."""
    similarity = quality.least_similarity if quality else None
    return similarity is not None and similarity < LEAST_SIMILARITY[precision]


def _standing(subject: SubjectResult, measure: Measure, limit_ms: float) -> Standing:
    quality = measure.of(subject.quality)
    keeping = [batch for batch in subject.batches if batch.latency_ms.p99.value <= limit_ms]
    if not keeping:
        shortest = min(subject.batches, key=lambda batch: batch.latency_ms.p99.value)
        return Standing(subject, shortest, keeps_limit=False, quality=quality)
    best = max(keeping, key=lambda batch: batch.frames_per_s.value)
    as_fast = [batch for batch in keeping if not is_above(best.frames_per_s, batch.frames_per_s)]
    return Standing(subject, min(as_fast, key=lambda batch: batch.frames), keeps_limit=True, quality=quality)


def _keeping(standings: Sequence[Standing]) -> list[Standing]:
    """Return those that keep the latency limit; all where none does."""
    return [one for one in standings if one.keeps_limit] or list(standings)


def _front(standings: Sequence[Standing]) -> list[Standing]:
    """Return those that no other surpasses, the fastest first."""
    front = [one for one in standings if not any(_surpasses(other, one) for other in standings)]
    return sorted(front, key=_speed, reverse=True)


def _surpasses(one: Standing, other: Standing) -> bool:
    """Return whether one leaves no reason to take the other.

    It is as good and faster beyond noise, or better and no slower. Being transitive, this leaves somebody on top.
    """
    good, better = _compared(one.quality, other.quality)
    faster = is_above(one.batch.frames_per_s, other.batch.frames_per_s)
    return (good and faster) or (better and _speed(one) >= _speed(other))


def _compared(one: float | None, other: float | None) -> tuple[bool, bool]:
    """Return whether a quality is at least another, and whether it is above; an unknown one is below all."""
    a, b = (float("-inf") if quality is None else quality for quality in (one, other))
    return a >= b, a > b


def _speed(one: Standing) -> float:
    return one.batch.frames_per_s.value


def _reference(standings: Sequence[Standing]) -> Standing | None:
    known = [one for one in standings if one.subject.kind == "session" and one.quality is not None]
    return min(known, key=lambda one: (_rank(one), -(one.quality or 0)), default=None)


def _is_good_enough(one: Standing, measure: Measure, reference: Standing | None) -> bool:
    """Return whether a quality is known to be within the gate's tolerance of the reference precision's."""
    if one.quality is None or reference is None or reference.quality is None:
        return False
    return not measure.protocols or one.quality >= reference.quality - _TOLERANCE.map


def _most_precise(standings: Sequence[Standing]) -> list[Standing]:
    """Return those of the most precise precision, which are taken where nothing is known to be good enough."""
    least = min(map(_rank, standings), default=0)
    return [one for one in standings if _rank(one) == least]


def _rank(one: Standing) -> int:
    return _MOST_PRECISE_FIRST.index(one.subject.precision)


def _equals(standings: Sequence[Standing]) -> list[Standing]:
    """Return the fastest, and those as fast within noise: the ones that none is above."""
    rates = [one.batch.frames_per_s for one in standings]
    return [one for one in standings if not any(is_above(rate, one.batch.frames_per_s) for rate in rates)]


def _faster(standings: Sequence[Standing], taken: Standing | None) -> list[Standing]:
    """Return those that are faster than what is taken, beyond noise."""
    return [one for one in standings if taken and is_above(one.batch.frames_per_s, taken.batch.frames_per_s)]
