"""Which frames are worth an embedding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from reid.runtime.frame_policies import EveryFrame, FrameChooser, OnChange, UntilSettled


def plain(level: int, side: int = 40) -> NDArray[np.uint8]:
    return np.full((side, side, 3), level, np.uint8)


def chosen(chooser: FrameChooser, levels: Sequence[int]) -> list[int]:
    return [index for index, level in enumerate(levels) if chooser.wants(plain(level))]


def means(*angles: float) -> list[NDArray[np.float32]]:
    return [np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))], np.float32) for angle in angles]


def told(chooser: FrameChooser, embeddings: Sequence[NDArray[np.float32]], times: int = 1) -> list[bool]:
    """Return whether it wanted each frame, when it is told of each embedding at once, and so many times."""
    wanted = []
    for frames, mean in enumerate(embeddings, 1):
        wanted.append(chooser.wants(plain(0)))
        for _ in range(times):
            chooser.took(mean, frames)
    return wanted


@given(st.integers(1, 9), st.integers(0, 40))
def test_every_kth_frame_is_the_slice(k: int, frames: int) -> None:
    assert chosen(EveryFrame(k), [0] * frames) == list(range(frames))[::k]


def test_no_frame_in_zero() -> None:
    with pytest.raises(ValueError, match="expected at least 1"):
        EveryFrame(0)


def test_on_change_compares_with_the_last_that_was_chosen() -> None:
    assert chosen(OnChange(10), [100, 105, 109, 110, 115, 119, 120, 111, 110]) == [0, 3, 6, 8]


@given(st.lists(st.integers(0, 255), max_size=30), st.integers(1, 100))
def test_on_change_as_a_loop_has_it(levels: list[int], least: int) -> None:
    expected: list[int] = []
    for index, level in enumerate(levels):
        if not expected or abs(level - levels[expected[-1]]) >= least:
            expected.append(index)
    assert chosen(OnChange(least), levels) == expected


def test_on_change_does_not_mind_other_sizes_of_the_same_picture() -> None:
    chooser = OnChange(4)
    assert [chooser.wants(plain(80, side)) for side in (40, 200, 7)] == [True, False, False]


def test_a_settled_mean_needs_no_more_frames() -> None:
    assert told(UntilSettled(0.999), means(0, 20, 21, 22, 50)) == [True, True, True, True, False]
    assert told(UntilSettled(0.999, times=1), means(0, 20, 21, 22)) == [True, True, True, False]


def test_the_same_embedding_told_again_says_nothing() -> None:
    turning = means(0, 20, 21, 22, 50)
    assert told(UntilSettled(0.999), turning, times=5) == told(UntilSettled(0.999), turning)


def test_a_mean_settles_though_all_frames_are_the_same() -> None:
    assert told(UntilSettled(0.999), means(7, 7, 7, 7)) == [True, True, True, False]


def test_no_mean_settles_after_no_frame() -> None:
    with pytest.raises(ValueError, match="expected at least 1"):
        UntilSettled(0.9, times=0)


def test_a_move_in_between_begins_the_count_again() -> None:
    assert told(UntilSettled(0.999), means(0, 1, 20, 21, 22, 23)) == [True] * 5 + [False]


def test_frames_are_wanted_as_long_as_no_embedding_has_come() -> None:
    chooser = UntilSettled(0.5)
    assert all(chooser.wants(plain(0)) for _ in range(100))
