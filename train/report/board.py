"""Histograms for TensorBoard."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard.summary import histogram, histogram_raw

from reid.evaluation.pairs import BINS_PER_UNIT
from reid.train.report.observation import Observation
from reid.train.run.board import Board

__all__ = ["show_histograms"]

_MERGED = 20  # bins merged into one, which leaves 100 of 0.02 each

# PyTorch's own for histograms: each a tenth more than the one before, to suit values of any size.
_BOUNDS = np.concatenate([[0.0], np.geomspace(1e-12, 1e20, 774)])


def show_histograms(board: Board, seen: Observation, epoch: int) -> None:
    """Add histograms of every level: distances of positive pairs, distances of negative pairs, and norms."""
    for pairs in seen.pairs:
        for kind, counts in (("positive", pairs.positive), ("negative", pairs.negative)):
            if counts.any():
                _add_counts(board, f"pairs/{pairs.level}/{kind}", counts, epoch)
    for level, norms in seen.norms.items():
        board.add(histogram(f"norm/{level}", norms, _BOUNDS), epoch)  # type: ignore[no-untyped-call]


def _add_counts(board: Board, tag: str, counts: NDArray[np.int64], epoch: int) -> None:
    centers = (np.arange(len(counts)) + 0.5) / BINS_PER_UNIT
    found = np.flatnonzero(counts)
    content = histogram_raw(  # type: ignore[no-untyped-call]
        tag,
        min=centers[found[0]],
        max=centers[found[-1]],
        num=counts.sum(),
        sum=counts @ centers,
        sum_squares=counts @ centers**2,
        bucket_limits=(np.arange(_MERGED, len(counts) + 1, _MERGED) / BINS_PER_UNIT).tolist(),
        bucket_counts=counts.reshape(-1, _MERGED).sum(axis=1).tolist(),
    )
    board.add(content, epoch)
