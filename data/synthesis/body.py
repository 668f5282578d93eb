"""The body types: side view and plan of each as a few rings, in meters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reid.data.synthesis.mesh import Points, Surface

__all__ = ["BODIES", "Body", "Loft", "Ring"]

SIDES = ("front", "front_left", "left", "rear_left", "rear", "rear_right", "right", "front_right")


@dataclass(frozen=True, slots=True)
class Ring:
    """A rectangle with cut corners around the vehicle, level or sloping; lengths in meters.

    Attributes:
        rear: x of its rear edge.
        front: x of its front edge.
        half_width: greatest |y|.
        rear_height: z at the rear edge.
        front_height: z at the front edge.
        cut: length cut off each corner along both edges.
    """

    rear: float
    front: float
    half_width: float
    rear_height: float
    front_height: float
    cut: float = 0.16

    def height_at(self, x: float) -> float:
        """Return z of the ring's plane at `x`."""
        return float(np.interp(x, (self.rear, self.front), (self.rear_height, self.front_height)))

    def points(self) -> Points:
        """Return the corners, [8, 3], counterclockwise seen from above, starting at the front right."""
        w, c = self.half_width, self.cut
        plan = [
            (self.front, c - w), (self.front, w - c), (self.front - c, w), (self.rear + c, w),
            (self.rear, w - c), (self.rear, c - w), (self.rear + c, -w), (self.front - c, -w),
        ]  # fmt: skip
        return np.array([(x, y, self.height_at(x)) for x, y in plan])


@dataclass(frozen=True, slots=True)
class Loft:
    """The convex solid between two rings."""

    lower: Ring
    upper: Ring

    def sides(self) -> dict[str, Surface]:
        """Return the eight surfaces around the solid, by name; on left and right, u runs from nose to tail."""
        low, high = self.lower.points(), self.upper.points()
        quads = {
            name: Surface.spanned([low[k], low[(k + 1) % 8], high[(k + 1) % 8], high[k]])
            for k, name in enumerate(SIDES)
        }
        return quads | {"right": quads["right"].mirrored()}

    def top(self, rear: float | None = None, front: float | None = None) -> Surface:
        """Return the lid from `rear` to `front` (x, default: all of it); u to the left, v to the tail."""
        ring = self.upper
        x0, x1 = ring.rear if rear is None else rear, ring.front if front is None else front
        w = ring.half_width
        plan = ((x1, -w), (x1, w), (x0, w), (x0, -w))
        return Surface.spanned([(x, y, ring.height_at(x)) for x, y in plan])


@dataclass(frozen=True, slots=True)
class Body:
    """One body type.

    Attributes:
        name: the type's name in VeRi-776.
        sill: the lowest ring.
        waist: the widest ring.
        belt: the ring under the windows; hood and trunk lid lie in its plane.
        cabin: foot of the cabin on the belt: x of its rear edge, x of its front edge, half width.
        roof: the cabin's upper ring.
        panes: the side windows, as ranges of u from the nose.
        glass: the range of v that the windows cover.
        axles: the x of each axle.
        wheel_radius: radius of the wheels, in meters.
        cargo: the box of a truck; None for all others.
        bed: whether the deck behind the cabin is an open bed.
    """

    name: str
    sill: Ring
    waist: Ring
    belt: Ring
    cabin: tuple[float, float, float]
    roof: Ring
    panes: tuple[tuple[float, float], ...]
    axles: tuple[float, ...]
    glass: tuple[float, float] = (0.12, 0.90)
    wheel_radius: float = 0.32
    cargo: Loft | None = None
    bed: bool = False

    def lofts(self) -> tuple[Loft, Loft, Loft]:
        """Return skirt, shoulder and cabin, from the ground up."""
        rear, front, half_width = self.cabin
        foot = Ring(rear, front, half_width, self.belt.height_at(rear), self.belt.height_at(front))
        return Loft(self.sill, self.waist), Loft(self.waist, self.belt), Loft(foot, self.roof)


TWO_PANES = ((0.10, 0.50), (0.54, 0.90))
THREE_PANES = ((0.10, 0.38), (0.41, 0.67), (0.70, 0.93))
BUS_PANES = tuple((0.02 + 0.162 * k, 0.165 + 0.162 * k) for k in range(6))

BODIES = (
    Body(
        name="sedan",
        sill=Ring(-2.28, 2.28, 0.84, 0.22, 0.22),
        waist=Ring(-2.36, 2.36, 0.90, 0.62, 0.54, 0.28),
        belt=Ring(-2.26, 2.18, 0.84, 1.00, 0.80, 0.26),
        cabin=(-1.80, 1.05, 0.80),
        roof=Ring(-1.10, 0.25, 0.60, 1.44, 1.46),
        panes=TWO_PANES,
        axles=(1.42, -1.35),
    ),
    Body(
        name="suv",
        sill=Ring(-2.24, 2.24, 0.88, 0.30, 0.30),
        waist=Ring(-2.32, 2.32, 0.94, 0.75, 0.70, 0.24),
        belt=Ring(-2.26, 2.20, 0.90, 1.14, 1.00, 0.22),
        cabin=(-2.22, 1.02, 0.85),
        roof=Ring(-1.95, 0.40, 0.68, 1.72, 1.75),
        panes=THREE_PANES,
        axles=(1.42, -1.38),
        wheel_radius=0.38,
    ),
    Body(
        name="van",
        sill=Ring(-2.55, 2.50, 0.92, 0.28, 0.28),
        waist=Ring(-2.60, 2.60, 0.98, 0.75, 0.62, 0.22),
        belt=Ring(-2.58, 2.42, 0.96, 1.16, 0.96, 0.20),
        cabin=(-2.56, 2.05, 0.94),
        roof=Ring(-2.50, 1.00, 0.82, 2.10, 2.08, 0.10),
        panes=((0.10, 0.30),),
        axles=(1.65, -1.60),
        wheel_radius=0.35,
    ),
    Body(
        name="hatchback",
        sill=Ring(-1.95, 1.98, 0.82, 0.22, 0.22),
        waist=Ring(-2.02, 2.05, 0.88, 0.62, 0.55, 0.30),
        belt=Ring(-1.96, 1.88, 0.83, 1.02, 0.82, 0.28),
        cabin=(-1.93, 1.02, 0.79),
        roof=Ring(-1.45, 0.25, 0.60, 1.46, 1.50),
        panes=TWO_PANES,
        axles=(1.28, -1.25),
        wheel_radius=0.31,
    ),
    Body(
        name="mpv",
        sill=Ring(-2.28, 2.25, 0.86, 0.25, 0.25),
        waist=Ring(-2.36, 2.35, 0.92, 0.68, 0.60, 0.26),
        belt=Ring(-2.30, 2.18, 0.88, 1.08, 0.86, 0.24),
        cabin=(-2.28, 1.50, 0.84),
        roof=Ring(-2.00, 0.55, 0.68, 1.68, 1.70),
        panes=THREE_PANES,
        axles=(1.45, -1.45),
    ),
    Body(
        name="pickup",
        sill=Ring(-2.60, 2.55, 0.88, 0.36, 0.36),
        waist=Ring(-2.66, 2.64, 0.94, 0.78, 0.72, 0.20),
        belt=Ring(-2.64, 2.52, 0.92, 1.12, 1.04, 0.14),
        cabin=(-0.75, 1.32, 0.84),
        roof=Ring(-0.52, 0.62, 0.68, 1.78, 1.80, 0.12),
        panes=TWO_PANES,
        axles=(1.65, -1.65),
        wheel_radius=0.39,
        bed=True,
    ),
    Body(
        name="bus",
        sill=Ring(-3.70, 3.70, 1.08, 0.32, 0.32),
        waist=Ring(-3.75, 3.75, 1.12, 0.70, 0.70),
        belt=Ring(-3.75, 3.72, 1.12, 1.20, 1.20),
        cabin=(-3.74, 3.71, 1.11),
        roof=Ring(-3.68, 3.45, 1.02, 2.75, 2.72),
        panes=BUS_PANES,
        axles=(2.35, -2.10),
        glass=(0.08, 0.72),
        wheel_radius=0.45,
    ),
    Body(
        name="truck",
        sill=Ring(-3.10, 3.12, 0.90, 0.42, 0.42),
        waist=Ring(-3.12, 3.20, 1.00, 0.70, 0.70, 0.14),
        belt=Ring(-3.12, 3.20, 1.00, 1.00, 1.00, 0.14),
        cabin=(1.62, 3.18, 0.98),
        roof=Ring(1.66, 2.85, 0.88, 2.20, 2.15),
        panes=((0.12, 0.75),),
        axles=(2.35, -1.95),
        glass=(0.32, 0.90),
        wheel_radius=0.43,
        cargo=Loft(Ring(-3.20, 1.45, 1.06, 1.00, 1.00, 0.03), Ring(-3.20, 1.45, 1.06, 2.85, 2.85, 0.03)),
    ),
    Body(
        name="estate",
        sill=Ring(-2.34, 2.28, 0.84, 0.22, 0.22),
        waist=Ring(-2.42, 2.36, 0.90, 0.62, 0.54, 0.28),
        belt=Ring(-2.36, 2.18, 0.85, 1.02, 0.80, 0.26),
        cabin=(-2.32, 1.05, 0.80),
        roof=Ring(-1.92, 0.28, 0.62, 1.46, 1.48),
        panes=THREE_PANES,
        axles=(1.42, -1.40),
    ),
)  # fmt: skip
"""In the order of VeRi-776's list_type.txt: the type's number is the position here plus 1."""
