"""From marks to faces: emblems, stripes, stickers, stains, and what is carried on the roof or in the bed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from reid.data.synthesis.body import Body
from reid.data.synthesis.marks import Emblem, Marks, Patch, Sticker, Stripe
from reid.data.synthesis.mesh import GLASS, LAMP, PAINT, Color, Face, Level, Part, Surface, box

__all__ = ["emblem_faces", "fixture_faces", "freight", "patch_face", "sticker_face", "stripe_faces"]

BAR: Color = (45, 46, 50)
ROOF_GLASS: Color = (28, 32, 38)

FIGURES: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "disc": (tuple((0.62 * np.cos(t), 0.62 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 12, False)),),
    "diamond": (((-0.8, 0.0), (0.0, -0.8), (0.8, 0.0), (0.0, 0.8)),),
    "triangle": (((-0.8, -0.7), (0.8, -0.7), (0.0, 0.8)),),
    "cross": (
        ((-0.8, -0.25), (0.8, -0.25), (0.8, 0.25), (-0.8, 0.25)),
        ((-0.25, -0.8), (0.25, -0.8), (0.25, 0.8), (-0.25, 0.8)),
    ),
    "bars": tuple(((x, -0.8), (x + 0.3, -0.8), (x + 0.3, 0.8), (x, 0.8)) for x in (-0.75, -0.15, 0.45)),
    "chevron": (
        ((-0.9, -0.6), (-0.4, -0.6), (0.25, 0.6), (-0.25, 0.6)),
        ((0.9, -0.6), (0.4, -0.6), (-0.25, 0.6), (0.25, 0.6)),
    ),
    "halves": (((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0)),),
}
"""Convex polygons in the square from -1 to 1."""

SQUARE = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))


def emblem_faces(surface: Surface, emblem: Emblem, place: tuple[float, float]) -> Iterator[Face]:
    """Yield the emblem around (u, v) = `place`, shrunk to fit a smaller surface."""
    half = 0.5 * min(emblem.size, 0.9 * surface.height, 0.9 * surface.width)
    scale = np.array([half / surface.width, half / surface.height])
    yield surface.decal(place + scale * SQUARE, emblem.ground, PAINT)
    for polygon in FIGURES[emblem.shape]:
        yield surface.decal(place + scale * polygon, emblem.figure, PAINT)


def stripe_faces(surface: Surface, stripe: Stripe) -> Iterator[Face]:
    """Yield the stripes: along u on a flank, along v over the top."""
    for k in range(stripe.count):
        start = stripe.position + 1.6 * k * stripe.width
        across, along = (start, start + stripe.width), (0.0, 1.0)
        u, v = (across, along) if stripe.lengthwise else (along, across)
        yield surface.rectangle(u, v, stripe.color, PAINT)


def sticker_face(window: Surface, sticker: Sticker) -> Face:
    """Return the sticker behind the glass, 0.24 by 0.18 m."""
    (u, v), half = sticker.place, (0.12 / window.width, 0.09 / window.height)
    return window.rectangle((u - half[0], u + half[0]), (v - half[1], v + half[1]), sticker.color, PAINT)


def patch_face(surface: Surface, patch: Patch) -> Face:
    """Return the patch as a polygon on the surface."""
    turn = np.linspace(0, 2 * np.pi, len(patch.outline), endpoint=False)
    ring = patch.radius * np.array(patch.outline) * np.array([np.cos(turn), np.sin(turn)])
    return surface.decal(patch.place + ring.T / (surface.width, surface.height), patch.color)


def fixture_faces(roof: Surface, marks: Marks) -> list[Face]:
    """Return what is built into the roof (sunroof, hatch) or stands on it."""
    front, half_width, height = roof.corners[0][0], roof.width / 2, float(roof.corners[:, 2].max())
    x = front - marks.fixture_place * roof.height
    color = marks.fixture_color
    match marks.fixture:
        case "sunroof":
            return [roof.rectangle((0.22, 0.78), (0.15, 0.50), ROOF_GLASS, GLASS)]
        case "hatch":
            v = 0.7 * marks.fixture_place
            return [roof.rectangle((0.25, 0.75), (v, v + 0.25), color)]
        case "rack":
            return _rack(front, roof.height, half_width, height)
        case "ladder":
            return _ladder(front, roof.height, half_width, height, color)
        case "sign":
            return box((x - 0.12, -0.32, height), (x + 0.12, 0.32, height + 0.2), color, LAMP)
        case "beacon":
            return box((x - 0.12, -0.9 * half_width, height), (x + 0.12, 0.9 * half_width, height + 0.1), color)
        case "case":
            return box((x - 0.6, 0.0, height), (x + 0.6, 0.8 * half_width, height + 0.24), color, PAINT)
        case _:
            return []


def _rack(front: float, length: float, half_width: float, height: float) -> list[Face]:
    bars = [front - part * length for part in (0.15, 0.5, 0.85)]
    low, high = height + 0.06, height + 0.12
    return [face for x in bars for face in box((x - 0.05, -half_width, low), (x + 0.05, half_width, high), BAR)]


def _ladder(front: float, length: float, half_width: float, height: float, color: Color) -> list[Face]:
    low, high = height + 0.06, height + 0.12
    x0, x1 = front - 0.95 * length, front - 0.05 * length
    y0, y1 = -0.7 * half_width, 0.0
    spans = [(x0, x1, y, y + 0.07) for y in (y0, y1)]
    spans += [(x, x + 0.07, y0, y1) for x in np.linspace(x0 + 0.1, x1 - 0.15, 5)]
    return [face for xa, xb, ya, yb in spans for face in box((xa, ya, low), (xb, yb, high), color)]


def freight(body: Body, marks: Marks) -> list[Part]:
    """Return the boxes in an open bed, from the cabin backwards."""
    start, floor, parts = body.cabin[0] - 0.1, body.belt.rear_height, []
    for k, color in enumerate(marks.freight):
        x, shift = start - 0.55 * k, 0.2 * (-1) ** k
        faces = box((x - 0.48, shift - 0.45, floor), (x, shift + 0.45, floor + 0.25 + 0.1 * k), color)
        parts.append(Part(Level.UPPER, faces))
    return parts
