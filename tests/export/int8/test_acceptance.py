"""What the search takes: mAP and similarity as they are seen, R-k only as the gate's test proves it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reid.evaluation.verification.compare import Comparison
from reid.evaluation.verification.failures import Fallen, Verdict
from reid.evaluation.verification.records import Change, LevelSimilarity, ProtocolComparison, Similarity, Tolerance
from reid.evaluation.verification.similarity import EDGES
from reid.export.int8.acceptance import evaluation_of


def change(measure: str, difference: float, verdict: Verdict = "undecided") -> Change:
    return Change(
        measure=measure,
        reference=90,
        candidate=90 + difference,
        interval=(difference - 1, difference + 1),
        p_value=0.2,
        allowed=0.5,
        verdict=verdict,
    )


def comparison(*changes: Change, similarity: float = 0.97, post_processing: str = "plain") -> Comparison:
    level = LevelSimilarity(level="all", minimum=similarity, first_percentile=0.99, median=0.999)
    found = Similarity(frames=9, levels=(level,), counts=(0,) * (len(EDGES) + 1), edges=tuple(EDGES))
    protocol = ProtocolComparison(
        protocol="t2t", post_processing=post_processing, changes=changes, first_match_changed=1, queries=334
    )
    return Comparison("int8", "a session", found, crops=found, protocols=(protocol,))


def test_a_fall_of_rank_k_that_may_be_chance_does_not_stop_the_search() -> None:
    found = comparison(change("mAP", -0.11), change("R-1", -1.2))
    evaluation = evaluation_of(frozenset("ba"), found, Tolerance())
    assert evaluation.passed
    assert evaluation.in_fp16 == ("a", "b")
    assert evaluation.changes == pytest.approx({"t2t mAP": -0.11, "t2t R-1": -1.2})
    assert evaluation.largest_fall == ("t2t mAP", pytest.approx(-0.11))
    assert (evaluation.session, evaluation.similarity) == ("a session", 0.97)
    assert evaluation.strain == pytest.approx(0.03 / 0.1)  # of similarity: 0.9 is required


def test_a_fall_of_map_beyond_tolerance_does_though_few_queries_cannot_prove_it() -> None:
    evaluation = evaluation_of(frozenset(), comparison(change("mAP", -0.66)), Tolerance())
    assert evaluation.failures == (
        "int8: t2t mAP fell by 0.66 points, tolerance 0.5: perhaps the noise of 334 queries, which the search does not "
        "rely on",
    )
    assert evaluation.strain == pytest.approx(0.66 / 0.5)
    assert evaluation_of(frozenset(), comparison(change("mAP", -0.5)), Tolerance()).passed
    assert evaluation_of(frozenset(), comparison(change("mAP", 3.0)), Tolerance()).strain == pytest.approx(0.3)


def test_what_the_gate_refuses_is_refused_and_said_once() -> None:
    def fallen(metric: str) -> Fallen:
        return Fallen(
            precision="int8",
            protocol="t2t",
            metric=metric,
            reference=90,
            candidate=88,
            allowed=0.5,
            interval=(-3, -1),
            queries=334,
            p_value=0.001,
        )

    seen = comparison(change("mAP", -2, "outside"), change("R-1", -2, "outside"))
    both = replace(seen, failures=(fallen("mAP"), fallen("R-1")))
    assert len(evaluation_of(frozenset(), both, Tolerance()).failures) == 2
    of_rank = replace(comparison(change("mAP", 0), change("R-1", -2, "outside")), failures=(fallen("R-1"),))
    evaluation = evaluation_of(frozenset(), of_rank, Tolerance())
    assert len(evaluation.failures) == 1
    assert evaluation.strain is not None
    assert evaluation.strain < 1  # R-k is not smooth: it decides, and does not steer


def test_rankings_are_told_apart_by_their_post_processing() -> None:
    found = comparison(change("mAP", -1), post_processing="re-ranking")
    evaluation = evaluation_of(frozenset(), found, Tolerance())
    assert list(evaluation.changes) == ["t2t mAP, re-ranking"]
    assert "t2t mAP, re-ranking fell by 1.00 points" in evaluation.failures[0]


def test_a_tolerance_of_0_has_a_strain() -> None:
    found = comparison(change("mAP", -0.2).model_copy(update={"allowed": 0.0}), similarity=1)
    assert evaluation_of(frozenset(), found, Tolerance(map=0)).strain == pytest.approx(200)
