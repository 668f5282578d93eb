"""The collections of a gallery: its name is an alias of one, and moves to a rebuilt one in one step."""

from __future__ import annotations

import secrets

from reid.runtime.errors import DataError
from reid.runtime.galleries.milvus.collection import Collection
from reid.runtime.galleries.milvus.facts import Facts
from reid.runtime.galleries.milvus.indexes import Index
from reid.runtime.galleries.milvus.server import Server
from reid.runtime.space import Space

__all__ = ["name_behind", "new_version", "point_to"]


def name_behind(server: Server) -> str:
    """Return the name of the collection that holds a gallery. Raises DataError if there is none."""
    address = server.address
    try:
        return str(server.ask("describe_alias", address.name)["collection_name"])
    except DataError:
        if server.ask("has_collection", address.name):
            raise DataError(f"{address} is a collection, but no gallery; give another name") from None
        raise DataError(f"there is no gallery at {address}; mend the address, or create it") from None


def new_version(server: Server, space: Space, index: Index) -> Collection:
    """Make an empty collection for a gallery, which is not loaded, and which its name does not stand for yet."""
    if server.address.file is not None and index == "diskann":  # it would compare with every entry, and say nothing
        raise DataError(f"{server.address}: milvus-lite has no diskann index; use flat, hnsw or ivf")
    collection = Collection(server, f"{server.address.name}_{secrets.token_hex(4)}", Facts.new(space, index))
    collection.make()
    return collection


def point_to(collection: Collection) -> None:
    """Let a gallery's name stand for a collection, in one step."""
    server = collection.server
    there = server.ask("has_collection", server.address.name)
    server.ask("alter_alias" if there else "create_alias", collection.name, server.address.name)
