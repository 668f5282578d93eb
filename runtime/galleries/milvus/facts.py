"""What is known of a collection, in one of its properties: what makes it a gallery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from reid.runtime.errors import DataError
from reid.runtime.files.validation import first_problem, refuse_newer
from reid.runtime.galleries.milvus.address import Address
from reid.runtime.galleries.milvus.indexes import Index
from reid.runtime.precision import Precision
from reid.runtime.space import Space

__all__ = ["Facts", "Source"]

_FORMAT_VERSION = 1
_PROPERTY = "reid.gallery"

_Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Source(_Record):
    """The store that a collection was made from, as it was then.

    Attributes:
        entries: how many entries it had.
        digest: the SHA-256 of the records of its segments, which any change of the store changes.
    """

    entries: _Count
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Facts(_Record):
    """What is known of a collection.

    Attributes:
        format_version: the version of the form of collections.
        fingerprint: of the space: the model.
        precision: of the space.
        dimensions: of the space.
        index: how it is searched.
        next_sequence: the first sequence number that no writer has taken.
        of_store: whether it was made of a store, whatever was added or removed since.
        source: the store whose entries it holds, and nothing else; None if there is none.
    """

    format_version: Literal[1]
    fingerprint: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    precision: Precision
    dimensions: Annotated[int, Field(ge=1, le=2**15)]
    index: Index
    next_sequence: _Count = 0
    of_store: bool = False
    source: Source | None = None

    @model_validator(mode="before")
    @classmethod
    def _known(cls, facts: object) -> object:
        return refuse_newer(facts, _FORMAT_VERSION)

    @classmethod
    def new(cls, space: Space, index: Index) -> Facts:
        """Return the facts of an empty collection."""
        return cls(
            format_version=1,
            fingerprint=space.fingerprint,
            precision=space.precision,
            dimensions=space.dimensions,
            index=index,
        )

    @classmethod
    def among(cls, properties: Mapping[str, Any], address: Address) -> Facts:
        """Return the facts among the properties of a collection. Raises DataError if these are of no gallery."""
        if (stored := properties.get(_PROPERTY)) is None:
            raise DataError(f"{address} is a collection, but no gallery; give it another name")
        try:
            return cls.model_validate_json(stored)
        except ValidationError as problem:
            reason = first_problem(problem)
        raise DataError(f"{address} cannot be used ({reason}); rebuild it from its store")

    def as_properties(self) -> dict[str, str]:
        """Return these as properties of a collection."""
        return {_PROPERTY: self.model_dump_json()}

    @property
    def space(self) -> Space:
        """The space of the embeddings."""
        return Space(self.fingerprint, self.precision, self.dimensions)
