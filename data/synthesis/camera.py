"""A surveillance camera: where it stands, how it projects, and the light and electronics of its pictures."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from reid.data.synthesis.mesh import Points

__all__ = ["FRAME_HEIGHT", "FRAME_WIDTH", "Camera", "Look", "draw_camera"]

FRAME_WIDTH, FRAME_HEIGHT = 1280, 720
NEAREST = 1.0

AZIMUTHS = (25.0, 205.0, 95.0, 165.0, -40.0, 235.0, 140.0, -12.0)
"""Where successive cameras stand, in degrees from the direction of travel, counterclockwise: 0 sees fronts."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """How a camera renders light.

    Attributes:
        sun: unit vector toward the sun, float64 [3].
        sunlight: strength of direct light; ambient light makes up the rest.
        sky: RGB that glass and paint mirror, 0 to 255, float64 [3].
        gains: factors of R, G and B (exposure and color temperature), float64 [3].
        gamma: exponent of the tone curve.
        saturation: 0 is gray, 1 leaves colors as they are.
        blur: standard deviation of the lens blur, in pixels.
        noise: standard deviation of the sensor noise, 0 to 255.
        quality: JPEG quality, 0 to 100.
    """

    sun: Points
    sunlight: float
    sky: NDArray[np.float64]
    gains: NDArray[np.float64]
    gamma: float
    saturation: float
    blur: float
    noise: float
    quality: int


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """A pinhole camera over a road: the lane runs along x through the origin, z is up, meters.

    Attributes:
        eye: position, float64 [3].
        rotation: world to camera (x right, y down, z into the picture), float64 [3, 3].
        focal: focal length, in pixels; the principal point is the middle of the frame.
        look: light and electronics.
    """

    eye: Points
    rotation: NDArray[np.float64]
    focal: float
    look: Look

    @classmethod
    def aimed(cls, eye: Points, target: Points, focal: float, look: Look) -> Camera:
        """Build an upright camera at `eye` with `target` (both [3]) in the middle of its frame."""
        ahead = (target - eye) / np.linalg.norm(target - eye)
        right = np.cross(ahead, (0.0, 0.0, 1.0))
        right /= np.linalg.norm(right)
        return cls(eye, np.stack([right, np.cross(ahead, right), ahead]), focal, look)

    def project(self, points: Points) -> NDArray[np.float64]:
        """Project world points [n, 3] to pixels, float64 [n, 2].

        Points less than `NEAREST` meters deep, or behind the camera, land far outside the frame, on their own side.
        """
        x, y, depth = self.rotation @ (points - self.eye).T
        depth = np.maximum(depth, NEAREST)
        return np.stack([FRAME_WIDTH / 2 + self.focal * x / depth, FRAME_HEIGHT / 2 + self.focal * y / depth], axis=1)

    def rays(self) -> NDArray[np.float32]:
        """Return the world direction of each pixel's ray, not normalized, float32 [H, W, 3]."""
        x = (np.arange(FRAME_WIDTH, dtype=np.float32) - FRAME_WIDTH / 2) / self.focal
        y = (np.arange(FRAME_HEIGHT, dtype=np.float32) - FRAME_HEIGHT / 2) / self.focal
        local = np.stack([*np.meshgrid(x, y), np.ones((FRAME_HEIGHT, FRAME_WIDTH), np.float32)], axis=-1)
        return cv2.transform(local, self.rotation.T.astype(np.float32)).astype(np.float32, copy=False)


def _draw_look(rng: np.random.Generator) -> Look:
    turn, height = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(30, 65))
    warmth = rng.uniform(-0.10, 0.10)
    exposure = rng.uniform(1.0, 1.35)
    return Look(
        sun=np.array([np.cos(turn) * np.cos(height), np.sin(turn) * np.cos(height), np.sin(height)]),
        sunlight=rng.uniform(0.15, 0.65),
        sky=np.array([185.0, 205.0, 225.0]) * rng.uniform(0.75, 1.05),
        gains=exposure * np.array([1 + warmth, 1 + rng.uniform(-0.04, 0.04), 1 - warmth]),
        gamma=rng.uniform(0.8, 1.1),
        saturation=rng.uniform(0.75, 1.15),
        blur=rng.uniform(0.3, 0.75),
        noise=rng.uniform(1.5, 5.0),
        quality=int(rng.integers(72, 94)),
    )


def draw_camera(seed: int, number: int) -> Camera:
    """Return camera `number` (from 1) of the data set `seed`, which is the same whatever the size of the set."""
    rng = np.random.default_rng([seed, 4, number])
    azimuth = np.radians(AZIMUTHS[(number - 1) % len(AZIMUTHS)] + rng.uniform(-10, 10))
    distance, height = rng.uniform(11, 19), rng.uniform(4.5, 8.0)
    eye = np.array([distance * np.cos(azimuth), distance * np.sin(azimuth), height])
    pixels_per_meter = rng.uniform(46, 60)
    focal = pixels_per_meter * float(np.linalg.norm(eye))
    return Camera.aimed(eye, np.array([0.0, 0.0, 0.8]), focal, _draw_look(rng))
