"""The search on problems whose answer is known: errors that add up to a threshold, and some that do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.calibration.frontier import cost_of
from reid.calibration.search import BUDGET, Evaluation, Found, search


@dataclass
class Problem:
    """Layers with an error and some work each; `strain` is asked of what stays in INT8, and passes up to 1."""

    errors: dict[str, float]
    work: dict[str, float]
    strain: Callable[[frozenset[str]], float]
    asked: list[frozenset[str]] = field(default_factory=list)

    def strain_of(self, in_fp16: frozenset[str]) -> float:
        return self.strain(frozenset(self.errors) - in_fp16)

    def evaluate(self, in_fp16: frozenset[str]) -> Evaluation:
        self.asked.append(in_fp16)
        strain = self.strain_of(in_fp16)
        failures = ("outside",) if strain > 1 else ()
        return Evaluation(
            in_fp16=tuple(sorted(in_fp16)), failures=failures, changes={}, similarity=1, strain=max(0.0, strain)
        )

    def solve(self, budget: int = BUDGET, time: Callable[[frozenset[str]], float] | None = None) -> Found:
        return search(self.errors, self.work, self.evaluate, budget=budget, time=time)

    def cost(self, in_fp16: frozenset[str]) -> float:
        return cost_of(in_fp16, self.work)


def additive(errors: Sequence[float], work: Sequence[float], fraction: float, power: float = 1.0) -> Problem:
    """Within tolerance while the errors in INT8 are no more than a fraction of all."""
    names = [f"layer{index}" for index in range(len(errors))]
    total = sum(work)
    of = dict(zip(names, errors, strict=True))
    allowed = max(fraction * sum(errors), 1e-12)
    return Problem(
        of,
        {name: one / total for name, one in zip(names, work, strict=True)},
        lambda int8: (sum(of[name] for name in sorted(int8)) / allowed) ** power,
    )


@st.composite
def problems(draw: st.DrawFn, most: int = 60) -> Problem:
    count = draw(st.integers(1, most))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0.1, 1.0, 4.0]))
    errors = 10.0 ** -random.uniform(0, spread, count)
    work = random.dirichlet(np.full(count, draw(st.sampled_from([0.2, 1.0, 20.0])))) + 1e-9
    fraction, power = draw(st.floats(0, 1.1)), draw(st.sampled_from([0.5, 1.0, 2.0]))
    return additive(errors.tolist(), work.tolist(), fraction, power)


@settings(max_examples=300)
@given(problems(), st.integers(2, BUDGET))
def test_what_it_finds_passes_within_the_budget_and_nothing_cheaper_passed(problem: Problem, budget: int) -> None:
    found = problem.solve(budget)
    assert found.in_fp16 is not None
    assert problem.strain_of(found.in_fp16) <= 1
    passed = [frozenset(one.in_fp16) for one in found.evaluations if one.passed]
    assert problem.cost(found.in_fp16) == min(map(problem.cost, passed))
    assert [frozenset(evaluation.in_fp16) for evaluation in found.evaluations] == problem.asked
    assert len(set(problem.asked)) == len(problem.asked) <= budget


def best(problem: Problem) -> float:
    """The least cost of all subsets that are within tolerance."""
    names = list(problem.errors)
    subsets = (np.arange(2 ** len(names))[:, None] >> np.arange(len(names)) & 1).astype(bool)
    costs = subsets @ np.array([problem.cost(frozenset([name])) for name in names])
    for index in np.argsort(costs, kind="stable"):
        if problem.strain_of(frozenset(np.array(names)[subsets[index]].tolist())) <= 1:
            return float(costs[index])
    raise AssertionError("not even all of them")


def gap(problem: Problem) -> float:
    found = problem.solve()
    assert found.in_fp16 is not None
    return problem.cost(found.in_fp16) - best(problem)


def random_problem(seed: int, count: int) -> Problem:
    random = np.random.default_rng(seed)
    errors, work = 10.0 ** -random.uniform(0, 4, count), random.dirichlet(np.full(count, [0.2, 1.0, 20.0][seed % 3]))
    return additive(errors.tolist(), work.tolist(), random.uniform(0.02, 0.9), [0.5, 1.0, 2.0][seed // 3 % 3])


def test_nothing_much_better_is_near() -> None:
    gaps = [gap(random_problem(seed, 10)) for seed in range(36)]
    assert min(gaps) > -1e-9
    assert np.mean(gaps) < 0.01
    assert np.quantile(gaps, 0.9) < 0.03


def test_nor_where_errors_were_measured_badly_and_the_verdict_is_noisy() -> None:
    """Errors on the data that judges are others than measured, by a factor of 1.35; the strain has noise of 0.1."""
    gaps = []
    for seed in range(36):
        problem = random_problem(seed, 10)
        random = np.random.default_rng(seed)
        factors = np.exp(random.normal(0, 0.3, 10))
        true = {
            name: float(error * factor) for (name, error), factor in zip(problem.errors.items(), factors, strict=True)
        }
        allowed = random.uniform(0.02, 0.9) * sum(true.values())

        def noisy(int8: frozenset[str], true: dict[str, float] = true, allowed: float = allowed) -> float:
            names = sorted(int8)
            noise = np.random.default_rng([len(names), *(int(name[5:]) for name in names)]).normal(0, 0.1)
            return sum(true[name] for name in names) / allowed + (float(noise) if names else 0.0)

        problem.strain = noisy
        gaps.append(gap(problem))
    assert np.mean(gaps) < 0.02
    assert np.quantile(gaps, 0.9) < 0.08


@pytest.mark.parametrize("guilty", range(0, 60, 7))
@pytest.mark.parametrize("heavy", [0.001, 0.02, 0.3])
def test_a_single_guilty_layer_is_found_within_three_evaluations(guilty: int, heavy: float) -> None:
    problem = with_guilty([guilty], heavy)
    assert problem.solve().in_fp16 == {f"layer{guilty}"}
    assert len(problem.asked) <= 3


@pytest.mark.parametrize(("first", "second"), [(0, 59), (10, 11), (23, 50)])
@pytest.mark.parametrize("heavy", [0.001, 0.02, 0.2])
def test_two_guilty_layers_are_found(first: int, second: int, heavy: float) -> None:
    problem = with_guilty([first, second], heavy)
    assert problem.solve().in_fp16 == {f"layer{first}", f"layer{second}"}
    assert len(problem.asked) <= 5


def with_guilty(guilty: Sequence[int], heavy: float) -> Problem:
    """Many layers with little error, and some with a hundred times as much and so much of the work each."""
    random = np.random.default_rng(guilty[0])
    errors, work = random.uniform(1e-5, 1e-4, 60), random.uniform(0.5, 1.5, 60)
    errors[guilty] = 0.05
    work *= (1 - heavy * len(guilty)) / (work.sum() - work[guilty].sum())
    work[guilty] = heavy
    return additive(errors.tolist(), work.tolist(), 0.4)


def test_a_heavy_guilty_layer_leaves_the_cheap_ones_in_int8() -> None:
    problem = additive([1.0, *[0.03] * 8, *[0.001] * 20], [0.4, *[0.0001] * 8, *[0.03] * 20], 0.3)
    assert problem.solve().in_fp16 == {"layer0"}


def test_lighter_layers_are_taken_for_a_heavy_one_of_which_little_is_needed() -> None:
    problem = additive([0.5, 0.5, 0.3, 0.09], [0.02, 0.5, 0.38, 0.1], 0.82 / 1.39)
    # Without the first 0.89 are left, of which 0.82 are allowed.
    assert problem.solve().in_fp16 == {"layer0", "layer3"}


def test_a_layer_whose_error_was_overestimated_goes_back_to_int8() -> None:
    problem = additive([0.5, 0.5, *[0.001] * 10], [0.3, 0.3, *[0.04] * 10], 0.1)
    guilty = "layer1"
    problem.strain = lambda int8: 5.0 if guilty in int8 else 0.2
    assert problem.solve().in_fp16 == {guilty}


def test_all_in_int8_takes_one_evaluation() -> None:
    problem = additive([0.1, 0.2], [1, 1], 2.0)
    assert problem.solve().in_fp16 == frozenset()
    assert problem.asked == [frozenset()]


def test_where_not_even_all_of_them_are_enough_it_says_so() -> None:
    problem = additive([0.1] * 50, [1] * 50, 1.0)
    problem.strain = lambda int8: 2.0
    found = problem.solve()
    assert found.in_fp16 is None
    assert problem.asked[-1] == frozenset(problem.errors)
    assert len(problem.asked) <= 6


def test_errors_of_0_do_not_stop_it() -> None:
    problem = Problem({"a": 0.0, "b": 0.1}, {"a": 0.5, "b": 0.5}, lambda int8: 2.0 if "a" in int8 else 0.0)
    assert problem.solve().in_fp16 == {"a"}


def test_of_those_that_pass_the_fastest_by_the_clock_is_taken() -> None:
    """By the clock, layer0 is slow in FP16, and the others are a little faster in it."""
    problem = additive([0.5, 0.3, *[0.001] * 16], [0.05, 0.1, *[0.05] * 17][:18], 0.45)
    timed: list[frozenset[str]] = []

    def time(in_fp16: frozenset[str]) -> float:
        timed.append(in_fp16)
        return 100 + 50 * ("layer0" in in_fp16) - len(in_fp16 - {"layer0", "layer1"})

    found = problem.solve(time=time)
    assert found.in_fp16 is not None
    passed = [frozenset(one.in_fp16) for one in found.evaluations if one.passed]
    assert found.in_fp16 == min(passed, key=time)
    assert set(timed) >= set(passed)
    assert len(found.evaluations) <= BUDGET


def test_layers_that_are_slower_in_int8_go_to_fp16_where_time_counts() -> None:
    problem = additive([0.5, *[0.001] * 15], [0.4, *[0.002] * 7, *[0.07] * 8], 0.5)
    light = {f"layer{index}" for index in range(1, 8)}

    def time(in_fp16: frozenset[str]) -> float:
        return 10 + 5 * len(in_fp16 - light) - len(in_fp16 & light)

    found = problem.solve(time=time)
    assert found.in_fp16 is not None
    assert found.in_fp16 == {"layer0", *light}
    assert problem.solve().in_fp16 == {"layer0"}


def test_the_largest_fall_is_that_of_a_mean_average_precision() -> None:
    former = {"kept": ["a", "b"], "failures": [], "changes": {"i2i mAP": -1.0, "i2i R-1": -2.0}, "similarity": 0.5}
    evaluation = Evaluation.model_validate(former)
    assert evaluation.largest_fall == ("i2i mAP", -1.0)
    assert Evaluation.model_validate(former | {"changes": {}}).largest_fall is None


def test_an_evaluation_of_before_has_another_name_for_the_layers_in_fp16() -> None:
    former = {"kept": ["a", "b"], "failures": [], "changes": {"i2i mAP": -1.0, "i2i R-1": 2.0}, "similarity": 0.5}
    evaluation = Evaluation.model_validate(former)
    assert (evaluation.in_fp16, evaluation.strain, evaluation.session) == (("a", "b"), None, "")
    assert Evaluation(**evaluation.model_dump()) == evaluation
    assert "in_fp16" in evaluation.model_dump()
