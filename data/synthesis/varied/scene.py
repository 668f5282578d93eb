"""A camera's street, and the pictures of the tracks that it films."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.data.synthesis.camera import Camera, draw_camera
from reid.data.synthesis.road import LANE_WIDTH, draw_road
from reid.data.synthesis.scene import Track, crop_around
from reid.data.synthesis.varied.conditions import draw_conditions, draw_lamp
from reid.data.synthesis.varied.occluders import Standing, draw_person, draw_street
from reid.data.synthesis.varied.picture import Moving, expose
from reid.data.synthesis.varied.sensor import develop
from reid.data.synthesis.varied.sheets import Floats, Solid, linear
from reid.data.synthesis.varied.vehicle import build_solid, draw_vehicle

__all__ = ["Street", "draw_scene", "film"]

TRAFFIC_SHARE, PERSON_SHARE, ONCOMING_SHARE = 0.25, 0.12, 0.2
"""Fractions of tracks with another vehicle, with someone who walks there, and against the usual direction."""

SHORTEST_SIDE, LARGEST_SIDE = 90, 240
"""Pixels of a crop's longer side, which depends on the track."""

LARGEST_LOSS = 30
"""How much lower than the camera's JPEG quality a track's may be."""


@dataclass(frozen=True, slots=True, eq=False)
class Street:
    """A camera and its surroundings.

    Attributes:
        seed: of the data set.
        camera: the camera.
        road: its frame without vehicles, linear RGB, float32 [H, W, 3].
        standing: what stands between it and the lane.
        lamp: color of the street lamp, linear RGB, float64 [3].
    """

    seed: int
    camera: Camera
    road: Floats
    standing: tuple[Standing, ...]
    lamp: NDArray[np.float64]


def draw_scene(seed: int, number: int) -> Street:
    """Return the street of camera `number` (from 1) of the data set `seed`."""
    camera, rng = draw_camera(seed, number), np.random.default_rng([seed, 14, number])
    return Street(seed, camera, linear(draw_road(camera, rng)), tuple(draw_street(camera, rng)), draw_lamp(rng))


def film(street: Street, track: Track, solid: Solid) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Yield the track's crops, uint8 [H, W, 3], RGB, in order of time, and the JPEG quality of each."""
    rng = np.random.default_rng([street.seed, 15, track.vehicle, track.camera, track.order])
    light = draw_conditions(street.camera, street.lamp, rng)
    way = -1 if rng.random() < ONCOMING_SHARE else 1
    lateral, yaw = rng.uniform(-0.6, 0.6), np.radians(rng.normal(0, 5))
    start, end = rng.uniform(-6.5, -2.0), rng.uniform(2.0, 6.5)
    side = int(rng.integers(SHORTEST_SIDE, LARGEST_SIDE))
    quality = street.camera.look.quality - int(rng.integers(LARGEST_LOSS))
    traffic = _draw_traffic(street.seed, rng) if rng.random() < TRAFFIC_SHARE else None
    standing = [draw_person(street.camera, rng)] if rng.random() < PERSON_SHARE else []
    for x in way * (np.linspace(start, end, len(track.times)) + rng.uniform(-0.2, 0.2, len(track.times))):
        vehicle = Moving(solid, x, lateral + x * np.tan(yaw), yaw + (np.pi if way < 0 else 0))
        objects = [vehicle]
        if traffic:
            objects.append(Moving(traffic.solid, x + traffic.x, traffic.y, vehicle.yaw))
        window = crop_around(street.camera.project(vehicle.corners().reshape(-1, 3)), rng, side)
        image = expose(street.camera, street.road, objects, [*standing, *street.standing], window, light)
        yield develop(image, street.camera.look, light, rng), quality


def _draw_traffic(seed: int, rng: np.random.Generator) -> Moving:
    """Draw a vehicle ahead of or behind the filmed one, or beside it; its `x` is relative to the filmed vehicle."""
    solid, ahead = build_solid(draw_vehicle(rng, seed)), rng.choice((-1, 1))
    if rng.random() < 0.6:
        return Moving(solid, ahead * rng.uniform(3.5, 7.0), rng.choice((-LANE_WIDTH, LANE_WIDTH)), 0.0)
    return Moving(solid, ahead * rng.uniform(7.0, 10.0), 0.0, 0.0)
