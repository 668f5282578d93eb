"""Where a gallery in Milvus is: `milvus://HOST:PORT/NAME` in a cluster, `milvus:///FOLDER/FILE.db/NAME` in a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from reid.runtime.errors import DataError

__all__ = ["SCHEMES", "Address"]

SCHEMES = ("milvus://", "milvus+tls://")
"""What an address begins with; the second is for a cluster that is spoken to by TLS."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")  # of 255 characters; those of a version are added


@dataclass(frozen=True, slots=True)
class Address:
    """Where a gallery is.

    Attributes:
        uri: as it was given.
        server: the server as pymilvus takes it, "http://host:19530"; empty for a file.
        file: the file of milvus-lite, which is a folder; None for a server.
        name: the gallery's name there: an alias of the collection that holds it.
    """

    uri: str
    server: str
    file: Path | None
    name: str

    @classmethod
    def parse(cls, uri: str) -> Address:
        """Take an address apart. Raises DataError if it is none."""
        scheme, _, rest = uri.partition("://")
        place, _, name = rest.rpartition("/")
        if f"{scheme}://" not in SCHEMES or not _NAME.fullmatch(name):
            raise _no_address(uri)
        if place.startswith("/") and place.endswith(".db") and scheme == "milvus":
            return cls(uri, "", Path(place), name)
        if "@" in place:
            raise DataError("an address of Milvus holds no password, which others would see: set MILVUS_TOKEN")
        if not _is_host(place):
            raise _no_address(uri)
        return cls(uri, f"{'https' if scheme == 'milvus+tls' else 'http'}://{place}", None, name)

    def __str__(self) -> str:
        return self.uri


def _is_host(place: str) -> bool:
    try:
        parts = urlsplit(f"//{place}")
        return bool(parts.hostname) and parts.netloc == place and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def _no_address(uri: str) -> DataError:
    return DataError(
        f"{uri} is no address of a gallery in Milvus: write milvus://HOST:PORT/NAME, "
        "or milvus:///FOLDER/FILE.db/NAME, where a name is of letters, digits and _"
    )
