"""What the service does not do for a client, and the limits that say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Limits", "Reason", "Refused"]

Reason: TypeAlias = Literal["rate", "busy", "inbox", "bytes", "slow", "form", "token", "origin", "stopping", "session"]
"""Why a request was refused, as the metrics count it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may ask for.

    Attributes:
        pictures: the most pictures of a request.
        bytes: the most bytes of a request's body.
        rate: the most requests per second of a client, on average; as many may come at once.
        requests: the most requests of all clients that are worked on at a time.
        body_s: how long a request's body may take to arrive, in seconds.
    """

    pictures: int = 16
    bytes: int = 8 << 20
    rate: float = 50.0
    requests: int = 256
    body_s: float = 20.0


class Refused(Exception):  # noqa: N818 - no fault of the service: an answer
    """A request that gets an error of one line.

    Attributes:
        status: the HTTP status.
        reason: what the metrics count it as.
        retry_after_s: when it is worth another try, in seconds; None where it is not.
    """

    def __init__(self, status: int, reason: Reason, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.reason, self.retry_after_s = status, reason, retry_after_s
