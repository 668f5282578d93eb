"""Comparisons of two results: against made-up repeated runs whose truth is known, and against what was changed."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from bench_results import ENVIRONMENT, batch, estimate, result, sample, subject
from rich.console import Console

from reid.bench.compare import compare
from reid.bench.comparison import Comparison, Figure, Verdict
from reid.bench.environment import Gpu
from reid.bench.records import Estimate, Percentiles
from reid.bench.report.comparison import comparison_lines, comparison_title, renderables_of
from reid.bench.result import Absent, BatchResult, BenchResult, Failure, Quality, SubjectResult

Z99 = 2.5758293035489004


def verdicts(found: Comparison) -> dict[tuple[str, int, Figure], Verdict]:
    return {(one.subject, one.frames, one.figure): one.verdict for one in found.speeds}


def one_figure(before: Estimate, after: Estimate) -> Verdict:
    """The verdict on a throughput, the only figure but for a latency that does not change."""

    def made(rate: Estimate) -> BenchResult:
        steady = Percentiles(p50=estimate(10, 0), p90=estimate(10, 0), p99=estimate(10, 0))
        return result(subject("a fp32", 1, batches=(batch(1, 50, frames_per_s=rate, latency_ms=steady),)))

    found = verdicts(compare(made(before), made(after)))
    assert found["a fp32", 1, "p99_ms"] == "equal"
    return found["a fp32", 1, "frames_per_s"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((100, 0.02), (110, 0.02), "faster"),
        ((100, 0.02), (90, 0.02), "slower"),
        ((100, 0.02), (101, 0.02), "equal"),
        ((100, 0.02), (104, 0.02), "equal"),
        ((100, 0.09), (101, 0.02), "undecided"),
        ((100, 0.02), (101, 0.09), "undecided"),
        ((100, 0.30), (140, 0.30), "undecided"),
        ((100, 0.0), (100.1, 0.0), "faster"),
    ],
)
def test_what_changed_beyond_noise_is_told_from_what_did_not(
    before: tuple[float, float], after: tuple[float, float], expected: Verdict
) -> None:
    assert one_figure(estimate(*before), estimate(*after)) == expected


@pytest.mark.parametrize(
    ("pace", "rate", "p99", "expected"),
    [
        (1.45, 70, 14, ("undecided", "undecided")),  # as the machine
        (1.45, 40, 25, ("slower", "slower")),  # much more than the machine
        (1 / 1.45, 144, 7, ("undecided", "undecided")),
        (1 / 1.45, 70, 14, ("slower", "slower")),  # though the machine was faster
        (1.0, 70, 14, ("slower", "slower")),
    ],
)
def test_what_the_machines_own_speed_explains_is_no_change(
    pace: float, rate: float, p99: float, expected: tuple[Verdict, Verdict]
) -> None:
    def made(rate: float, p99: float, pace: float) -> BenchResult:
        latency = Percentiles(p50=estimate(10, 0), p90=estimate(10, 0), p99=estimate(p99, 0.01))
        figures = batch(1, rate, frames_per_s=estimate(rate, 0.01), latency_ms=latency)
        return result(subject("a fp32", 1, batches=(figures,)), pace_ms=estimate(pace, 0.01))

    found = compare(made(100, 10, 0.3), made(rate, p99, 0.3 * pace))
    assert tuple(one.verdict for one in found.speeds) == expected
    assert found.regressed == ("slower" in expected)
    said = " ".join(comparison_lines(found))
    assert ("The machine itself took 1.45 times more" in said) == (pace > 1)
    assert ("The machine itself took 1.45 times less" in said) == (pace < 1)


def test_both_directions_agree() -> None:
    opposite = {"faster": "slower", "slower": "faster", "equal": "equal", "undecided": "undecided"}
    random = np.random.default_rng(5)
    for _ in range(30):
        one, other = (estimate(random.uniform(80, 120), random.uniform(0, 0.1)) for _ in range(2))
        assert one_figure(other, one) == opposite[one_figure(one, other)]


def test_a_longer_latency_is_slower() -> None:
    slow = Percentiles(p50=estimate(20), p90=estimate(22), p99=estimate(52))
    before, after = result(subject("a fp32", 50)), result(subject("a fp32", 50))
    batches = tuple(one.model_copy(update={"latency_ms": slow}) for one in after.subjects[0].batches[:1])
    after = result(subject("a fp32", 50, batches=batches))
    assert verdicts(compare(before, after)) == {
        ("a fp32", 1, "frames_per_s"): "equal",
        ("a fp32", 1, "p99_ms"): "slower",
    }
    assert compare(before, after).regressed


# Repeated runs


def repeated(random: np.random.Generator, spread: float, truth: float = 100.0) -> BenchResult:
    """A run in which 20 figures scatter around the truth, each with the interval for what another run would find."""

    def figure(value: float) -> Estimate:
        found = value * math.exp(random.normal(0, spread))
        arm = math.exp(Z99 * math.sqrt(2) * spread)  # two runs differ by the square root of two times the spread
        return Estimate(value=found, low=found / arm, high=found * arm)

    def one(frames: int) -> BatchResult:
        latency = figure(10)
        return batch(
            frames, 1, frames_per_s=figure(truth), latency_ms=Percentiles(p50=latency, p90=latency, p99=latency)
        )

    return result(subject("a fp32", 1, batches=tuple(map(one, range(1, 11)))))


def test_a_run_repeated_regresses_by_chance_less_often_than_once_in_a_hundred() -> None:
    random = np.random.default_rng(0)
    runs = [repeated(random, 0.02) for _ in range(100)]
    found = [compare(*pair) for pair in zip(runs[::2], runs[1::2], strict=True)]
    assert sum(one.regressed for one in found) <= 1
    assert not any("faster" in verdicts(one).values() for one in found)


def test_a_change_of_twelve_percent_is_found_in_a_quiet_run() -> None:
    random = np.random.default_rng(1)
    for _ in range(10):
        found = compare(repeated(random, 0.005), repeated(random, 0.005, truth=88))
        rates = [verdict for (_, _, figure), verdict in verdicts(found).items() if figure == "frames_per_s"]
        assert rates == ["slower"] * 10


def test_more_comparisons_widen_the_intervals_as_bonferroni_says() -> None:
    found = compare(sample(), sample())
    assert found.comparisons == 6 * 3 * 2
    tail = 0.5 * math.erfc(found.widened * Z99 / math.sqrt(2))  # beyond one end of an interval, of 72
    assert 2 * tail * 2 * found.comparisons == pytest.approx(0.01)
    assert f"each widened {found.widened:.2f} times for 36 comparisons" in " ".join(comparison_lines(found))


# What else changed


def test_a_result_beside_itself_shows_nothing_new() -> None:
    found = compare(sample(), sample())
    assert set(verdicts(found).values()) <= {"equal", "undecided"}
    assert not found.regressed
    assert found.came == found.went == found.differences == ()
    assert [*comparison_lines(found)][-1] == "No regression."


def with_quality(map_percent: float, similarity: float, kind: str = "session") -> BenchResult:
    quality = Quality(map_percent={"i2i": map_percent}, least_similarity=similarity)
    return result(subject("a fp16", 50, quality=quality, kind=kind))


@pytest.mark.parametrize(
    ("after", "regressed", "words"),
    [
        (with_quality(83.9, 0.9999), False, "mAP (I2I) 84.20 % before, 83.90 % after (−0.30 points)."),  # noqa: RUF001
        (with_quality(83.6, 0.9999), True, "(−0.60 points, more than is tolerated)."),  # noqa: RUF001
        (with_quality(84.2, 0.9950), False, "least similarity 0.9999 before, 0.9950 after."),
        (with_quality(84.2, 0.5), True, "least similarity 0.9999 before, 0.5000 after: its answers are wrong."),
        (with_quality(10, 0.5, kind="peer"), False, "least similarity 0.9999 before, 0.5000 after"),
    ],
)
def test_worse_answers_are_a_regression(after: BenchResult, regressed: bool, words: str) -> None:
    found = compare(with_quality(84.2, 0.9999), after)
    assert found.regressed == regressed
    assert words in " ".join(comparison_lines(found))


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (result(subject("b fp32", 9)), ""),
        (result(absent=(Absent(name="a", reason="no GPU"),)), "no GPU"),
        (result(subject("a fp32", 9, batches=(), failure=Failure(during="opening", reason="no memory"))), "no memory"),
    ],
)
def test_a_session_that_no_longer_works_is_a_regression_and_one_that_was_not_asked_for_is_none(
    after: BenchResult, reason: str
) -> None:
    found = compare(result(subject("a fp32", 50)), after)
    assert [one.subject for one in found.went] == ["a fp32"]
    assert reason in found.went[0].reason
    assert found.regressed == bool(reason)
    assert found.came == tuple(one.name for one in after.subjects if one.batches)


def changed(part: str, **fields: Any) -> BenchResult:  # noqa: ANN401 - the record's own
    before = result(subject("a fp32", 20))
    return before.model_copy(update={part: getattr(before, part).model_copy(update=fields)})


def test_two_machines_are_titled_so_and_none_regresses() -> None:
    before, after = result(subject("a fp32", 50)), changed("environment", gpus=(Gpu(name="NVIDIA T4"),))
    found = compare(before, after)
    assert "slower" in verdicts(found).values()
    assert not found.regressed
    assert comparison_title(found) == "NVIDIA T4 and AMD EPYC, 2 CPUs beside AMD EPYC, 2 CPUs"
    assert [*comparison_lines(found)][-1] == "Two machines: neither is a regression of the other."


def test_other_threads_are_another_task() -> None:
    found = compare(result(subject("a fp32", 50)), changed("settings", threads=1))
    assert not found.regressed
    assert "settings threads: 2 before, 1 after" in [*comparison_lines(found)]


def test_versions_that_differ_are_named_and_excuse_nothing() -> None:
    libraries = {**ENVIRONMENT.libraries, "openvino": "2026.5"}
    found = compare(result(subject("a fp32", 50)), changed("environment", libraries=libraries, memory_mib=7899))
    assert [one.model_dump() for one in found.differences] == [
        {"fact": "libraries openvino", "before": "2026.4.1", "after": "2026.5"}
    ]
    assert found.regressed


def differences(before: SubjectResult, after: SubjectResult) -> dict[str, tuple[str, str]]:
    return {one.fact: (one.before, one.after) for one in compare(result(before), result(after)).differences}


def test_what_a_subject_has_no_longer_is_named() -> None:
    before = subject("a fp32", 50)
    fewer = before.model_copy(update={"batches": before.batches[:2]})
    assert differences(before, fewer) == {"a fp32 batches": ("1, 4, 16", "1, 4")}
    unverified = before.model_copy(update={"quality": Quality(least_similarity=0.9998)})
    assert differences(before, unverified) == {"a fp32 mAP (I2I)": ("84.20 %", "")}
    elsewhere = before.model_copy(update={"device": "NVIDIA T4"})
    assert differences(before, elsewhere) == {"a fp32 device": ("CPU", "NVIDIA T4")}
    said = [*comparison_lines(compare(result(before), result(elsewhere)))]
    assert "a fp32 device: CPU before, NVIDIA T4 after" in said


def test_batches_that_were_not_asked_for_are_a_matter_of_the_settings() -> None:
    before = result(subject("a fp32", 50))
    settings = before.settings.model_copy(update={"batches": (1, 4)})
    fewer = before.subjects[0].model_copy(update={"batches": before.subjects[0].batches[:2]})
    found = compare(before, result(fewer, settings=settings))
    assert [one.fact for one in found.differences] == ["settings batches"]


def test_a_peer_that_changed_is_no_regression_but_a_warning() -> None:
    peers: tuple[SubjectResult, ...] = tuple(subject("torch fp32", rate, kind="peer") for rate in (50, 20))
    found = compare(*map(result, peers))
    assert not found.regressed
    assert "torch fp32 is slower: no code of ours is in it" in " ".join(comparison_lines(found))


def test_the_table_is_printed_and_the_facts_are_stored() -> None:
    found = compare(sample(), result(subject("openvino fp32", 30), subject("\x1b[31mnew fp32", 3)))
    assert Comparison.model_validate_json(found.model_dump_json()) == found
    console = Console(file=io.StringIO(), width=120, record=True, markup=False)
    for part in renderables_of(found):
        console.print(part)
    text = console.export_text()
    assert ["openvino", "fp32", "1", "frames/s", "36.0", "±", "1.1", "22.5", "±", "0.7"] in [
        line.split()[:10] for line in text.splitlines()
    ]
    assert "\x1b" not in text
    assert text.rstrip().endswith("Regressed.")
