"""Which matches are the same vehicle: the thresholds of the model's card that fit what is asked and what is held."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from reid.runtime.errors import DataError, ModelError
from reid.runtime.galleries.protocol import Kind
from reid.runtime.operating_point import OperatingPoint, ProtocolName, choose_operating_point, protocol_of
from reid.runtime.sessions.session import SessionInfo

__all__ = ["NOTHING", "Decider"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decider:
    """The operating points at one false-match rate, by protocol; where there is none, nothing is decided."""

    points: Mapping[ProtocolName, OperatingPoint]

    @classmethod
    def of(cls, info: SessionInfo, rate: float, gallery: Kind | None, *, is_empty: bool) -> Decider:
        """Return the points of a model.

        Args:
            info: the session.
            rate: the false-match rate.
            gallery: what the gallery holds.
            is_empty: whether that is nothing.

        Raises:
            ReidError: there is none that fits the gallery. Where only queries of several pictures, or only those of
                one, have none, a note is logged.
        """
        if gallery is None and not is_empty:
            raise DataError(
                "the gallery does not say whether it holds images or tracklets, which have thresholds of their own: "
                "embed it again from its folder, or leave out --false-match-rate"
            )
        chosen = {protocol: _chosen(info, protocol, rate) for protocol in get_args(ProtocolName)}
        kind = gallery or "images"
        one, several = chosen[protocol_of("images", kind)], chosen[protocol_of("tracklets", kind)]
        if isinstance(one, ModelError) and isinstance(several, ModelError):
            raise one
        for point, queries in ((one, "one picture"), (several, "several pictures")):
            if isinstance(point, ModelError):
                logger.warning("nothing is decided for queries of %s: %s", queries, point)
        return cls({name: point for name, point in chosen.items() if not isinstance(point, ModelError)})

    def point(self, queries: Kind | None, gallery: Kind | None) -> OperatingPoint | None:
        """Return the point for queries and a gallery of these kinds; None where there is none, or one is not known."""
        return None if queries is None or gallery is None else self.points.get(protocol_of(queries, gallery))


def _chosen(info: SessionInfo, protocol: ProtocolName, rate: float) -> OperatingPoint | ModelError:
    try:
        return choose_operating_point(info.card.operating_points, info.precision, protocol, rate)
    except ModelError as error:
        return error


NOTHING = Decider({})
"""Decides nothing."""
