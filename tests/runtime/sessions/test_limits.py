"""What `run` refuses, for every backend alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reid.runtime.model_card import Level, ModelCard, Preprocessing
from reid.runtime.sessions.host import HostSession
from reid.runtime.sessions.session import BatchLimits, SessionInfo, run

CARD = ModelCard(
    format_version=1,
    fingerprint="f" * 64,
    backbone="none",
    levels=(Level(name="level1", size=3),),
    preprocessing=Preprocessing(height=4, width=5, mean=(0, 0, 0), std=(1, 1, 1)),
)


def session(calls: list[int]) -> HostSession:
    def infer(
        frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        calls.append(len(frames))
        embedding = np.ones((len(frames), 3), np.float32)
        return embedding, pooling @ embedding

    return HostSession(SessionInfo("test", "1", "CPU", "fp32", CARD), infer, BatchLimits(frames=4, tracklets=2))


def frames(count: int, dtype: Any = np.uint8, height: int = 4) -> NDArray[Any]:  # noqa: ANN401
    return np.zeros((count, 3, height, 5), dtype)


@pytest.mark.parametrize(
    ("given", "pooling", "reason"),
    [
        (frames(2, np.float32), np.ones((1, 2), np.float32), "frames float32"),
        (frames(2, height=5), np.ones((1, 2), np.float32), r"\(2, 3, 5, 5\)"),
        (frames(2)[0], np.ones((1, 2), np.float32), r"\(3, 4, 5\)"),
        (frames(2), np.ones((1, 2)), "pooling float64"),
        (frames(2), np.ones((1, 3), np.float32), r"\(1, 3\)"),
        (frames(2), np.ones(2, np.float32), r"pooling float32 \(2,\)"),
        (frames(5), np.ones((1, 5), np.float32), "5 frames of 1 tracklets: test 1 on CPU takes at most 4 frames of 2"),
        (frames(3), np.ones((3, 3), np.float32), "3 frames of 3 tracklets: .* use a smaller batch"),
    ],
)
def test_anything_but_a_batch_within_the_limits_never_reaches_the_backend(
    given: NDArray[Any], pooling: NDArray[Any], reason: str
) -> None:
    calls: list[int] = []
    with pytest.raises(ValueError, match=reason):
        run(session(calls), given, pooling)
    assert calls == []


def test_the_largest_batch_runs_and_a_closed_session_says_so() -> None:
    calls: list[int] = []
    opened = session(calls)
    embeddings = run(opened, frames(4), np.ones((2, 4), np.float32))
    assert embeddings.pooled.tolist() == [[4, 4, 4]] * 2
    opened.close()
    opened.close()
    with pytest.raises(ValueError, match="closed"):
        run(opened, frames(1), np.ones((1, 1), np.float32))


@pytest.mark.parametrize("limits", [(0, 1), (1, 0)])
def test_limits_below_one_are_refused(limits: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        BatchLimits(*limits)
