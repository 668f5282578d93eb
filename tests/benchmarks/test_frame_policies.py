from __future__ import annotations

from functools import partial

import frame_policies
import numpy as np
import pytest
from frame_policies import BASELINE, STANDING, Crops
from numpy.typing import NDArray

from reid.runtime.frame_policies import EveryFrame, OnChange, UntilSettled
from reid.runtime.quality import assess

LEVELS = (0, 10, 40, 80)


def track() -> tuple[Crops, NDArray[np.float32]]:
    crops = [np.full((60, 80, 3), level, np.uint8) for level in LEVELS]
    return [(crop, assess(crop)) for crop in crops], np.eye(4, dtype=np.float32)


def test_a_policy_is_told_of_every_embedding_before_the_next_frame() -> None:
    crops, frames = track()
    assert frame_policies.chosen_by(partial(OnChange, 20), crops, frames).tolist() == [1, 0, 1, 1]
    assert frame_policies.chosen_by(partial(UntilSettled, 0.7, 1), crops, frames).tolist() == [1, 1, 0, 0]  # 45 degrees


def test_a_vehicle_that_stands_is_shown_again_and_embedded_where_the_policy_wants_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        frame_policies, "POLICIES", {"all": EveryFrame, "half": partial(EveryFrame, 2), "new": partial(OnChange, 5)}
    )
    weights = frame_policies.standing_weights(np.random.default_rng(0), *track())
    assert sorted(weights[BASELINE].tolist()) == [1, 1, 1, 1 + STANDING]
    assert weights["all"].tolist() == weights[BASELINE].tolist()
    assert weights["half"].sum() == (len(LEVELS) + STANDING) / 2
    assert weights["new"].tolist() == [1, 1, 1, 1]


def test_what_is_degraded_weighs_less() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    for spoil in (frame_policies.out_of_focus, frame_policies.far_away, frame_policies.cut_off):
        _, quality = spoil(np.random.default_rng(1), crop)
        assert quality.weight < 0.6 * assess(crop).weight
