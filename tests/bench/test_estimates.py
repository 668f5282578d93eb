import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reid.bench.blocks import cut, student_quantile
from reid.bench.estimates import RUNS_ON_SHARED_HOST, estimate, estimate_percentiles, estimate_ratio
from reid.bench.records import Estimate

RUNS = 100


def independent(random: np.random.Generator, rounds: int) -> NDArray[np.float64]:
    return random.standard_normal(rounds)


def heavy_tailed(random: np.random.Generator, rounds: int) -> NDArray[np.float64]:
    return random.standard_t(2, rounds)


def spiked(random: np.random.Generator, rounds: int) -> NDArray[np.float64]:
    return random.standard_normal(rounds) / 2 + (random.random(rounds) < 0.08) * random.exponential(10, rounds)


def drifting(correlation: float) -> Callable[[np.random.Generator, int], NDArray[np.float64]]:
    """A series whose neighbors are correlated: AR(1)."""

    def draw(random: np.random.Generator, rounds: int) -> NDArray[np.float64]:
        steps = random.standard_normal(rounds)
        values = steps.copy()
        for here in range(1, rounds):
            values[here] = correlation * values[here - 1] + math.sqrt(1 - correlation**2) * steps[here]
        return values

    return draw


def share_covered(found: list[Estimate]) -> float:
    """How often a run's interval contains another run's figure."""
    return float(np.mean([one.low <= other.value <= one.high for one in found for other in found if one is not other]))


@pytest.mark.parametrize("rounds", [3, 5, 8, 20, 100])
@pytest.mark.parametrize(
    ("draw", "least"), [(independent, 0.98), (heavy_tailed, 0.98), (spiked, 0.97), (drifting(0.5), 0.95)]
)
def test_an_interval_contains_what_other_runs_find(
    draw: Callable[[np.random.Generator, int], NDArray[np.float64]], least: float, rounds: int
) -> None:
    random = np.random.default_rng(0)
    found = [estimate(50 * np.exp(0.1 * draw(random, rounds))) for _ in range(RUNS)]
    assert share_covered(found) >= least


@pytest.mark.parametrize(("rounds", "least"), [(8, 0.85), (20, 0.9), (100, 0.97)])
def test_a_drift_as_long_as_a_short_run_is_mostly_noticed(rounds: int, least: float) -> None:
    random = np.random.default_rng(0)
    found = [estimate(np.exp(0.1 * drifting(0.8)(random, rounds))) for _ in range(RUNS)]
    assert share_covered(found) >= least


def test_intervals_are_not_wider_than_they_need_be() -> None:
    """Ideal is the 99 % interval of somebody who knows the noise: the median of 100 normal values, twice."""
    random = np.random.default_rng(0)
    found = [estimate(np.exp(0.1 * independent(random, 100))) for _ in range(RUNS)]
    ideal = 2.576 * math.sqrt(2) * (1.2533 * 0.1 / math.sqrt(100))
    widths = [math.log(one.high / one.value) for one in found]
    assert ideal < np.median(widths) < 2 * ideal


def test_few_rounds_have_wide_intervals() -> None:
    random = np.random.default_rng(0)
    widths = [
        np.median(
            [
                math.log(one.high / one.low)
                for one in (estimate(np.exp(0.1 * random.standard_normal(rounds))) for _ in range(RUNS))
            ]
        )
        for rounds in (3, 5, 8, 20, 100)
    ]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 5 * 0.1  # a run of three may be the one whose rounds happen to agree
    lonely = estimate([7.0])
    assert (lonely.low, lonely.high) == pytest.approx((0.7, 70))


def test_five_runs_contain_each_others_medians() -> None:
    """As the command is checked: latencies of batches, with turns that drift, slow batches and a slow phase."""
    random = np.random.default_rng(1)
    runs = []
    for _ in range(5):
        level = 0.05 * drifting(0.5)(random, 16)
        level[3:5] += 0.3
        times = np.exp(level[:, None] + 0.03 * random.standard_normal((16, 30)))
        runs.append(estimate_percentiles((4 * times).tolist()))
    assert share_covered([run.p50 for run in runs]) == 1
    assert share_covered([run.p90 for run in runs]) == 1
    assert share_covered([run.p99 for run in runs]) == 1


@pytest.mark.parametrize(("rounds", "batches"), [(5, 4), (8, 10), (8, 60), (30, 2), (60, 20)])
@pytest.mark.parametrize("draw", [independent, drifting(0.5)])
def test_intervals_of_percentiles_contain_what_other_runs_find(
    draw: Callable[[np.random.Generator, int], NDArray[np.float64]], rounds: int, batches: int
) -> None:
    random = np.random.default_rng(0)
    found = []
    for _ in range(60):
        level = 0.03 * draw(random, rounds)
        found.append(
            estimate_percentiles(np.exp(level[:, None] + 0.03 * random.gumbel(size=(rounds, batches))).tolist())
        )
    for share in ("p50", "p90", "p99"):
        assert share_covered([getattr(run, share) for run in found]) >= 0.95, share


def test_the_p99_of_few_batches_says_how_little_it_means() -> None:
    random = np.random.default_rng(0)
    times = np.exp(0.1 * random.standard_normal((20, 100)))
    many, few = estimate_percentiles(times.tolist()), estimate_percentiles(times[:, :1].tolist())
    assert few.p99.value == times[:, 0].max()
    assert few.p99.high / few.p99.value > 1.5 > 1.2 > many.p99.high / many.p99.value
    assert few.p99.high / few.p99.value > few.p50.high / few.p50.value


positive = st.floats(1e-3, 1e3)


@given(turns=st.lists(st.lists(positive, min_size=1, max_size=5), min_size=1, max_size=30))
def test_percentiles_are_nearest_ranks_within_their_intervals(turns: list[list[float]]) -> None:
    found = estimate_percentiles(turns)
    ordered = sorted(time for turn in turns for time in turn)
    for share, one in ((0.5, found.p50), (0.9, found.p90), (0.99, found.p99)):
        assert one.value == np.quantile(ordered, share, method="inverted_cdf")
        assert one.low < one.value < one.high <= 10.001 * one.value


@given(values=st.lists(st.integers(1, 10**7), min_size=1, max_size=50), factor=positive)
def test_an_interval_does_not_depend_on_the_unit(values: list[int], factor: float) -> None:
    """Of values that differ by more than rounding, whose order is the same in every unit."""
    one, other = estimate(values), estimate([factor * value for value in values])
    assert one.value == pytest.approx(float(np.median(values)))
    assert [other.low, other.value, other.high] == pytest.approx([factor * x for x in (one.low, one.value, one.high)])


def test_a_ratio_is_the_median_of_the_rounds_in_which_both_have_a_figure() -> None:
    machine = np.array([1, 8, 2, 4, 1, 16, 2, 1, 5])  # its speed by round hits both
    found = estimate_ratio([*(3 * machine), None, 7.0], [*machine, 5.0, None])
    assert found is not None
    assert found.value == 3
    assert found.high < 3 * 1.05  # though the machine's speed is anybody's guess
    assert estimate_ratio([1.0, None], [None, 2.0]) is None


def test_runs_on_a_machine_that_is_shared_with_others_contain_each_other() -> None:
    """Every run has a speed of its own, which none of its turns can see."""
    random = np.random.default_rng(0)
    speeds = np.exp(RUNS_ON_SHARED_HOST * random.standard_normal(RUNS))
    turns = [speed * np.exp(0.005 * independent(random, 20)) for speed in speeds]
    assert share_covered([estimate(values, RUNS_ON_SHARED_HOST) for values in turns]) >= 0.98
    assert share_covered([estimate(values) for values in turns]) < 0.9
    batches = [(10 * values[:, None] * np.exp(0.01 * random.random((20, 30)))).tolist() for values in turns]
    assert share_covered([estimate_percentiles(each, RUNS_ON_SHARED_HOST).p50 for each in batches]) >= 0.98


@pytest.mark.parametrize("values", [[], [1.0, 0.0], [1.0, -1.0], [1.0, math.nan]])
def test_what_is_no_figure_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        estimate(values)
    with pytest.raises(ValueError, match="positive"):
        estimate_percentiles([values])


# Table of Student's t, 99.5 %: NIST/SEMATECH e-handbook of statistical methods, 1.3.6.7.2.
@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 63.657), (2, 9.925), (3, 5.841), (4, 4.604), (5, 4.032), (8, 3.355), (10, 3.169), (19, 2.861), (100, 2.626)],
)
def test_quantiles_are_those_of_the_table(freedom: int, expected: float) -> None:
    assert student_quantile(freedom) == pytest.approx(expected, rel=0.01)


@given(rounds=st.integers(1, 1000))
def test_blocks_are_consecutive_and_about_equally_long(rounds: int) -> None:
    blocks = cut(rounds)
    sizes = [block.stop - block.start for block in blocks]
    assert [index for block in blocks for index in range(rounds)[block]] == list(range(rounds))
    assert min(rounds, 7) <= len(blocks) <= 20
    assert max(sizes) - min(sizes) <= 1
