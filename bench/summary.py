"""From turns to figures: what counts, its medians with their intervals, and the ratios to a peer of the same rounds."""

from __future__ import annotations

import statistics
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from reid.bench.disturbances import disturbances, steady_disturbances
from reid.bench.estimates import PROCESSES, estimate, estimate_percentiles, estimate_ratio
from reid.bench.meters.nvml import Nvml
from reid.bench.meters.turns import Meters, Reading
from reid.bench.process import HostProcess
from reid.bench.records import Disturbance, Estimate
from reid.bench.replies import Opened, TimedTurn
from reid.bench.result import BatchResult, Failure, Quality, Start, SubjectResult, Turn, WarmUp
from reid.bench.rounds import Cell, Rounds
from reid.bench.running import Running
from reid.bench.scenarios import closed_scenarios
from reid.bench.subjects import Candidate

__all__ = ["Sample", "batch_results", "failed_result", "subject_result", "undisturbed_are_few"]

_LEAST_SHARE = 0.5
"""The share of turns that have to be undisturbed, or else all count: what is left would be those of a lucky moment."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A turn as it was measured: by the subject's own process, and by the meters meanwhile."""

    timed: TimedTurn
    reading: Reading


def batch_results(
    rounds: Rounds[Sample],
    warm_ups: Mapping[Cell, WarmUp],
    peer: str,
    apart: Container[str] = (),
    unseen: float = PROCESSES,
) -> dict[str, tuple[BatchResult, ...]]:
    """Return each subject's results by batch size, ascending.

    Args:
        rounds: the turns of the subjects that took part until the end.
        warm_ups: how each was warmed up.
        peer: the subject that speeds are compared with; empty for none.
        apart: the subjects with rounds of their own, which are not those of the others.
        unseen: what runs on this machine differ by; see `estimate`.
    """
    judged = {cell: _judge(samples) for cell, samples in rounds.items()}
    rates = {cell: _rates(cell, turns.counted) for cell, turns in judged.items()}
    found: dict[str, tuple[BatchResult, ...]] = {}
    for cell in sorted(rounds, key=lambda cell: cell.frames):
        if any(rounds[cell]):
            of_peer = rates.get(Cell(peer, cell.frames)) if (cell.subject in apart) == (peer in apart) else None
            result = _batch_result(cell, judged[cell], warm_ups[cell], rates[cell], of_peer, unseen)
            found[cell.subject] = (*found.get(cell.subject, ()), result)
    return found


def undisturbed_are_few(turns: Sequence[Turn]) -> bool:
    """Return whether so few turns were undisturbed that all of them count."""
    return sum(not turn.disturbances for turn in turns) < _LEAST_SHARE * len(turns)


def subject_result(running: Running, quality: Quality, batches: Sequence[BatchResult], meters: Meters) -> SubjectResult:
    """Return what the turns say of a subject; its failure alone, where it has one."""
    if running.failure is None:
        memory = running.attempt("reading its memory", lambda host: _memory(host, meters))
    if running.failure is not None:
        return failed_result(running.candidate, running.failure, running.opened)
    opened = running.opened
    return failed_result(running.candidate, None, opened).model_copy(
        update={
            "quality": quality,
            "start": Start(import_s=opened.import_s, open_s=opened.open_s, first_batch_s=opened.first_batch_s),
            "memory_mib": memory,
            "batches": tuple(batches),
            "scenarios": tuple(closed_scenarios(batches)),
        }
    )


def failed_result(candidate: Candidate, failure: Failure | None, opened: Opened | None = None) -> SubjectResult:
    """Return what is known of a subject without its figures."""
    said: Mapping[str, str] = opened.facts if opened else {}
    known = {name: said.get(name, "") for name in ("backend", "device")}
    return SubjectResult.model_validate(
        {
            **known,
            "name": candidate.name,
            "kind": candidate.kind,
            "precision": said.get("precision", candidate.precision),
            "model": str(candidate.model.path),
            "failure": failure,
        }
    )


def _memory(host: HostProcess, meters: Meters) -> dict[str, float]:
    said = host.memory()
    # NVML counts the context and the libraries, too: the same for all, where it answers.
    on_device = meters.gpu.memory_mib([host.pid]) if isinstance(meters.gpu, Nvml) else None
    on_device = said.device if on_device is None else on_device
    return {"host": said.host} | ({} if on_device is None else {"device": on_device})


@dataclass(frozen=True, slots=True)
class _Judged:
    """The turns of a cell.

    Attributes:
        samples: the turns, in the order of time.
        causes: what disturbed each of them.
        counted: by round, the turns that count; None where there is none.
    """

    samples: Sequence[Sample]
    causes: Sequence[tuple[Disturbance, ...]]
    counted: Sequence[Sample | None]


def _judge(by_round: Sequence[Sample | None]) -> _Judged:
    samples = [sample for sample in by_round if sample]
    causes = disturbances([sample.reading for sample in samples])
    disturbed = {id(sample) for sample, found in zip(samples, causes, strict=True) if found}
    if len(samples) - len(disturbed) < _LEAST_SHARE * len(samples):
        disturbed = set()
    return _Judged(samples, causes, [None if id(sample) in disturbed else sample for sample in by_round])


def _batch_result(
    cell: Cell,
    judged: _Judged,
    warm_up: WarmUp,
    rates: Sequence[float | None],
    of_peer: Sequence[float | None] | None,
    unseen: float,
) -> BatchResult:
    counted = [sample for sample in judged.counted if sample]
    wall_s, cpu_s = sum(one.timed.wall_s for one in counted), sum(one.timed.cpu_s for one in counted)
    frames = cell.frames * sum(len(one.timed.wall_ms) for one in counted)
    return BatchResult(
        frames=cell.frames,
        warm_up=warm_up,
        latency_ms=estimate_percentiles([one.timed.wall_ms for one in counted], unseen),
        frames_per_s=estimate([rate for rate in rates if rate is not None], unseen),
        cpu_ms_per_frame=1000 * cpu_s / frames,
        cores=cpu_s / wall_s,
        times_peer=estimate_ratio(rates, of_peer) if of_peer else None,
        energy_j_per_1000_frames=_energy(cell, counted),
        turns=tuple(map(_turn, judged.samples, judged.causes)),
        steady=steady_disturbances([one.reading for one in judged.samples]),
    )


def _energy(cell: Cell, samples: Sequence[Sample]) -> Estimate | None:
    """Return the energy of 1,000 frames, of all turns together: a meter may count in steps as long as half a turn."""
    spent = [one.reading.energy_j for one in samples]
    frames = [cell.frames * (len(one.timed.wall_ms) + one.timed.untimed) for one in samples]
    known = [energy for energy in spent if energy]
    if len(known) < len(samples):
        return None
    of_turns = estimate([1000 * energy / count for energy, count in zip(known, frames, strict=True)])
    return of_turns.scaled(1000 * sum(known) / sum(frames) / of_turns.value)


def _rates(cell: Cell, counted: Sequence[Sample | None]) -> list[float | None]:
    """Return the frames per second of each round's turn, if it counts."""
    return [cell.frames * len(one.timed.wall_ms) / one.timed.wall_s if one else None for one in counted]


def _turn(sample: Sample, causes: tuple[Disturbance, ...]) -> Turn:
    timed, reading = sample.timed, sample.reading
    return Turn(
        batches=len(timed.wall_ms),
        wall_s=timed.wall_s,
        cpu_s=timed.cpu_s,
        median_ms=statistics.median(timed.wall_ms),
        slowest_ms=max(timed.wall_ms),
        energy_j=reading.energy_j,
        clock_mhz=reading.clock_mhz,
        others_cores=reading.others_cores,
        disturbances=causes,
    )
