from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from score_tables import PROTOCOLS, Spread, difference_table, score_table, summary

OURS, THEIRS = [61.25, 64.5, 70.75], [60.0, 65.5, 66.0]


def trials(maps: list[float], protocols: tuple[str, ...] = PROTOCOLS) -> dict[int, dict[str, Any]]:
    """A method's trials, one a seed; protocols rise by 1; R-1 and R-5 are 10 and 20 above mAP."""
    return {
        seed: {
            "protocols": {
                protocol: {"mAP": value + rank, "R-1": value + rank + 10, "R-5": value + rank + 20}
                for rank, protocol in enumerate(protocols)
            }
        }
        for seed, value in enumerate(maps)
    }


def cells(table: str, row: str) -> list[str]:
    line = next(line for line in table.splitlines() if line.startswith(f"| {row} |"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def numbers(cell: str) -> list[float]:
    return [float(number) for number in re.findall(r"[+-]?\d+\.\d+", cell)]


def test_spread_is_the_sample_standard_deviation() -> None:
    spread = Spread.of(OURS)
    assert spread.mean == pytest.approx(np.mean(OURS))
    assert spread.deviation == pytest.approx(np.std(OURS, ddof=1))


def test_one_seed_has_no_spread() -> None:
    assert Spread.of([50.0]).text() == "50.00"
    assert summary(trials([50.0]))["i2i"]["mAP"] == {"mean": 50.0, "spread": None}


def test_seeds_that_agree_have_a_spread_of_zero() -> None:
    assert Spread.of([50.0, 50.0]).text() == "50.00 ± 0.00"
    assert summary(trials([50.0, 50.0]))["i2i"]["mAP"] == {"mean": 50.0, "spread": 0.0}


def test_score_table_has_mean_and_spread_of_every_column() -> None:
    found = [numbers(cell) for cell in cells(score_table({"ours": trials(OURS)}), "ours")]
    mean, spread = np.mean(OURS), np.std(OURS, ddof=1)
    expected = [(mean + protocol + rank, spread) for protocol in range(3) for rank in (0, 10, 20)]
    assert found == [pytest.approx(pair, abs=0.005) for pair in expected]


def test_differences_are_taken_seed_by_seed() -> None:
    table = difference_table({"theirs": trials(THEIRS), "ours": trials(OURS)}, "theirs")
    gains = np.subtract(OURS, THEIRS)
    first = cells(table, "ours")[0]
    assert numbers(first) == pytest.approx([gains.mean(), gains.std(ddof=1)], abs=0.005)
    assert first.startswith("+")
    assert first.endswith("(2 of 3)")
    assert "| theirs |" not in table


def test_seeds_that_only_one_side_has_do_not_enter_a_difference() -> None:
    table = difference_table({"theirs": trials(THEIRS), "ours": trials(OURS[:1])}, "theirs")
    assert cells(table, "ours")[0] == "+1.25 (1 of 1)"


def test_missing_scores_are_dashes() -> None:
    images_only = {"ours": trials(OURS, ("i2i",)), "theirs": {}}
    assert cells(score_table(images_only, ["mAP"]), "ours")[1:] == ["-", "-"]
    assert cells(score_table(images_only, ["mAP"]), "theirs") == ["-", "-", "-"]
    assert cells(difference_table(images_only, "theirs"), "ours") == ["-", "-", "-"]
    assert set(summary(images_only["ours"])) == {"i2i"}
