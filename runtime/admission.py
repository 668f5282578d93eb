"""A gate in front of a gallery: crops that are too small or too blurred stay out, and are named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from reid.runtime.live.gate import refusal_of
from reid.runtime.quality import reason_to_refuse
from reid.runtime.tracklet import Frame, Tracklet

__all__ = ["admitted", "admitted_frames"]


def admitted(tracklets: Iterable[Tracklet], refused: list[str]) -> Iterator[Tracklet]:
    """Yield tracklets with the frames that may go into a gallery; one that has none is left out.

    Each frame is decoded to be judged, and again to be embedded. Whether a vehicle is cut off, a crop alone does not
    tell. What cannot be read stays, for whoever embeds it to say so.

    Args:
        tracklets: the tracklets, taken lazily.
        refused: gets the name of each frame that is kept out, with the reason.
    """
    for tracklet in tracklets:
        if frames := admitted_frames(tracklet.frames, refused):
            yield Tracklet(tracklet.id, frames, tracklet.camera, tracklet.vehicle)


def admitted_frames(frames: Sequence[Frame], refused: list[str]) -> list[Frame]:
    """Return those of a tracklet's frames that `admitted` keeps."""
    kept = []
    for number, frame in enumerate(frames):
        if reason := refusal_of(reason_to_refuse, frame, None):
            refused.append(f"{frame if isinstance(frame, Path) else f'frame {number}'}: {reason}")
        else:
            kept.append(frame)
    return kept
