"""What every gallery can do, wherever its entries are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reid.runtime.galleries.conditions import Condition
from reid.runtime.galleries.entry import Entry
from reid.runtime.space import Space

__all__ = ["Found", "Gallery"]


@dataclass(frozen=True, slots=True)
class Found:
    """A match of a query.

    Attributes:
        entry: the gallery's entry.
        score: the cosine similarity.
    """

    entry: Entry
    score: float


class Gallery(Protocol):
    """Entries and their embeddings, which grow and are searched."""

    @property
    def space(self) -> Space:
        """The space of the embeddings."""

    def __len__(self) -> int:
        """Return the number of entries."""

    def add(self, entries: Sequence[Entry], embeddings: NDArray[np.float32]) -> None:
        """Add entries, all or none; they are on disk when it returns.

        Args:
            entries: the N entries, whose ids are new to the gallery.
            embeddings: float32 [N, D], L2-normalized, of the gallery's space.

        Raises:
            DataError: an entry or an embedding cannot be used.
        """

    def remove(self, ids: Iterable[str]) -> int:
        """Remove entries; ids that are not there do not matter. Return how many there were."""

    def search(
        self, embeddings: NDArray[np.float32], k: int, conditions: Sequence[Condition] | None = None
    ) -> list[tuple[Found, ...]]:
        """Return the best k entries for each query, best first, ties in the order in which they were added.

        Args:
            embeddings: float32 [Q, D], L2-normalized, of the gallery's space.
            k: matches per query, at least 1.
            conditions: what each query's matches must be; None for any.

        Raises:
            DataError: the embeddings cannot be used, or the gallery is damaged.
        """

    def close(self) -> None:
        """Give back what it holds."""
