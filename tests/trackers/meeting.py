"""A short video, rendered: two vehicles drive toward each other, both are lost for some frames, and both drive back.

A tracker that goes by motion alone believes that they drove on, and swaps their ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reid.data.synthesis.camera import Camera
from reid.data.synthesis.render import Placed, Window, render
from reid.data.synthesis.scene import draw_scene
from reid.data.synthesis.vehicle import build_mesh, fleet_vehicle

__all__ = ["Moment", "Tracker", "ids_of", "mixed_up", "moments"]

SEED, CAMERA = 0, 3  # which sees the road from its side
FLEETS = 8, 12
"""Of two fleets, so of two paints and bodies; the first is in the training split, the second in the test split."""

WINDOW = Window(0, 0, 0.5, 640, 360)
COMING, LOST, STEP = 10, 3, 0.6
"""Frames until the vehicles are lost, frames in which they are, and meters that a vehicle drives in a frame."""


@dataclass(frozen=True, eq=False)
class Moment:
    """A picture, uint8 BGR [H, W, 3], and the boxes of the two vehicles, left, top, right, bottom; none while lost."""

    picture: NDArray[np.uint8]
    corners: NDArray[np.float32]


class Tracker(Protocol):
    """What BoxMOT and Ultralytics have in common."""

    def update(self, detections: Any, picture: NDArray[np.uint8], /) -> NDArray[np.float32]: ...  # noqa: ANN401


def moments() -> Iterator[Moment]:
    """Film the meeting."""
    scene = draw_scene(SEED, CAMERA)
    meshes = [build_mesh(fleet_vehicle(SEED, number)) for number in FLEETS]
    nearest = STEP * (LOST + 1) / 2
    for frame in range(2 * COMING + LOST):
        away = nearest + STEP * (max(COMING - 1 - frame, 0) + max(frame - COMING - LOST, 0))
        placed = [Placed(mesh, side * away, 0.7 * side, 0.0) for mesh, side in zip(meshes, (-1, 1), strict=True)]
        corners = np.array([_corners(scene.camera, one) for one in placed], np.float32)
        shown = np.empty((0, 4), np.float32) if COMING <= frame < COMING + LOST else corners
        yield Moment(np.ascontiguousarray(render(scene.camera, scene.road, placed, WINDOW)[:, :, ::-1]), shown)


def _corners(camera: Camera, placed: Placed) -> list[float]:
    pixels = WINDOW.scale * camera.project(placed.vertices())
    return [*pixels.min(axis=0), *pixels.max(axis=0)]


def ids_of(track: Callable[[Moment], dict[int, int]]) -> list[tuple[int, int]]:
    """Return the ids of the two vehicles just before they are lost, and at the end of the video.

    Args:
        track: runs the tracker on a moment, and returns the ids of its boxes by their index.
    """
    ids = [track(moment) for moment in moments()]
    return [(of[0], of[1]) for of in (ids[COMING - 1], ids[-1])]


def mixed_up(before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Return whether a vehicle has the id that the other one had before."""
    return after[0] == before[1] or after[1] == before[0]
