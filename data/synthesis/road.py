"""The empty picture of a camera: road, lane markings, verge and a building, by one ray per pixel."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from reid.data.synthesis.camera import FRAME_HEIGHT, FRAME_WIDTH, Camera
from reid.data.synthesis.mesh import Color

__all__ = ["LANE_WIDTH", "draw_road"]

LANE_WIDTH = 3.5
TEXTURE_SIZE = 512
FARTHEST = 300.0
"""Depth in meters beyond which a ray ends in the sky."""

ASPHALTS: tuple[Color, ...] = ((98, 98, 100), (122, 120, 116), (80, 82, 86), (138, 132, 124))
VERGES: tuple[Color, ...] = ((84, 100, 60), (150, 144, 132), (120, 110, 88), (128, 128, 126))
WALLS: tuple[Color, ...] = ((150, 128, 110), (120, 124, 128), (170, 162, 148), (96, 104, 92), (112, 82, 70))
LINE: Color = (205, 203, 190)
YELLOW_LINE: Color = (200, 170, 70)


@dataclass(frozen=True, slots=True, eq=False)
class _Hits:
    """Where the pixels' rays end: world coordinates, float32 [H, W] each, and what they hit."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    z: NDArray[np.float32]
    on_wall: NDArray[np.bool_]
    in_sky: NDArray[np.bool_]


def draw_road(camera: Camera, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw the camera's frame without vehicles, uint8 [H, W, 3], RGB, before the camera's electronics."""
    hits = _cast(camera, wall_distance=rng.uniform(8.0, 13.0))
    grain = _grain(rng)
    ground = _paint_ground(hits, rng)
    wall = _paint_wall(hits, rng)
    picture = np.where(hits.on_wall[..., None], wall, ground)
    u, v = np.where(hits.on_wall, hits.x + hits.y, hits.x), np.where(hits.on_wall, hits.z, hits.y)
    coarse, fine = _sample(grain, u, v, meters=24.0), _sample(grain, u, v, meters=5.0)
    picture *= (1 + 0.10 * coarse + 0.07 * fine)[..., None]
    picture[hits.in_sky] = camera.look.sky
    return np.clip(picture, 0, 255).astype(np.uint8)


def _cast(camera: Camera, wall_distance: float) -> _Hits:
    """Follow each ray to the ground or to an upright wall along the far side of the road."""
    rays, eye = camera.rays(), camera.eye.astype(np.float32)
    wall = -np.copysign(np.float32(wall_distance), eye[1])
    with np.errstate(divide="ignore", over="ignore"):
        to_ground = np.where(rays[..., 2] < 0, -eye[2] / rays[..., 2], np.inf)
        to_wall = (wall - eye[1]) / rays[..., 1]
    to_wall = np.where(to_wall > 0, to_wall, np.inf)
    reach = np.minimum(to_ground, to_wall)
    in_sky = reach > FARTHEST
    reach = np.where(in_sky, np.float32(FARTHEST), reach)
    x, y, z = np.moveaxis(eye + reach[..., None] * rays, -1, 0)
    return _Hits(x, y, z, to_wall < to_ground, in_sky)


def _paint_ground(hits: _Hits, rng: np.random.Generator) -> NDArray[np.float32]:
    """Paint three lanes, of which vehicles drive in the middle one."""
    asphalt, verge = ASPHALTS[rng.integers(len(ASPHALTS))], VERGES[rng.integers(len(VERGES))]
    edge_color = LINE if rng.random() < 0.6 else YELLOW_LINE
    dash, phase = rng.uniform(4, 8), rng.uniform(0, 8)
    curb = 1.5 * LANE_WIDTH + rng.uniform(0.3, 1.2)
    off_center = np.abs(hits.y)
    picture = np.empty((FRAME_HEIGHT, FRAME_WIDTH, 3), np.float32)
    picture[:] = asphalt
    wheel_track = np.abs(off_center % LANE_WIDTH - 0.8) < 0.35
    picture[wheel_track] *= 0.93
    dashed = (hits.x + phase) % dash < 0.4 * dash
    picture[(np.abs(off_center - 0.5 * LANE_WIDTH) < 0.08) & dashed] = LINE
    picture[np.abs(off_center - 1.5 * LANE_WIDTH) < 0.09] = edge_color
    picture[off_center > curb] = (158, 156, 150)
    picture[off_center > curb + 0.3] = verge
    return picture


def _paint_wall(hits: _Hits, rng: np.random.Generator) -> NDArray[np.float32]:
    """Paint a facade of brick courses, sometimes with windows."""
    picture = np.empty((FRAME_HEIGHT, FRAME_WIDTH, 3), np.float32)
    picture[:] = WALLS[rng.integers(len(WALLS))]
    course = rng.uniform(0.4, 1.2)
    picture[hits.z % course < 0.06] *= 0.82
    picture[hits.x % (2.5 * course) < 0.06] *= 0.86
    if rng.random() < 0.6:
        pitch = rng.uniform(2.0, 3.5)
        window = (hits.x % pitch < 0.55 * pitch) & (np.abs(hits.z % 3.2 - 1.7) < 0.7)
        picture[window] = (66, 76, 86)
    return picture


def _grain(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a tileable texture of several scales, mean 0 and standard deviation 1."""
    total = np.zeros((TEXTURE_SIZE, TEXTURE_SIZE), np.float32)
    for cells in (16, 64, 256):
        noise = np.pad(rng.standard_normal((cells, cells), dtype=np.float32), 2, mode="wrap")
        step = TEXTURE_SIZE // cells
        large = cv2.resize(noise, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
        total += large[2 * step : -2 * step, 2 * step : -2 * step]
    return np.asarray((total - total.mean()) / total.std(), dtype=np.float32)


def _sample(
    grain: NDArray[np.float32], u: NDArray[np.float32], v: NDArray[np.float32], meters: float
) -> NDArray[np.float32]:
    """Look up the texture at (u, v); one tile covers `meters`."""
    scale = TEXTURE_SIZE / meters
    columns, rows = (u * scale).astype(np.int32) % TEXTURE_SIZE, (v * scale).astype(np.int32) % TEXTURE_SIZE
    return grain[rows, columns]
