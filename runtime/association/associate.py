"""Identities over cameras: which tracks show the same vehicle, decided while they come in.

The algorithm is greedy, in order of time. Tracks come in steps: one at a time, or all that have ended within some
seconds. In a step, the pair of a track and an identity with the highest score goes first, then the highest of what is
left, and so on. When no score reaches the threshold any more, the earliest track that is left is a new vehicle and
begins an identity, which the others may join. A decision is never taken back.

- *Score.* The mean of the track's cosine similarities to the identity's tracks (average linkage): the threshold, an
  operating point for tracklets, was chosen for such pairs, and one chance likeness does not join two vehicles.
- *One at a time.* A vehicle is in one place: an identity has no two tracks of one camera that overlap in time.
- *Travel.* With travel times, no two tracks of an identity are closer in time than the least from camera to camera,
  and a track comes before the most since the identity's latest one is over. The time of a track is its middle.

Scores are exact. Of equal ones the older identity's goes first, then the earlier track's. So the same tracks in the
same steps get the same identities on any machine, whatever their order within a step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from reid.runtime.association.members import Members, StepScores
from reid.runtime.association.tracks import SeenTrack, by_end, check_tracks, compatible
from reid.runtime.galleries.travel_times import TravelTimes
from reid.runtime.operating_point import STEPS, choose_operating_point
from reid.runtime.sessions.session import SessionInfo

__all__ = ["Associator", "associate", "threshold_of"]


def threshold_of(info: SessionInfo, false_match_rate: float = 0.01) -> float:
    """Return the score of tracklets below which a vehicle is new: a model's operating point.

    Args:
        info: the `info` of the session that embeds the tracks.
        false_match_rate: the share of pairs of different vehicles that may count as one: 1e-2, 1e-3 or 1e-4.

    Raises:
        ModelError: the model has no operating point for tracklets at that rate.
    """
    point = choose_operating_point(info.card.operating_points, info.precision, "t2t", false_match_rate)
    assert point.threshold is not None
    return point.threshold.value


def associate(
    tracks: Iterable[SeenTrack], threshold: float, *, travel: TravelTimes | None = None, step_s: float = 0.0
) -> dict[str, int]:
    """Give tracks that are all there identities, as if they had come in when they ended.

    Args:
        tracks: the tracks, in any order; those of a gallery come from `tracks_in`.
        threshold: the score from which a track shows an identity's vehicle, see `threshold_of`; a track that has less
            with all of them is a new vehicle.
        travel: the least and the most time between pairs of cameras; None where nothing is known.
        step_s: the tracks that end within so many seconds are a step.

    Returns:
        The number of each track's identity by the track's name, from 0 in the order in which identities begin.

    Raises:
        DataError: a track's name is not its own, it has no camera, it ends before it begins, or the embeddings are not
            float32, not L2-normalized or of different sizes.
        ValueError: the threshold or the seconds are none.
    """
    if not step_s >= 0:
        raise ValueError(f"step_s is {step_s}: give seconds from 0")
    unordered = list(tracks)
    check_tracks(unordered, (), None)
    associator = Associator(threshold, travel=travel)
    found: dict[str, int] = {}
    for step in _steps(by_end(unordered), step_s):
        found |= associator.add(step)
    return found


class Associator:
    """Identities that grow while tracks come in. For one thread at a time.

    The time of a step grows with the number of tracks that are remembered, and so does memory.
    """

    def __init__(
        self, threshold: float, *, travel: TravelTimes | None = None, forget_s: float = math.inf, first: int = 0
    ) -> None:
        """Begin without identities.

        Args:
            threshold: the score from which a track shows an identity's vehicle, see `threshold_of`; a track that has
                less with all of them is a new vehicle.
            travel: the least and the most time between pairs of cameras; None where nothing is known.
            forget_s: how long after its latest track an identity is forgotten, in seconds: the vehicle would be new.
            first: the number of the first identity. After a restart, the `next_number` of before: of identities that
                were forgotten, nothing but that tells that their numbers are taken.

        Raises:
            ValueError: the threshold or the seconds are none.
        """
        if not math.isfinite(threshold) or not forget_s >= 0:
            raise ValueError(f"threshold {threshold}, forget_s {forget_s}: give a similarity, and seconds from 0")
        self._threshold = round(threshold * STEPS)
        self._travel = travel or TravelTimes({})
        self._forget_s = forget_s
        self._members = Members()
        self._next = first

    @property
    def next_number(self) -> int:
        """The number of the identity that begins next; kept, it lets another associator go on after a restart."""
        return self._next

    def add(self, tracks: Iterable[SeenTrack]) -> dict[str, int]:
        """Take in a step: tracks that have ended since the one before, in any order.

        Returns:
            The number of each track's identity by the track's name; a new identity has the next number.

        Raises:
            DataError: a track's name is not its own, it has no camera, it ends before it begins, or its embedding is
                not float32, not L2-normalized or of another size; then none of them was taken in.
        """
        unordered = list(tracks)
        self._check(unordered)
        if not unordered:
            return {}
        step = by_end(unordered)
        self._members.forget(min(track.first_s for track in step) - self._forget_s)
        return {step[row].id: number for row, number in self._decide(step)}

    def remember(self, identities: Mapping[int, Iterable[SeenTrack]]) -> None:
        """Take in tracks whose identities are known, such as those of a gallery after a restart: `identities_in`.

        Raises:
            DataError: as of `add`.
        """
        tracks = {number: list(members) for number, members in sorted(identities.items())}
        self._check([track for members in tracks.values() for track in members])
        for number, members in tracks.items():
            for track in by_end(members):
                self._join(track, number)

    def _decide(self, step: Sequence[SeenTrack]) -> Iterator[tuple[int, int]]:
        """Yield the row of each track and its identity, in the order of the decisions."""
        scores, of = StepScores(step, self._members), self._members.of
        while (first := scores.first_open()) is not None:
            candidates = scores.candidates(self._threshold)
            possible = (pair for pair in candidates if compatible(step[pair[0]], of[pair[1]], self._travel))
            row, number = next(possible, (first, self._next))
            self._join(step[row], number)
            scores.join(row, number)
            yield row, number

    def _join(self, track: SeenTrack, number: int) -> None:
        self._members.add(track, number)
        self._next = max(self._next, number + 1)

    def _check(self, tracks: Sequence[SeenTrack]) -> None:
        check_tracks(tracks, self._members.names, self._members.embeddings.shape[1] or None)


def _steps(tracks: Iterable[SeenTrack], step_s: float) -> Iterator[list[SeenTrack]]:
    """Yield tracks, in order, in steps that end at most so many seconds after their first."""
    step: list[SeenTrack] = []
    for track in tracks:
        if step and track.last_s - step[0].last_s > step_s:
            yield step
            step = []
        step.append(track)
    if step:
        yield step
