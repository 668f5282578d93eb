"""The styles of rendered data: how the vehicles of each look, and how a camera's tracks are filmed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reid.data.synthesis import scene as plain
from reid.data.synthesis.scene import Track
from reid.data.synthesis.varied import scene as varied
from reid.data.synthesis.varied.vehicle import build_solid, numbered_vehicle
from reid.data.synthesis.vehicle import build_mesh, fleet_vehicle

__all__ = ["STYLES", "Shot", "Style", "StyleName"]

StyleName: TypeAlias = Literal["plain", "varied"]

Shot: TypeAlias = "tuple[NDArray[np.uint8], int]"
"""A crop, uint8 [H, W, 3], RGB, and its JPEG quality."""


@dataclass(frozen=True, slots=True)
class Style:
    """One way of rendering.

    Attributes:
        shoot: yields the shots of each of a camera's tracks; takes the seed, the camera's number and the tracks.
        look: returns paint and body of a vehicle, positions in `PAINTS` and `BODIES`; takes the seed and its number.
    """

    shoot: Callable[[int, int, Sequence[Track]], Iterator[Iterator[Shot]]]
    look: Callable[[int, int], tuple[int, int]]


def _shoot_plain(seed: int, camera: int, tracks: Sequence[Track]) -> Iterator[Iterator[Shot]]:
    scene = plain.draw_scene(seed, camera)
    quality = scene.camera.look.quality
    for track in tracks:
        mesh = build_mesh(fleet_vehicle(seed, track.vehicle))
        yield ((image, quality) for image in plain.film(scene, track, mesh, seed))


def _look_plain(seed: int, number: int) -> tuple[int, int]:
    vehicle = fleet_vehicle(seed, number)
    return vehicle.paint, vehicle.body


def _shoot_varied(seed: int, camera: int, tracks: Sequence[Track]) -> Iterator[Iterator[Shot]]:
    street = varied.draw_scene(seed, camera)
    for track in tracks:
        yield varied.film(street, track, build_solid(numbered_vehicle(seed, track.vehicle)))


def _look_varied(seed: int, number: int) -> tuple[int, int]:
    vehicle = numbered_vehicle(seed, number)
    return vehicle.paint, vehicle.model.body


STYLES: dict[StyleName, Style] = {
    "plain": Style(_shoot_plain, _look_plain),
    "varied": Style(_shoot_varied, _look_varied),
}
