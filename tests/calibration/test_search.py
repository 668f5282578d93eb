"""The search on problems whose answer is known: errors that add up to a threshold, and some that do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import log2

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reid.calibration.search import OVERHEAD, WORTH_TRYING, Evaluation, Found, order_of_return, search


@dataclass
class Problem:
    """Layers with an error and some work each; `passes` is asked of what stays in INT8."""

    errors: dict[str, float]
    work: dict[str, float]
    passes: Callable[[frozenset[str]], bool]
    asked: list[frozenset[str]] = field(default_factory=list)

    @property
    def order(self) -> list[str]:
        return order_of_return(self.errors, self.work)

    def within_tolerance(self, in_fp16: frozenset[str]) -> bool:
        return self.passes(frozenset(self.errors) - in_fp16)

    def evaluate(self, in_fp16: frozenset[str]) -> Evaluation:
        self.asked.append(in_fp16)
        failures = () if self.within_tolerance(in_fp16) else ("outside",)
        return Evaluation(in_fp16=tuple(sorted(in_fp16)), failures=failures, changes={}, similarity=1)

    def solve(self) -> Found:
        return search(self.order, self.errors, self.work, self.evaluate)

    def cost(self, in_fp16: frozenset[str]) -> float:
        return sum(self.work[name] + OVERHEAD for name in in_fp16)


def additive(errors: Sequence[float], work: Sequence[float], fraction: float) -> Problem:
    """Within tolerance while the errors in INT8 are no more than a fraction of all."""
    names = [f"layer{index}" for index in range(len(errors))]
    total = sum(work)
    of = dict(zip(names, errors, strict=True))
    allowed = fraction * sum(errors)
    return Problem(
        of,
        {name: one / total for name, one in zip(names, work, strict=True)},
        lambda int8: sum(of[name] for name in int8) <= allowed,
    )


@st.composite
def problems(draw: st.DrawFn, most: int = 60) -> Problem:
    count = draw(st.integers(1, most))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([0.1, 1.0, 4.0]))
    errors = 10.0 ** -random.uniform(0, spread, count)
    work = random.dirichlet(np.full(count, draw(st.sampled_from([0.2, 1.0, 20.0])))) + 1e-9
    return additive(errors.tolist(), work.tolist(), draw(st.floats(0, 1.1)))


@settings(max_examples=300, deadline=None)
@given(problems())
def test_with_errors_that_add_up_no_layer_that_matters_can_go_back(problem: Problem) -> None:
    found = problem.solve()
    assert found.in_fp16 is not None
    assert problem.within_tolerance(found.in_fp16)
    assert not any(
        problem.within_tolerance(found.in_fp16 - {name}) for name in found.in_fp16 if problem.work[name] >= WORTH_TRYING
    )
    passed = [evaluation for evaluation in found.evaluations if evaluation.passed]
    assert passed[-1].in_fp16 == tuple(sorted(found.in_fp16))  # which is how the record says which one was taken
    assert [frozenset(evaluation.in_fp16) for evaluation in found.evaluations] == problem.asked
    assert len(set(problem.asked)) == len(problem.asked)


@settings(max_examples=300, deadline=None)
@given(problems())
@example(additive([2.0**-index for index in range(60)], [1.0] * 60, 1e-17))
@example(additive([1.0] * 60, [1.0] * 60, 0.5))
def test_evaluations_grow_with_the_logarithm_and_the_layers_tried_by_themselves(problem: Problem) -> None:
    order = problem.order
    shortest = next(n for n in range(len(order) + 1) if problem.within_tolerance(frozenset(order[:n])))
    problem.solve()
    matter = [name for name in order if problem.work[name] >= WORTH_TRYING]
    alone = len(set(order[:shortest]) & set(matter))
    in_place_of_the_last = int(max(problem.work.values()) / (WORTH_TRYING + OVERHEAD)) if shortest else 0
    assert len(problem.asked) <= 4 * log2(len(order) + 1) + 3 + alone + min(in_place_of_the_last, len(matter))


def best(problem: Problem) -> float:
    """The least cost of all subsets that are within tolerance."""
    names = list(problem.errors)
    subsets = (np.arange(2 ** len(names))[:, None] >> np.arange(len(names)) & 1).astype(bool)
    costs = subsets @ np.array([problem.work[name] + OVERHEAD for name in names])
    for index in np.argsort(costs, kind="stable"):
        if problem.within_tolerance(frozenset(np.array(names)[subsets[index]])):
            return float(costs[index])
    raise AssertionError("not even all of them")


def test_nothing_much_better_is_near() -> None:
    random = np.random.default_rng(0)
    gaps = []
    for concentration in [0.2, 1.0, 20.0] * 12:
        errors, work = 10.0 ** -random.uniform(0, 4, 10), random.dirichlet(np.full(10, concentration))
        problem = additive(errors.tolist(), work.tolist(), random.uniform(0.02, 0.9))
        found = problem.solve()
        assert found.in_fp16 is not None
        gaps.append(problem.cost(found.in_fp16) - best(problem))
    assert min(gaps) > -1e-9
    assert np.mean(gaps) < 0.01
    assert np.quantile(gaps, 0.9) < 0.05


@pytest.mark.parametrize("guilty", range(0, 60, 7))
@pytest.mark.parametrize("heavy", [0.001, 0.02, 0.3])
def test_a_single_guilty_layer_is_found_within_three_evaluations(guilty: int, heavy: float) -> None:
    random = np.random.default_rng(guilty)
    errors, work = random.uniform(1e-5, 1e-4, 60), random.uniform(0.5, 1.5, 60)
    errors[guilty] = 0.05
    work *= (1 - heavy) / (work.sum() - work[guilty])
    work[guilty] = heavy
    problem = additive(errors.tolist(), work.tolist(), 0.5)
    assert problem.solve().in_fp16 == {f"layer{guilty}"}
    assert len(problem.asked) <= 3


def test_a_heavy_guilty_layer_sends_the_cheap_ones_before_it_back() -> None:
    errors, work = [1.0, *[0.03] * 8, *[0.001] * 20], [0.4, *[0.0001] * 8, *[0.03] * 20]
    problem = additive(errors, work, 0.3)
    assert problem.order.index("layer0") == 8  # each of the cheap ones takes more error for its work
    assert problem.solve().in_fp16 == {"layer0"}
    assert len(problem.asked) <= 7


def test_lighter_layers_are_taken_for_a_heavy_one_of_which_little_is_needed() -> None:
    problem = additive([0.5, 0.5, 0.3, 0.09], [0.02, 0.5, 0.38, 0.1], 0.82 / 1.39)
    assert problem.order == ["layer0", "layer1", "layer3", "layer2"]
    # Without the first 0.89 are left, of which 0.82 are allowed.
    assert problem.solve().in_fp16 == {"layer0", "layer3"}
    assert len(problem.asked) <= 6


def test_all_in_int8_takes_one_evaluation() -> None:
    problem = additive([0.1, 0.2], [1, 1], 2.0)
    assert problem.solve().in_fp16 == frozenset()
    assert problem.asked == [frozenset()]


def test_where_not_even_all_of_them_are_enough_it_says_so() -> None:
    problem = additive([0.1] * 50, [1] * 50, 1.0)
    problem.passes = lambda int8: False
    found = problem.solve()
    assert found.in_fp16 is None
    assert problem.asked[-1] == frozenset(problem.errors)
    assert len(problem.asked) <= log2(50) + 3


@settings(max_examples=100, deadline=None)
@given(problems(most=30), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_chance_in_what_passes_does_not_lead_astray(problem: Problem, seed: int, chance: float) -> None:
    """Some mixes pass or fail at random, as with a handful of queries; all layers in FP16 always pass."""
    exact = problem.passes

    def noisy(int8: frozenset[str]) -> bool:
        random = np.random.default_rng([seed, len(int8), *sorted(int(name[5:]) for name in int8)])
        return not int8 or (exact(int8) if random.random() > chance / 2 else bool(random.integers(2)))

    problem.passes = noisy
    found = problem.solve()
    assert found.in_fp16 is not None
    assert problem.within_tolerance(found.in_fp16)
    assert len(set(problem.asked)) == len(problem.asked)


def test_the_order_is_that_of_error_for_work_and_an_addition_is_not_free() -> None:
    work = {"heavy": 0.5, "light": 0.01, "addition": 0.0, "clean": 0.01}
    errors = {"heavy": 0.1, "light": 0.1, "addition": 0.01, "clean": 0.0}
    assert order_of_return(errors, work) == ["light", "addition", "heavy", "clean"]
    assert order_of_return(dict.fromkeys(errors, 0.0), work) == ["heavy", "light", "addition", "clean"]
    problem = Problem(errors, work, lambda int8: "clean" not in int8)
    assert problem.solve().in_fp16 == {
        "clean",
        "addition",
    }  # errors of 0 do not stop it; an addition matters too little


def test_an_evaluation_of_before_has_another_name_for_the_layers_in_fp16() -> None:
    former = {"kept": ["a", "b"], "failures": [], "changes": {"i2i mAP": -1.0, "i2i R-1": 2.0}, "similarity": 0.5}
    evaluation = Evaluation.model_validate(former)
    assert (evaluation.in_fp16, evaluation.largest_fall) == (("a", "b"), ("i2i mAP", -1.0))
    assert Evaluation(**evaluation.model_dump()) == evaluation
    assert "in_fp16" in evaluation.model_dump()
