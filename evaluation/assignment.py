"""The assignment problem: which row goes with which column, so that the weights add up to the most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["heaviest_assignment"]

_FAR = np.iinfo(np.int64).max // 4


def heaviest_assignment(weights: NDArray[np.int64]) -> NDArray[np.int64]:
    """Assign every row a column of its own so that the sum of the weights is the largest.

    Rows join one after another along the shortest augmenting path (Kuhn 1955; Jonker and Volgenant, *A shortest
    augmenting path algorithm for dense and sparse linear assignment problems*, Computing 1987). Weights are whole
    numbers, so the sum is exact. Time grows with R * R * C.

    Args:
        weights: int64 [R, C], with R <= C.

    Returns:
        The column of each row, int64 [R].
    """
    rows, columns = weights.shape
    if rows > columns:
        raise ValueError(f"{rows} rows for {columns} columns: transpose the weights")
    costs = weights.max(initial=0) - weights
    row_of = np.full(columns + 1, -1)  # the last column is the one that a new row starts from
    row_price, column_price = np.zeros(rows, np.int64), np.zeros(columns + 1, np.int64)
    for row in range(rows):
        row_of[columns] = row
        _augment(costs, row_of, row_price, column_price)
    column_of = np.full(rows, -1)
    for column in np.flatnonzero(row_of[:columns] >= 0):
        column_of[row_of[column]] = column
    return column_of


def _augment(
    costs: NDArray[np.int64], row_of: NDArray[np.int64], row_price: NDArray[np.int64], column_price: NDArray[np.int64]
) -> None:
    """Find the cheapest path from the new row to a free column, and move the rows along it by one."""
    columns = costs.shape[1]
    distance, before = np.full(columns, _FAR), np.full(columns, columns)
    reached = np.zeros(columns + 1, bool)
    here = columns
    while row_of[here] >= 0:
        reached[here] = True
        row, is_open = row_of[here], ~reached[:columns]
        reduced = costs[row] - row_price[row] - column_price[:columns]
        closer = is_open & (reduced < distance)
        distance[closer], before[closer] = reduced[closer], here
        nearest = int(np.argmin(np.where(is_open, distance, _FAR)))
        step = distance[nearest]
        row_price[row_of[reached]] += step
        column_price[reached] -= step
        distance[is_open] -= step
        here = nearest
    while here != columns:
        row_of[here] = row_of[before[here]]
        here = int(before[here])
