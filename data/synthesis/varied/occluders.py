"""What stands between a camera and the road: flat pictures of poles, trees, fences, signs and people."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from reid.data.synthesis.camera import Camera
from reid.data.synthesis.road import LANE_WIDTH

__all__ = ["Standing", "draw_person", "draw_street"]

CURB = 1.5 * LANE_WIDTH + 0.4
"""Meters from the middle of the lane."""

FARTHEST = 0.7
"""How far on the way to the camera something may stand, as a fraction."""

CLOTHES = ((40, 44, 60), (120, 30, 34), (190, 186, 176), (60, 80, 60), (30, 30, 32), (60, 90, 150), (200, 150, 60))


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """A picture that stands upright at a point of the road and faces the camera.

    Attributes:
        picture: uint8 [H, W, 4], RGB and opacity.
        foot: where the middle of its lower edge is, float64 [2], meters.
        size: width and height, meters.
    """

    picture: NDArray[np.uint8]
    foot: NDArray[np.float64]
    size: tuple[float, float]


def draw_street(camera: Camera, rng: np.random.Generator) -> list[Standing]:
    """Draw what stands between a camera and the lane: tall things at the curb, low ones beside the lane."""
    standing = []
    part = min(CURB / abs(camera.eye[1]), FARTHEST)
    for draw, share in ((_pole, 0.35), (_tree, 0.30)):
        if rng.random() < share:
            # On the line from the camera to the lane, so that it does hide something.
            hidden = np.array([rng.uniform(-4, 4), 0.0])
            standing.append(draw((1 - part) * hidden + part * camera.eye[:2], rng))
    for draw, share in ((_fence, 0.30), (_sign, 0.30)):
        if rng.random() < share:
            standing.append(draw(_beside_the_lane(camera, rng), rng))
    return standing


def _beside_the_lane(camera: Camera, rng: np.random.Generator) -> NDArray[np.float64]:
    return np.array([rng.uniform(-4, 4), np.copysign(rng.uniform(1.5, 2.3), camera.eye[1])])


def draw_person(camera: Camera, rng: np.random.Generator) -> Standing:
    """Draw someone who walks along the road, on the camera's side of the lane."""
    picture = _blank(128, 64)
    shirt, trousers = (CLOTHES[k] for k in rng.integers(len(CLOTHES), size=2))
    stride = int(rng.integers(2, 12))
    for foot in (32 - stride, 32 + stride):
        cv2.line(picture, (32, 70), (foot, 126), (*trousers, 255), 10)
    cv2.ellipse(picture, (32, 46), (13, 27), 0, 0, 360, (*shirt, 255), -1)
    cv2.circle(picture, (32, 12), 9, (150, 110, 88, 255), -1)
    cv2.ellipse(picture, (32, 8), (9, 6), 0, 0, 360, (40, 30, 26, 255), -1)
    return Standing(picture, _beside_the_lane(camera, rng), (0.87, 1.74))


def _blank(height: int, width: int) -> NDArray[np.uint8]:
    return np.zeros((height, width, 4), np.uint8)


def _pole(foot: NDArray[np.float64], rng: np.random.Generator) -> Standing:
    picture = _blank(16, 16)
    shade = np.linspace(150, 70, 16)[None, :, None] * rng.uniform((0.7, 0.7, 0.7), (1.0, 1.0, 1.0))
    picture[..., :3], picture[..., 3] = shade, 255
    return Standing(picture, foot, (rng.uniform(0.08, 0.16), 8.0))


def _sign(foot: NDArray[np.float64], rng: np.random.Generator) -> Standing:
    picture = _blank(128, 48)
    cv2.line(picture, (24, 20), (24, 127), (130, 132, 134, 255), 4)
    ground, rim = ((240, 240, 240), (200, 20, 20)) if rng.random() < 0.5 else ((30, 70, 170), (235, 235, 235))
    cv2.circle(picture, (24, 24), 22, (*rim, 255), -1)
    cv2.circle(picture, (24, 24), 17, (*ground, 255), -1)
    return Standing(picture, foot, (0.8, 2.13))


def _fence(foot: NDArray[np.float64], rng: np.random.Generator) -> Standing:
    picture = _blank(64, 512)
    gray = int(rng.integers(60, 200))
    color, pitch = (gray, gray, gray, 255), int(rng.integers(14, 40))
    for x in range(pitch // 2, 512, pitch):
        cv2.line(picture, (x, 2), (x, 63), color, 3)
    for y in (4, 34) if rng.random() < 0.5 else (4,):
        cv2.line(picture, (0, y), (511, y), color, 5)
    return Standing(picture, foot, (9.0, rng.uniform(0.8, 1.15)))


def _tree(foot: NDArray[np.float64], rng: np.random.Generator) -> Standing:
    picture = _blank(256, 160)
    cv2.line(picture, (80, 90), (80, 255), (78, 62, 48, 255), int(rng.integers(6, 14)))
    green = rng.uniform((40, 70, 25), (90, 110, 50))
    for _ in range(240):
        x, y = rng.normal((80, 70), (30, 26))
        color = np.clip(green * rng.uniform(0.55, 1.3), 0, 255)
        radius = (int(rng.integers(3, 9)), int(rng.integers(2, 6)))
        cv2.ellipse(picture, (int(x), int(y)), radius, float(rng.uniform(0, 180)), 0, 360, (*color.tolist(), 255), -1)
    return Standing(picture, foot, (rng.uniform(2.0, 3.2), rng.uniform(4.0, 6.0)))
