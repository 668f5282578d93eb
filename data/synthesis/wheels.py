"""The wheels: treads on the ground; arches, tires and rims on the flanks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from reid.data.synthesis.body import Body
from reid.data.synthesis.marks import Marks
from reid.data.synthesis.mesh import CHROME, Color, Face, Level, Part, Points, Surface, disc

__all__ = ["tread", "wheel_faces"]

TIRE: Color = (32, 32, 34)
GAP: Color = (22, 22, 24)
TREAD_WIDTH = 0.22
ARCH_LIFT = 0.05
"""Height of the arch's center above the hub, in meters."""


def wheel_faces(body: Body, marks: Marks) -> Iterator[Face]:
    """Yield arch, tire, rim and the gaps between the spokes of every wheel."""
    radius = body.wheel_radius
    for x in body.axles:
        for side in (-1, 1):
            hub = np.array([x, side * (body.waist.half_width + 0.01), radius])
            yield disc(hub + np.array([0.0, 0.0, ARCH_LIFT]), 1.16 * radius, side, GAP)
            yield disc(hub, radius, side, TIRE)
            yield disc(hub, 0.68 * radius, side, marks.rim, CHROME)
            for turn in 2 * np.pi * np.arange(marks.spokes) / marks.spokes:
                yield _spoke_gap(hub, 0.60 * radius, side, turn, np.pi / marks.spokes)


def _spoke_gap(hub: Points, radius: float, side: int, turn: float, span: float) -> Face:
    polar = ((0.30, 0.0), (1.0, -0.55 * span), (1.0, 0.55 * span))
    points = [hub + radius * r * np.array([np.cos(turn + a), 0.0, np.sin(turn + a)]) for r, a in polar]
    return Face(np.array(points), np.array([0.0, side, 0.0]), GAP)


def tread(body: Body, x: float, side: int) -> Part:
    """Return the tread of the wheel at `x` on the left (`side` 1) or right (-1)."""
    outer, radius = body.waist.half_width, body.wheel_radius
    turn = np.linspace(0, 2 * np.pi, 11)
    rim = np.stack([x + radius * np.cos(turn), radius + radius * np.sin(turn)], axis=1)
    y0, y1 = sorted((side * outer, side * (outer - TREAD_WIDTH)))
    faces = []
    for (xa, za), (xb, zb) in pairwise(rim):
        quad = [(xa, y0, za), (xa, y1, za), (xb, y1, zb), (xb, y0, zb)]
        faces.append(Surface.spanned(quad).face(TIRE))
    return Part(Level.WHEELS, faces)
