"""IDF1, IDP and IDR: how well tracks of many cameras were given the identities of their vehicles."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.evaluation.assignment import heaviest_assignment
from reid.evaluation.metrics import numbered
from reid.runtime.errors import DataError

__all__ = ["IdentityMetrics", "evaluate_identities"]


@dataclass(frozen=True, slots=True)
class IdentityMetrics:
    """Frames whose identity was found, by the one-to-one matching of true and found identities that finds the most.

    Attributes:
        true_positives: frames of a true identity that have the found identity matched to it (IDTP).
        false_positives: other frames that have a found identity (IDFP).
        false_negatives: other frames that have a true identity (IDFN).
        true_identities: the number of true identities.
        found_identities: the number of found identities.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_identities: int
    found_identities: int

    @property
    def precision(self) -> float:
        """The share of the frames with a found identity that have the right one: IDP, 0 to 1; 0 without any."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """The share of the frames with a true identity that have the right one: IDR, 0 to 1; 0 without any."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """IDF1, the harmonic mean of IDP and IDR: 0 to 1; 0 without any frame."""
        both = 2 * self.true_positives
        return _share(both, both + self.false_positives + self.false_negatives)

    def summary(self) -> dict[str, float | int]:
        """Return the metrics as percentages, unrounded, and the numbers behind them."""
        return {
            "IDF1": 100 * self.f1,
            "IDP": 100 * self.precision,
            "IDR": 100 * self.recall,
            "vehicles": self.true_identities,
            "identities": self.found_identities,
            "frames": self.true_positives + self.false_negatives,
        }


def evaluate_identities(
    true: Sequence[Hashable | None], found: Sequence[Hashable | None], frames: Sequence[int] | None = None
) -> IdentityMetrics:
    """Compare the identities that tracks were given with the true ones.

    Ristani et al., *Performance measures and a data set for multi-target, multi-camera tracking*, ECCV Workshops 2016:
    each true identity is matched to at most one found identity and vice versa, over all cameras, so that the number of
    frames that agree is the largest.

    Args:
        true: the vehicle of each track; None for a track of no vehicle.
        found: the identity that each track was given; None for none.
        frames: the number of frames of each track; None for 1 each.

    Raises:
        DataError: the lengths differ, or a track has less than no frames.
    """
    counts = np.ones(len(true), np.int64) if frames is None else np.asarray(frames, np.int64)
    if not len(true) == len(found) == len(counts):
        raise DataError(
            f"{len(true)} vehicles, {len(found)} identities, {len(counts)} tracks: give all for every track"
        )
    if len(counts) and counts.min() < 0:
        raise DataError(f"a track has {counts.min()} frames: give the number of its frames")
    agreed = _agreed_frames(true, found, counts)
    right = _most_agreed(agreed)
    with_true, with_found = (int(counts[_numbers(side) >= 0].sum()) for side in (true, found))
    return IdentityMetrics(right, with_found - right, with_true - right, *agreed.shape)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _agreed_frames(
    true: Sequence[Hashable | None], found: Sequence[Hashable | None], counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the frames that each true and each found identity have in common, int64 [T, F]."""
    rows, columns = (_numbers(side) for side in (true, found))
    agreed = np.zeros((rows.max(initial=-1) + 1, columns.max(initial=-1) + 1), np.int64)
    both = (rows >= 0) & (columns >= 0)
    np.add.at(agreed, (rows[both], columns[both]), counts[both])
    return agreed


def _numbers(side: Sequence[Hashable | None]) -> NDArray[np.int64]:
    """Number identities from 0; None is -1."""
    (numbers,) = numbered((None, *side))
    return numbers[1:] - 1


def _most_agreed(agreed: NDArray[np.int64]) -> int:
    wide = agreed if agreed.shape[0] <= agreed.shape[1] else agreed.T
    return int(wide[np.arange(len(wide)), heaviest_assignment(wide)].sum())
