"""Histograms for TensorBoard."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from reid.evaluation.pairs import BINS_PER_UNIT
from reid.train.report.observation import Observation

__all__ = ["show_histograms"]

_MERGED = 20  # bins merged into one, which leaves 100 of 0.02 each


def show_histograms(board: SummaryWriter, seen: Observation, epoch: int) -> None:
    """Add histograms of every level: distances of positive pairs, distances of negative pairs, and norms."""
    for pairs in seen.pairs:
        for kind, counts in (("positive", pairs.positive), ("negative", pairs.negative)):
            if counts.any():
                _add_counts(board, f"pairs/{pairs.level}/{kind}", counts, epoch)
    for level, norms in seen.norms.items():
        board.add_histogram(f"norm/{level}", norms, epoch)


def _add_counts(board: SummaryWriter, tag: str, counts: NDArray[np.int64], epoch: int) -> None:
    centers = (np.arange(len(counts)) + 0.5) / BINS_PER_UNIT
    found = np.flatnonzero(counts)
    board.add_histogram_raw(
        tag,
        min=centers[found[0]],
        max=centers[found[-1]],
        num=counts.sum(),
        sum=counts @ centers,
        sum_squares=counts @ centers**2,
        bucket_limits=(np.arange(_MERGED, len(counts) + 1, _MERGED) / BINS_PER_UNIT).tolist(),
        bucket_counts=counts.reshape(-1, _MERGED).sum(axis=1).tolist(),
        global_step=epoch,
    )
