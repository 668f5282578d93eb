"""The gate's false alarms and power on simulated data, as docs/verification.md promises them; fixed seeds."""

from __future__ import annotations

import gate_power
import numpy as np
import pytest

from reid.evaluation.metrics import Metrics
from reid.evaluation.protocols import PROTOCOLS
from reid.evaluation.verification.judgment import judge_protocols
from reid.evaluation.verification.measurements import compare_rankings
from reid.evaluation.verification.records import ProtocolComparison, Tolerance
from reid.evaluation.verification.retrieval import Ranked, rank

POPULATION = 1700


def drawn(ranked: Ranked, chosen: np.ndarray) -> Ranked:
    metrics = ranked.metrics
    part = Metrics(
        metrics.average_precision[chosen],
        metrics.first_hit[chosen],
        np.arange(len(chosen)),
        metrics.unanswerable[:0],
        metrics.gallery,
    )
    queries = tuple(ranked.queries[one] for one in chosen)
    return Ranked(ranked.protocol, ranked.post_processing, queries, ranked.gallery, part, ranked.matches[chosen])


def draws(reference: Ranked, candidate: Ranked, queries: int, count: int, tolerance: Tolerance) -> list[bool]:
    """Whether the gate refuses the candidate, by draws of queries from the population."""
    random = np.random.default_rng(queries)
    refused = []
    for _ in range(count):
        chosen = np.sort(random.permutation(len(reference.queries))[:queries])
        pair = drawn(reference, chosen), drawn(candidate, chosen)
        (found,) = judge_protocols([compare_rankings(*pair, tolerance)])
        refused.append(any(change.verdict == "outside" for change in found.changes))
    return refused


def test_errors_of_fp16_are_not_refused() -> None:
    for queries, count in ((50, 12), (334, 2)):
        found = gate_power.case("errors of FP16", 0.9999, queries, count, seed=0)
        assert (found.draws, found.refused) == (count, 0)


def test_a_fall_by_twice_the_tolerance_is_refused_where_the_queries_tell() -> None:
    random = np.random.default_rng(3)
    data = gate_power.data_set(POPULATION, random)
    # Of one protocol, for speed.
    reference, fallen = (rank(one, PROTOCOLS["i2i"]) for one in (data, gate_power.perturbed(data, 0.99, random)))
    fall = reference.summary()["mAP"] - fallen.summary()["mAP"]
    assert fall > 1
    tolerance = Tolerance(map=fall / 2, rank=100)
    assert all(draws(reference, fallen, 1678, 6, tolerance))
    few = draws(reference, fallen, 50, 30, tolerance)
    assert 0 < sum(few) < len(few)  # 50 queries tell some times


def test_the_table_has_a_line_for_each_case() -> None:
    case = gate_power.case("errors of FP16", 0.9999, 50, 2, seed=0)
    assert (case.refused, case.by_rank_1, case.undecided) == (0, 0, 100)
    assert case.map_fall == pytest.approx(0, abs=0.5)
    assert gate_power.table([case]).splitlines()[2].startswith("| errors of FP16 | 50 | 2 | 0.0 % | 0.0 % | 100 % |")


def test_the_gate_of_the_benchmark_is_the_one_of_verification() -> None:
    random = np.random.default_rng(0)
    data = gate_power.data_set(60, random)
    found = gate_power.judged(data, gate_power.perturbed(data, 0.5, random))
    assert [one.protocol for one in found] == list(PROTOCOLS)
    assert all(isinstance(one, ProtocolComparison) for one in found)
    assert any(change.verdict == "outside" for change in found[0].changes)
