"""A camera's surroundings: its empty road and street pole, and the tracks of vehicles that drive through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid.data.synthesis.camera import Camera, draw_camera
from reid.data.synthesis.mesh import Level, Mesh, Part, box
from reid.data.synthesis.render import Placed, Window, develop, render
from reid.data.synthesis.road import LANE_WIDTH, draw_road
from reid.data.synthesis.vehicle import build_mesh, draw_vehicle

__all__ = ["Scene", "Track", "crop_around", "draw_scene", "film", "plan_tracks"]

LARGEST_SIDE = 240
"""Pixels; a crop that would be larger is scaled down."""

FEWEST_CAMERAS = 3
FEWEST_FRAMES, MOST_FRAMES = 4, 8
SECOND_TRACK_SHARE, POLE_SHARE, TRAFFIC_SHARE = 0.12, 0.4, 0.3
"""Fractions of a vehicle's cameras that it passes twice, of cameras behind a pole, of tracks with another vehicle."""

POLE_DISTANCE = 1.5 * LANE_WIDTH + 0.4
TIME_BETWEEN_TRACKS = 40_000


@dataclass(frozen=True, slots=True)
class Track:
    """One vehicle's passage under one camera; `times` are those of its frames, in units of the clock."""

    vehicle: int
    camera: int
    order: int
    """Number of this passage among the vehicle's passages under this camera, from 0."""
    times: tuple[int, ...]

    def names(self) -> list[str]:
        """Return the images' names: vehicle_camera_time_frame.jpg, as in VeRi-776."""
        prefix = f"{self.vehicle:04d}_c{self.camera:03d}"
        return [f"{prefix}_{time:08d}_{frame}.jpg" for frame, time in enumerate(self.times)]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A camera, its frame without vehicles (uint8 [H, W, 3], RGB), and the poles in front of it."""

    camera: Camera
    road: NDArray[np.uint8]
    poles: tuple[Placed, ...]


def plan_tracks(seed: int, vehicle: int, cameras: int) -> list[Track]:
    """Return the tracks of `vehicle`: under at least 3 cameras (or all, if there are fewer), some twice."""
    rng = np.random.default_rng([seed, 5, vehicle])
    seen_by = rng.integers(min(FEWEST_CAMERAS, cameras), cameras + 1)
    tracks = []
    for camera in sorted(rng.choice(cameras, size=seen_by, replace=False) + 1):
        for order in range(2 if rng.random() < SECOND_TRACK_SHARE else 1):
            start = TIME_BETWEEN_TRACKS * order + rng.integers(1, TIME_BETWEEN_TRACKS // 2)
            steps = rng.integers(5, 11, size=rng.integers(FEWEST_FRAMES, MOST_FRAMES + 1))
            tracks.append(Track(vehicle, int(camera), order, tuple((start + np.cumsum(steps)).tolist())))
    return tracks


def draw_scene(seed: int, number: int) -> Scene:
    """Return the scene of camera `number` (from 1) of the data set `seed`."""
    camera, rng = draw_camera(seed, number), np.random.default_rng([seed, 6, number])
    road = draw_road(camera, rng)
    hidden, has_pole = rng.uniform(-3, 3), rng.random() < POLE_SHARE
    part = POLE_DISTANCE / abs(camera.eye[1])
    if not has_pole or part > 0.7:
        return Scene(camera, road, ())
    # On the line from the camera to the lane at x = `hidden`, so that it does hide something.
    foot = (1 - part) * np.array([hidden, 0.0]) + part * camera.eye[:2]
    pole = Mesh.of([Part(Level.LOWER, box((-0.07, -0.07, 0.0), (0.07, 0.07, 7.0), (118, 122, 120)))])
    return Scene(camera, road, (Placed(pole, foot[0], foot[1], 0.0),))


def film(scene: Scene, track: Track, mesh: Mesh, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the track's crops of the vehicle `mesh`, uint8 [H, W, 3], RGB, in order of time."""
    rng = np.random.default_rng([seed, 7, track.vehicle, track.camera, track.order])
    lateral, yaw = rng.uniform(-0.4, 0.4), np.radians(rng.uniform(-3, 3))
    start, end = rng.uniform(-6.5, -3.0), rng.uniform(3.0, 6.5)
    brightness = rng.uniform(0.9, 1.1)
    traffic = _draw_traffic(rng) if rng.random() < TRAFFIC_SHARE else None
    for x in np.linspace(start, end, len(track.times)) + rng.uniform(-0.2, 0.2, len(track.times)):
        vehicle = Placed(mesh, x, lateral + x * np.tan(yaw), yaw)
        objects = [vehicle, *scene.poles]
        if traffic:
            objects.append(Placed(traffic.mesh, x + traffic.x, traffic.y, 0.0))
        window = crop_around(scene.camera.project(vehicle.vertices()), rng)
        image = render(scene.camera, scene.road, objects, window)
        yield develop(image, scene.camera.look, brightness, rng)


def _draw_traffic(rng: np.random.Generator) -> Placed:
    """Draw a vehicle ahead of or behind the filmed one, in the same lane or beside it.

    Its `x` is relative to the filmed vehicle; it is near enough to hide an edge of that vehicle, but no more.
    """
    mesh, ahead = build_mesh(draw_vehicle(rng)), rng.choice((-1, 1))
    if rng.random() < 0.6:
        return Placed(mesh, ahead * rng.uniform(5.5, 8.0), rng.choice((-LANE_WIDTH, LANE_WIDTH)), 0.0)
    return Placed(mesh, ahead * rng.uniform(8.5, 11.0), 0.0, 0.0)


def crop_around(pixels: NDArray[np.float64], rng: np.random.Generator, largest_side: int = LARGEST_SIDE) -> Window:
    """Return the box around a vehicle's points in the frame, [n, 2], drawn as loosely as a detector would."""
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    margins = rng.uniform(0.01, 0.09, size=(2, 2)) * (high - low)
    (left, top), (width, height) = low - margins[0], high - low + margins.sum(axis=0)
    scale = min(1.0, largest_side / max(width, height))
    return Window(float(left), float(top), scale, round(width * scale), round(height * scale))
