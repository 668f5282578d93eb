"""A connection to Milvus, whose failures are errors of one line."""

from __future__ import annotations

import importlib
import logging
import os
from typing import Any

from reid.runtime.errors import DataError
from reid.runtime.galleries.milvus.address import Address
from reid.runtime.galleries.milvus.lite import start_lite, stop_lite
from reid.runtime.installs import how_to_install

__all__ = ["Server", "import_pymilvus"]

TOKEN_VARIABLE = "MILVUS_TOKEN"
"""The environment variable with what Milvus lets one in by: "user:password", or a key."""

_CONNECT_S = 5.0
_ANSWER_S = 600.0
"""Building an index and loading it take minutes; a server that is gone is noticed at once."""


class Server:
    """A connection to the server of an address.

    Attributes:
        address: the address.
    """

    def __init__(self, address: Address) -> None:
        """Connect. Raises DataError if it does not answer, or a package is missing."""
        self.address = address
        milvus = import_pymilvus(address)
        server = address.server if address.file is None else start_lite(address.file)
        try:
            token = "" if address.file else os.environ.get(TOKEN_VARIABLE, "")
            self._client = milvus.MilvusClient(server, token=token, timeout=_CONNECT_S, dedicated=True)
        except BaseException as error:
            if address.file is not None:
                stop_lite(address.file)
            if not isinstance(error, milvus.MilvusException):
                raise
            raise DataError(
                f"{address} does not answer ({error.message}); start Milvus there, or mend the address, "
                f"TLS (milvus+tls://) or {TOKEN_VARIABLE}"
            ) from None
        self._failure: type[BaseException] = milvus.MilvusException

    def ask(self, method: str, *arguments: object, **options: object) -> Any:  # noqa: ANN401 - as pymilvus has it
        """Return what a method of pymilvus' MilvusClient returns. Raises DataError where the server fails."""
        if self._client is None:
            raise ValueError(f"{self.address} is closed; open it again")
        try:
            return getattr(self._client, method)(*arguments, timeout=_ANSWER_S, **options)
        except self._failure as error:
            reason = getattr(error, "message", "") or error
            raise DataError(f"{self.address}: Milvus failed to {method.replace('_', ' ')} ({reason})") from None

    def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            self._client.close()
            self._client = None
            if self.address.file is not None:
                stop_lite(self.address.file)


def import_pymilvus(address: Address) -> Any:  # noqa: ANN401 - it has no types
    """Import pymilvus, whose log repeats what its errors say. Raises DataError where it is missing."""
    try:
        milvus = importlib.import_module("pymilvus")
    except ModuleNotFoundError:
        raise DataError(f"{address} needs pymilvus: {how_to_install('pymilvus')}") from None
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    return milvus
