"""How a collection is searched: exactly, or faster and not always right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["INDEXES", "Index", "Method"]

Index: TypeAlias = Literal["flat", "hnsw", "ivf", "diskann"]
"""flat compares with every entry. hnsw and ivf need the embeddings in memory, diskann a part of them."""


@dataclass(frozen=True, slots=True)
class Method:
    """An index as Milvus knows it.

    Attributes:
        name: its type.
        build: what it is built with; milvus-lite keeps to its own: M 16, nlist 128.
        search: the number of matches asked for -> what it is searched with.
    """

    name: str
    build: Mapping[str, int]
    search: Callable[[int], Mapping[str, int]]


INDEXES: Mapping[Index, Method] = {
    "flat": Method("FLAT", {}, lambda limit: {}),
    "hnsw": Method("HNSW", {"M": 32, "efConstruction": 200}, lambda limit: {"ef": max(256, 2 * limit)}),
    "ivf": Method("IVF_FLAT", {"nlist": 1024}, lambda limit: {"nprobe": 64}),
    "diskann": Method("DISKANN", {}, lambda limit: {"search_list": max(100, 2 * limit)}),
}
