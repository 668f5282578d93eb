"""Scores as they are written, the names of rates, and which operating point fits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid import ModelError
from reid.runtime.model_card import ModelCard
from reid.runtime.operating_point import (
    STEPS,
    Estimate,
    OperatingPoint,
    choose_operating_point,
    protocol_of,
    rate_name,
    written_score,
    written_steps,
)


def point(rate: float, threshold: float | None) -> OperatingPoint:
    estimates = [
        None if threshold is None else Estimate(value=value, interval=(0, 1)) for value in (threshold, 90, rate)
    ]
    return OperatingPoint(
        false_match_rate=rate,
        threshold=estimates[0],
        true_match_rate=estimates[1],
        measured_rate=estimates[2],
        impostor_pairs=4000,
        genuine_pairs=100,
        vehicles=20,
        confused=3,
    )


POINTS = {"fp16": {"i2i": (point(1e-2, 0.5), point(1e-3, 0.7), point(1e-4, None)), "t2t": (point(1e-2, None),)}}


@given(st.floats(-1.03, 1.03), st.integers(-1_030_000, 1_030_000))
def test_whole_steps_decide_as_written_scores_do(similarity: float, threshold: int) -> None:
    score = written_score(np.float32(similarity))
    steps = int(written_steps(np.array([similarity]))[0])
    assert steps == round(score * STEPS)
    assert (score >= threshold / STEPS) == (steps >= threshold)
    assert steps / STEPS <= score < (steps + 1) / STEPS


def test_rates_have_the_names_that_commands_take() -> None:
    assert [rate_name(rate) for rate in (1e-2, 0.001, 1e-4, 2.5e-3, 0.1, 1)] == [
        "1e-2",
        "1e-3",
        "1e-4",
        "2.5e-3",
        "1e-1",
        "1e0",
    ]
    assert all(float(rate_name(rate)) == rate for rate in (1e-2, 1e-3, 1e-4))


def test_the_protocol_is_that_of_what_is_ranked() -> None:
    assert protocol_of("images", "images") == "i2i"
    assert protocol_of("images", "tracklets") == "i2t"
    assert protocol_of("tracklets", "tracklets") == protocol_of("tracklets", "images") == "t2t"


def test_the_point_of_a_rate_is_found_however_the_rate_was_computed() -> None:
    assert choose_operating_point(POINTS, "fp16", "i2i", 0.1**3) == POINTS["fp16"]["i2i"][1]


@pytest.mark.parametrize(
    ("precision", "protocol", "rate", "message"),
    [
        ("fp32", "i2i", 1e-2, r"no operating point in fp32: export it with `reid-export --verify DATA`"),
        ("fp16", "i2t", 1e-2, r"operating points in fp16 for i2i, t2t, and this is i2t: export it with --verify on"),
        ("fp16", "i2i", 5e-3, r"false-match rate of 5e-3, i2i in fp16; choose one of: 1e-2, 1e-3$"),
        ("fp16", "i2i", 1e-4, r"\(its false matches show 3 pairs of vehicles.*\); choose one of: 1e-2, 1e-3$"),
        ("fp16", "t2t", 1e-2, r"export it with --verify on more vehicles$"),
    ],
)
def test_what_is_not_there_is_refused_with_a_remedy(precision: str, protocol: str, rate: float, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        choose_operating_point(POINTS, precision, protocol, rate)  # type: ignore[arg-type]


def test_a_card_keeps_its_points() -> None:
    facts = {
        "format_version": 1,
        "fingerprint": "f",
        "backbone": "resnet18",
        "levels": [{"name": "level4", "size": 8}],
        "preprocessing": {"height": 8, "width": 8, "mean": [0, 0, 0], "std": [1, 1, 1]},
    }
    card = ModelCard.model_validate(facts)
    assert card.operating_points == {}
    with_points = card.model_copy(update={"operating_points": POINTS})
    assert ModelCard.model_validate_json(with_points.model_dump_json()).operating_points == POINTS
