"""What makes two embeddings comparable."""

from __future__ import annotations

from dataclasses import dataclass

from reid.runtime.precision import Precision

__all__ = ["Space"]


@dataclass(frozen=True, slots=True)
class Space:
    """The space of embeddings: only embeddings of one space may be compared.

    Attributes:
        fingerprint: the fingerprint of the model.
        precision: the precision of the graph.
        dimensions: the size D of an embedding.
    """

    fingerprint: str
    precision: Precision
    dimensions: int
