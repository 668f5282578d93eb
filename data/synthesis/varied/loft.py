"""From a model's numbers to its surface: cross sections along the length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from reid.data.synthesis.varied.models import Shape
from reid.data.synthesis.varied.sheets import Floats

__all__ = ["Outline", "box_points", "loft_points", "trace"]

SHOULDER = 0.38
"""The share of a section's texels below the shoulder."""

BUMPER = 0.5
"""Height above which nose and tail lean back, in meters."""

STEP = 0.01
SQUARE = 40.0
"""Exponent of a superellipse that is nearly a rectangle."""

Curve: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """The side view, sampled every `STEP` meters from tail to nose.

    Attributes:
        x: meters, 0 in the middle.
        top: height of the center line.
        belt: height of the shoulder.
        sill: height of the lower edge.
    """

    x: Curve
    top: Curve
    belt: Curve
    sill: Curve

    def at(self, curve: Curve, x: Curve) -> Curve:
        """Return one of the curves' heights at `x`."""
        return np.asarray(np.interp(x, self.x, curve))


def trace(shape: Shape) -> Outline:
    """Return the side view: straight lines between the model's points, with rounded corners."""
    half = shape.length / 2
    x = np.arange(-half, half + STEP, STEP)
    part = (half - x) / shape.length  # 0 at the nose
    stations = (0.0, shape.cowl, shape.header, shape.crest, shape.deck, 1.0)
    tail = min(shape.deck_height, shape.height) - 0.03
    heights = (shape.nose, shape.hood, shape.height - 0.02, shape.height, shape.deck_height, tail)
    top = _smooth(np.interp(part, stations, heights), shape.softness)
    belt = np.minimum(shape.belt + shape.wedge * part, top - 0.04)
    sill = shape.clearance + 0.10 * np.abs(2 * part - 1) ** 8
    return Outline(x, top, belt, sill)


def _smooth(curve: Curve, radius: float) -> Curve:
    reach = int(3 * radius / STEP)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * STEP / (0.6 * radius)) ** 2)
    padded = np.pad(curve, reach, mode="reflect", reflect_type="odd")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def loft_points(shape: Shape, outline: Outline, rows: int, columns: int) -> Floats:
    """Return the body's points, float32 [rows, columns, 3].

    Rows run from nose to tail, columns from the right sill over the roof to the left one.
    """
    x, width = (values[:, None] for values in _plan(shape.length, shape.width, shape.plan, rows))
    top, belt, sill = (outline.at(curve, x) for curve in (outline.top, outline.belt, outline.sill))
    side = np.linspace(1, -1, columns)[None]
    around = 1 - np.abs(side)  # 0 at the sill, 1 on the center line
    below = np.clip(around / SHOULDER, 0, 1)
    theta = _even_angles(shape, np.clip((around - SHOULDER) / (1 - SHOULDER), 0, 1))
    rise = top - belt
    power = 2 / shape.section
    z = np.where(around < SHOULDER, sill + (belt - sill) * below, belt + rise * np.abs(np.sin(theta)) ** power)
    bulge = 1 - 0.07 * (1 - below) ** 2 - 0.03 * below**3
    cabin = np.clip(rise / 0.35, 0, 1) * np.clip((z - belt) / 0.07, 0, 1)
    y = np.where(around < SHOULDER, bulge, 0.97 * np.abs(np.cos(theta)) ** power)
    y = -np.sign(side) * width * (y - cabin * y * 2 * shape.lean / shape.width)
    ends = np.abs(2 * x / shape.length) ** 4
    x = x - np.sign(x) * ends * shape.rake * np.clip(z - BUMPER, -0.4, None) ** 2
    return np.stack(np.broadcast_arrays(x, y, z), axis=-1).astype(np.float32)


def _plan(length: float, width: float, exponent: float, rows: int) -> tuple[Curve, Curve]:
    """Return x and half width of `rows` stations, evenly spaced along a superellipse seen from above."""
    turn = np.linspace(np.pi / 2, -np.pi / 2, 4001)
    x = np.sign(turn) * np.abs(np.sin(turn)) ** (2 / exponent) * length / 2
    y = np.abs(np.cos(turn)) ** (2 / exponent) * width / 2
    y[[0, -1]] = 0.0  # where rounding leaves a gap that a high power widens
    return _even(x, y, rows)


def _even(x: Curve, y: Curve, count: int) -> tuple[Curve, Curve]:
    way = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    places = np.linspace(0, way[-1], count)
    return np.interp(places, way, x), np.interp(places, way, y)


def _even_angles(shape: Shape, part: Curve) -> Curve:
    """Return the superellipse's angles at which texels are evenly spaced across the cabin."""
    theta = np.linspace(0, np.pi / 2, 2001)
    power = 2 / shape.section
    across = np.abs(np.cos(theta)) ** power * shape.width / 2
    up = np.sin(theta) ** power * (shape.height - shape.belt)
    way = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(across), np.diff(up)))])
    return np.interp(part, way / way[-1], theta)


def box_points(length: float, width: float, low: float, high: float, rows: int, columns: int) -> Floats:
    """Return the points of a box around x = 0 between two heights, in the order of `loft_points`."""
    x, half = (values[:, None] for values in _plan(length, width, SQUARE, rows))
    side = np.linspace(1, -1, columns)[None]
    around = 1 - np.abs(side)
    edge = (high - low) / (high - low + width / 2)
    z = low + (high - low) * np.clip(around / edge, 0, 1)
    y = -np.sign(side) * half * np.clip((1 - around) / (1 - edge), 0, 1)
    return np.stack(np.broadcast_arrays(x, y, z), axis=-1).astype(np.float32)
