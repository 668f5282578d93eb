"""From light to a picture: glare, rain, lens, shot and read noise, tone."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from reid.data.synthesis.camera import Look
from reid.data.synthesis.varied.conditions import Conditions
from reid.data.synthesis.varied.sheets import Floats

__all__ = ["develop"]

SHOT = 0.06
"""Variance of the shot noise at full scale, per read noise: a sensor that is amplified more has more of both."""


def develop(image: Floats, look: Look, light: Conditions, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the picture, uint8 [H, W, 3], of the light on the sensor, linear RGB, float32 [H, W, 3]."""
    exposed = image * light.exposure
    if light.wet:
        exposed = _rain(exposed, light.wet, rng)
    glare = cv2.GaussianBlur(np.clip(exposed - 0.9, 0, 3), (0, 0), 0.03 * max(image.shape[:2]))
    exposed = cv2.GaussianBlur(exposed + 0.9 * glare, (0, 0), look.blur)
    gray = np.full((3, 3), (1 - look.saturation) / 3)
    gains = look.gains / look.gains.mean()
    mixed = np.clip(cv2.transform(exposed, np.diag(gains) @ (gray + look.saturation * np.eye(3))), 0, None)
    mixed += np.sqrt(light.noise**2 + SHOT * light.noise * mixed) * rng.standard_normal(image.shape, dtype=np.float32)
    toned = np.clip(mixed, 0, 1) ** (1 / 2.2)
    return np.asarray(255 * (toned * (1.25 - 0.25 * toned)) + 0.5, np.float32).clip(0, 255).astype(np.uint8)


def _rain(image: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Draw streaks of falling drops, and drops on the lens."""
    height, width = image.shape[:2]
    streaks, slant = np.zeros((height, width), np.float32), rng.uniform(-0.3, 0.3)
    for _ in range(int(strength * 0.0025 * height * width)):
        x, y, length = rng.uniform((0, 0, 4), (width, height, 0.12 * height + 5))
        end = (int(x + slant * length), int(y + length))
        cv2.line(streaks, (int(x), int(y)), end, float(rng.uniform(0.1, 0.5)), 1, cv2.LINE_AA)
    image = image + 0.22 * cv2.blur(streaks, (1, 3))[..., None] * (0.3 + image.mean())
    drops = np.zeros((height, width), np.float32)
    for _ in range(rng.poisson(1.5 * strength)):
        x, y, radius = rng.uniform((0, 0, 0.03 * width), (width, height, 0.09 * width))
        cv2.circle(drops, (int(x), int(y)), int(radius), 1.0, -1)
    if drops.any():
        wet = cv2.blur(drops, (5, 5))[..., None]
        image = image + wet * (1.1 * cv2.GaussianBlur(image, (0, 0), 0.04 * width) - image)
    return np.asarray(image, np.float32)
