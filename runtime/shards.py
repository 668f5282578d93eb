"""A share of the tracklets for each of several machines, which need not know of each other."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reid.runtime.errors import DataError
from reid.runtime.tracklet import Tracklet

__all__ = ["Shard", "part_of"]

logger = logging.getLogger(__name__)

_FORM = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several parts of a set of tracklets, which together are the set, each tracklet in one of them.

    Which part a tracklet is in follows from its id and the number of parts alone: on any machine, and whatever else is
    in the set.

    Attributes:
        number: which part this is, from 1 on.
        count: the number of parts.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise DataError(f"shard {self}: give 1/{self.count} to {self.count}/{self.count}")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard of a text such as "3/16". Raises DataError where it is something else."""
        match = _FORM.fullmatch(text)
        if not match or not int(match[2]):
            raise DataError(f"shard {text[:80]!r}: give its number and how many there are, such as 3/16")
        return cls(int(match[1]), int(match[2]))

    def has(self, identity: str) -> bool:
        """Return whether a tracklet is in this part, by its id."""
        digest = hashlib.blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "little") % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def part_of(tracklets: Sequence[Tracklet], shard: Shard | None, crops: Path) -> Sequence[Tracklet]:
    """Return the tracklets of some crops that are in a shard; it may have none, and other machines all."""
    if shard is None:
        return tracklets
    part = [tracklet for tracklet in tracklets if shard.has(tracklet.id)]
    if not part:
        logger.warning("shard %s has none of the %d tracklets of %s", shard, len(tracklets), crops)
    return part
