"""The vehicles of the data set: body, paint and marks of each by its number, and its mesh."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reid.data.synthesis.body import BODIES
from reid.data.synthesis.livery import (
    emblem_faces,
    fixture_faces,
    freight,
    patch_face,
    sticker_face,
    stripe_faces,
)
from reid.data.synthesis.marks import Marks, draw_marks
from reid.data.synthesis.mesh import Color, Face, Level, Mesh, Part, Surface
from reid.data.synthesis.shell import Block, build_shell

__all__ = ["FLEET_SIZE", "PAINTS", "Paint", "Vehicle", "build_mesh", "draw_vehicle", "fleet_vehicle"]

FLEET_SIZE = 10
"""Vehicles with consecutive numbers that share body and paint."""

LEVELS: dict[Block, Level] = {
    "lower": Level.LOWER,
    "cabin": Level.UPPER,
    "cargo": Level.UPPER,
    "roof": Level.ROOF,
}

STRAY_SHARE = 0.15
"""Fraction of a fleet's vehicles that have a body and a paint of their own."""


@dataclass(frozen=True, slots=True)
class Paint:
    """A color of VeRi-776's list, how it looks, and how common it is (relative weight)."""

    name: str
    color: Color
    weight: float


PAINTS = (
    Paint("yellow", (205, 170, 40), 1),
    Paint("orange", (200, 105, 35), 1),
    Paint("green", (50, 100, 70), 1),
    Paint("gray", (128, 131, 136), 4),
    Paint("red", (150, 35, 35), 2),
    Paint("blue", (45, 70, 125), 2),
    Paint("white", (214, 215, 214), 5),
    Paint("golden", (165, 145, 105), 1),
    Paint("brown", (95, 70, 55), 1),
    Paint("black", (40, 41, 44), 4),
)
"""In the order of VeRi-776's list_color.txt: the color's number is the position here plus 1."""


@dataclass(frozen=True, slots=True)
class Vehicle:
    """A body and a paint (positions in `BODIES` and `PAINTS`), the exact shade, and the marks."""

    body: int
    paint: int
    shade: Color
    marks: Marks


def draw_vehicle(rng: np.random.Generator, body: int | None = None, paint: int | None = None) -> Vehicle:
    """Draw a vehicle; body and paint are random unless given."""
    weights = np.array([paint.weight for paint in PAINTS])
    drawn_body = int(rng.integers(len(BODIES)))
    drawn_paint = int(rng.choice(len(PAINTS), p=weights / weights.sum()))
    body = drawn_body if body is None else body
    paint = drawn_paint if paint is None else paint
    red, green, blue = np.array(PAINTS[paint].color) + rng.uniform(-2, 2, size=3)
    return Vehicle(body, paint, (float(red), float(green), float(blue)), draw_marks(rng))


def fleet_vehicle(seed: int, number: int) -> Vehicle:
    """Return vehicle `number` (from 1) of the data set `seed`, which is the same whatever the size of the set.

    All but a few of each `FLEET_SIZE` consecutive vehicles share body and paint; their shades differ by a few units.
    """
    fleet = (number - 1) // FLEET_SIZE
    order = np.random.default_rng([seed, 1]).permutation(len(BODIES))
    rng = np.random.default_rng([seed, 2, number])
    if rng.random() < STRAY_SHARE:
        return draw_vehicle(rng)
    model = draw_vehicle(np.random.default_rng([seed, 3, fleet]))
    return draw_vehicle(rng, int(order[fleet % len(order)]), model.paint)


def build_mesh(vehicle: Vehicle) -> Mesh:
    """Build the vehicle's mesh, in its own frame."""
    body, marks = BODIES[vehicle.body], vehicle.marks
    shell = build_shell(body, vehicle.shade, marks)
    blocks = shell.blocks
    for name, panel in shell.panels.items():
        blocks[panel.block].extend(_decals(name, panel.surface, marks))
    blocks["roof"].extend(fixture_faces(shell.panels["roof"].surface, marks))
    solids = [Part(LEVELS[block], faces) for block, faces in blocks.items() if faces]
    return Mesh.of([*solids, *shell.extras, *(freight(body, marks) if body.bed else [])])


def _decals(name: str, surface: Surface, marks: Marks) -> Iterator[Face]:
    """Yield the marks on one panel, stains first."""
    yield from (patch_face(surface, patch) for patch in marks.patches if patch.panel == name)
    top, flank = name in ("hood", "roof", "deck"), name in ("left", "right")
    if marks.stripe and (top if marks.stripe.lengthwise else flank):
        yield from stripe_faces(surface, marks.stripe)
    if marks.emblem and (flank or name in ("hood", "rear") or (name == "roof" and marks.fixture == "bare")):
        yield from emblem_faces(surface, marks.emblem, (0.3, 0.5) if flank else (0.5, 0.5))
    yield from (sticker_face(surface, sticker) for sticker in marks.stickers if sticker.window == name)
