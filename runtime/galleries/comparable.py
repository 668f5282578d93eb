"""Whether the embeddings of a gallery can be compared with others."""

from __future__ import annotations

from reid.runtime.errors import DataError, ModelError
from reid.runtime.space import Space

__all__ = ["check_space"]


def check_space(where: object, found: Space, wanted: Space) -> None:
    """Raise ModelError or DataError if the embeddings of a gallery cannot be compared with others.

    Args:
        where: the gallery, as it is to be named.
        found: its space.
        wanted: the space of the others.
    """
    if found.fingerprint != wanted.fingerprint:
        raise ModelError(
            f"{where} was made by model {found.fingerprint[:12]}, this one is {wanted.fingerprint[:12]}: "
            "use that one, or embed the gallery again with this one (a store: `reid-gallery migrate`)"
        )
    if found.precision != wanted.precision:
        raise ModelError(
            f"{where} was embedded in {found.precision}, not {wanted.precision}: "
            f"use --precision {found.precision}, or embed the gallery again"
        )
    if found.dimensions != wanted.dimensions:
        raise DataError(
            f"{where} has embeddings of {found.dimensions} numbers, not {wanted.dimensions}: embed the gallery again"
        )
