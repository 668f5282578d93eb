"""How often each client may ask: a bucket of requests for each, which fills up again with time."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

__all__ = ["Rates", "client_of"]

_MOST_CLIENTS = 4096
"""Clients that are remembered: the one that asked longest ago is forgotten first."""


class Rates:
    """Counts the requests of clients. For one thread."""

    def __init__(self, per_second: float) -> None:
        """Begin with nobody.

        Args:
            per_second: requests per second of a client; as many, and at least one, may come at once.
        """
        self._per_second, self._room = per_second, max(1.0, per_second)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str, now: float) -> float:
        """Count a request, if it may come now; else return in how many seconds it may.

        Args:
            client: who asks.
            now: the time, in seconds of a monotonic clock.
        """
        left, then = self._left.pop(client, (self._room, now))
        left = min(self._room, left + (now - then) * self._per_second)
        missing = max(0.0, 1 - left)
        self._left[client] = (left if missing else left - 1, now)
        if len(self._left) > _MOST_CLIENTS:
            self._left.popitem(last=False)
        return missing / self._per_second


def client_of(address: str) -> str:
    """Return who an address belongs to: of IPv6 the network of 64 bits, within which one client has all addresses."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(parsed) if parsed.version == 4 else str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
