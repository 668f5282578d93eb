"""What is recommended, against a naive search over all subjects, and the sentences about it."""

from __future__ import annotations

import pytest
from bench_results import batch, result, rich_subject, sample, subject
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.bench.recommendation import LEAST_SIMILARITY, choose, is_above
from reid.bench.records import Estimate
from reid.bench.report.sentences import advice, command
from reid.bench.result import BenchResult, Failure, Quality, SubjectResult
from reid.runtime.precision import PRECISIONS


def quality(map_percent: float | None, similarity: float | None = 0.9999) -> Quality:
    maps = {} if map_percent is None else {"i2i": map_percent}
    return Quality(least_similarity=similarity, map_percent=maps)


def taken(*subjects: SubjectResult) -> str | None:
    choice = choose(result(*subjects))
    return choice.taken.subject.name if choice.taken else None


def said(*subjects: SubjectResult) -> str:
    made = result(*subjects)
    return " ".join(advice(made, choose(made)))


def test_the_fastest_that_is_good_enough_is_taken() -> None:
    fp32, int8 = subject("a fp32", 50), subject("a int8", 150, quality=quality(83.8, 0.95))
    assert taken(fp32, int8) == "a int8"
    assert "mAP (I2I) 83.80 %, 0.40 points below fp32." in said(fp32, int8)


def test_what_costs_more_than_the_gate_tolerates_is_named_and_not_taken() -> None:
    fp32, int8 = subject("a fp32", 50), subject("a int8", 160, quality=quality(83.6, 0.95))
    assert taken(fp32, int8) == "a fp32"
    assert "a int8 is faster, 160 ± 5 frames/s, but not taken: its mAP is 0.60 points below fp32." in said(fp32, int8)


def test_of_what_is_equal_within_noise_the_more_precise_one_is_taken() -> None:
    fast, precise = subject("a fp16", 104), subject("a fp32", 100)
    assert taken(fast, precise) == "a fp32"
    assert "a fp16 is as fast within noise" in said(fast, precise)
    assert taken(subject("a fp16", 107), precise) == "a fp16"


def test_the_smallest_batch_within_noise_of_the_best_that_keeps_the_limit_is_taken() -> None:
    batches = (batch(1, 60), batch(4, 98), batch(16, 101), batch(64, 300))  # 64: p99 of 277 ms, the limit is 250
    choice = choose(result(subject("a fp32", 1, batches=batches)))
    assert choice.taken is not None
    assert choice.taken.keeps_limit
    assert choice.taken.batch.frames == 4


def test_where_nothing_keeps_the_limit_the_shortest_latency_is_taken_and_said() -> None:
    slow = subject("a fp32", 2)
    assert "No session keeps the limit of 250 ms: this batch size comes nearest" in said(slow)
    assert taken(slow, subject("a int8", 500)) == "a int8"


@pytest.mark.parametrize("precision", [*PRECISIONS, "bf16"])
def test_what_is_wrong_or_failed_is_neither_taken_nor_on_the_front(precision: str) -> None:
    least = LEAST_SIMILARITY[precision]  # type: ignore[index]
    wrong = subject(f"b {precision}", 900, quality=quality(84.2, least - 0.001))
    failed = subject("c fp32", 999, failure=Failure(during="batches of 16", reason="killed"))
    choice = choose(result(wrong, failed, subject("a fp32", 50)))
    assert [one.subject.name for one in choice.front] == ["a fp32"]
    assert choice.taken is choice.front[0]
    assert choice.wrong == (f"b {precision}",)
    assert taken(wrong, failed) is None
    assert said(wrong, failed) == "No session works here, so there is nothing to recommend: the reasons are below."


def test_a_peer_is_never_taken_and_said_to_be_faster_where_it_is() -> None:
    peer = subject("torch-compile fp16", 200, kind="peer", quality=quality(None, 0.9991))
    assert taken(peer, subject("a fp32", 50)) == "a fp32"
    assert "torch-compile fp16 is faster: 200 ± 6 frames/s, least similarity 0.9991." in said(
        peer, subject("a fp32", 50)
    )
    assert "torch-compile" not in said(peer, subject("a fp32", 199))
    assert taken(peer) is None


def test_without_map_the_least_similarity_decides_and_the_sentence_says_so() -> None:
    known, unknown = subject("a fp16", 50, quality=quality(None)), subject("a int8", 150, quality=quality(None, None))
    assert taken(known, unknown) == "a fp16"
    words = said(known, unknown)
    assert "least similarity to the reference 0.9999." in words
    assert "mAP is not known: sessions are compared by their least similarity" in words


def test_where_nothing_is_known_of_the_answers_the_most_precise_is_taken() -> None:
    nothing = quality(None, None)
    assert taken(subject("a int8", 150, quality=nothing), subject("a fp16", 50, quality=nothing)) == "a fp16"


def test_map_is_the_mean_of_the_protocols_that_all_have() -> None:
    one = Quality(map_percent={"i2i": 80.0, "i2t": 90.0, "t2t": 10.0})
    other = Quality(map_percent={"i2i": 79.9, "i2t": 89.9})
    made = result(subject("a fp32", 50, quality=one), subject("a int8", 150, quality=other))
    choice = choose(made)
    assert choice.measure.protocols == ("i2i", "i2t")
    assert [standing.quality for standing in choice.standings] == pytest.approx([85.0, 84.9])
    assert "mAP (mean of I2I and I2T) 84.90 %, 0.10 points below fp32." in advice(made, choice)[0]


def test_the_command_is_what_reid_infer_takes() -> None:
    choice = choose(result(rich_subject("openvino int8 of my bundle", 90, precision="int8", model="my bundle")))
    assert choice.taken is not None
    expected = "reid-infer GALLERY QUERY --model 'my bundle' --session openvino --precision int8"
    assert command(choice.taken) == expected


def test_the_sentence_says_cameras_speed_and_worth() -> None:
    made = sample()
    assert advice(made, choose(made))[0] == (
        "Take openvino int8 with batches of 4: 8 cameras (7 to 9) at 15 crops/s each, 142 ± 4 frames/s, "
        "mAP (I2I) 83.90 %, 0.30 points below fp32."
    )


# Against a naive search

rates = st.floats(10, 100)
maps = st.sampled_from([80.0, 83.6, 83.8, 84.2])
subjects = st.lists(
    st.tuples(rates, st.floats(0.001, 0.3), maps, st.sampled_from(PRECISIONS), st.sampled_from(["session", "peer"])),
    min_size=1,
    max_size=6,
)


def made_of(drawn: list[tuple[float, float, float, str, str]]) -> BenchResult:
    """A result of these and of a slow session that is better than none: mAP is that of sessions."""
    return result(
        subject("slow fp32", 1, quality=quality(80.0), batches=(batch(1, 5, 0.01),)),
        *(
            subject(f"{n} {precision}", 1, kind=kind, quality=quality(value), batches=(batch(1, rate, spread),))
            for n, (rate, spread, value, precision, kind) in enumerate(drawn)
        ),
    )


def surpassed(one: SubjectResult, others: list[SubjectResult]) -> bool:
    def good(subject: SubjectResult) -> float:
        assert subject.quality
        return subject.quality.map_percent["i2i"]

    def rate(subject: SubjectResult) -> Estimate:
        return subject.batches[0].frames_per_s

    return any(
        (good(other) >= good(one) and rate(other).low > rate(one).high)
        or (good(other) > good(one) and rate(other).value >= rate(one).value)
        for other in others
    )


@settings(max_examples=60, deadline=None)
@given(subjects)
def test_the_front_is_what_nothing_surpasses_and_all_else_is_surpassed_by_it(
    drawn: list[tuple[float, float, float, str, str]],
) -> None:
    made = made_of(drawn)
    choice = choose(made)
    everybody = list(made.subjects)
    front = [one.subject for one in choice.front]
    assert {one.name for one in front} == {one.name for one in everybody if not surpassed(one, everybody)}
    assert all(one in front or surpassed(one, front) for one in everybody)


@settings(max_examples=60, deadline=None)
@given(subjects)
def test_nothing_better_than_what_is_taken_is_left(drawn: list[tuple[float, float, float, str, str]]) -> None:
    choice = choose(made_of(drawn))
    ours = [one for one in choice.standings if one.subject.kind == "session"]
    if choice.taken is None:
        assert not ours
        return
    taken, reference = choice.taken, choice.reference
    assert taken in ours
    assert reference is not None
    best_known = min((PRECISIONS.index(one.subject.precision), -(one.quality or 0)) for one in ours)
    assert (PRECISIONS.index(reference.subject.precision), -(reference.quality or 0)) == best_known
    together = [one.subject for one in ours]
    open_to_choice = [
        one for one in ours if (one.quality or 0) >= -best_known[1] - 0.5 and not surpassed(one.subject, together)
    ]
    unbeaten = [
        one
        for one in open_to_choice
        if not any(is_above(other.batch.frames_per_s, one.batch.frames_per_s) for other in open_to_choice)
    ]
    assert taken in unbeaten
    assert {one.subject.name for one in unbeaten} == {taken.subject.name, *(e.subject.name for e in choice.equals)}
    assert all(PRECISIONS.index(one.subject.precision) >= PRECISIONS.index(taken.subject.precision) for one in unbeaten)
