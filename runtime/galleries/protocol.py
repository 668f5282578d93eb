"""What every gallery can do, wherever its entries are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reid.runtime.galleries.conditions import Condition
from reid.runtime.galleries.entry import Entry
from reid.runtime.space import Space

__all__ = ["Found", "Gallery", "GrowingGallery", "Kind"]

Kind: TypeAlias = Literal["images", "tracklets"]
"""What a gallery holds: "tracklets" where any embedding was made of several frames."""


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
    """Entries and their embeddings, which are searched."""

    @property
    def space(self) -> Space:
        """The space of the embeddings."""

    @property
    def kind(self) -> Kind | None:
        """What it holds; None where the frames of an entry are not known, and no entry has several."""

    def __len__(self) -> int:
        """Return the number of entries."""

    def entries(self) -> Iterator[Sequence[Entry]]:
        """Yield all entries, some thousand at a time; embeddings are not read."""

    def batches(self) -> Iterator[tuple[Sequence[Entry], NDArray[np.float32]]]:
        """Yield all entries, some thousand at a time, with their embeddings, float32 [n, D], L2-normalized."""

    def search(
        self, embeddings: NDArray[np.float32], k: int, conditions: Sequence[Condition] | None = None
    ) -> Sequence[tuple[Found, ...]]:
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


class GrowingGallery(Gallery, Protocol):
    """A gallery that entries are added to and removed from."""

    def contains(self, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return which of these ids it has, bool [N]."""

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
