"""From a body type to faces: painted panels, glass, lamps and wheels, and the surfaces that marks lie on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from reid.data.synthesis.body import Body
from reid.data.synthesis.marks import Marks
from reid.data.synthesis.mesh import (
    CHROME,
    GLASS,
    LAMP,
    MATTE,
    PAINT,
    Color,
    Face,
    Level,
    Part,
    Surface,
    box,
)
from reid.data.synthesis.wheels import tread, wheel_faces

__all__ = ["Block", "Panel", "Shell", "build_shell"]

Block: TypeAlias = Literal["lower", "cabin", "cargo", "roof"]
"""A solid of the vehicle; its decals are painted right after it."""

GAP: Color = (22, 22, 24)
PANE: Color = (38, 46, 54)
HEADLIGHT: Color = (225, 228, 230)
TAIL_LIGHT: Color = (190, 24, 28)
BLINKER: Color = (225, 130, 40)
CHASSIS: Color = (52, 54, 58)
BED: Color = (60, 60, 62)
SHORTEST_LID = 0.3
"""A hood or trunk lid shorter than this, in meters, is too small for marks."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A surface for marks, and the block that it belongs to."""

    block: Block
    surface: Surface


@dataclass(frozen=True, slots=True)
class Shell:
    """A vehicle without its marks: the faces of its blocks, wheels and mirrors, and the panels by name."""

    blocks: dict[Block, list[Face]]
    extras: list[Part]
    panels: dict[str, Panel]


def build_shell(body: Body, paint: Color, marks: Marks) -> Shell:
    """Build `body` in `paint`, with the bumpers, rims, lamps and plates that `marks` give it."""
    panels = _panels(body)
    lower = [*_lower(body, paint, marks), *_doors(body, panels, paint), *wheel_faces(body, marks)]
    treads = [tread(body, x, side) for x in body.axles for side in (-1, 1)]
    return Shell(
        blocks={
            "lower": lower,
            "cabin": list(_cabin(body, paint, panels)),
            "cargo": _cargo(body),
            "roof": [],
        },
        extras=treads + [_mirror(body, side) for side in (-1, 1)],
        panels=panels,
    )


def _panels(body: Body) -> dict[str, Panel]:
    """Return where marks may lie: a truck's flanks and tail are those of its box, a bus's hood is its front."""
    _, shoulder, cabin = body.lofts()
    ends, around = shoulder.sides(), cabin.sides()
    rear, front, _ = body.cabin
    has_hood = body.belt.front - front > SHORTEST_LID
    has_deck = rear - body.belt.rear > SHORTEST_LID
    panels = {
        "left": Panel("lower", _flank(body, 1)),
        "right": Panel("lower", _flank(body, -1)),
        "rear": Panel("lower", ends["rear"]),
        "hood": Panel("lower", shoulder.top(rear=front) if has_hood else ends["front"]),
        "deck": Panel("lower", shoulder.top(front=rear) if has_deck else ends["rear"]),
        "roof": Panel("roof", (body.cargo or cabin).top()),
        "windshield": Panel("cabin", _inset(around["front"], (0.0, 1.0), body.glass)),
        "rear_window": Panel("cabin", _inset(around["rear"], (0.04, 0.96), body.glass)),
        "left_window": Panel("cabin", _inset(around["left"], body.panes[-1], body.glass)),
        "right_window": Panel("cabin", _inset(around["right"], body.panes[-1], body.glass)),
    }
    if body.cargo is None:
        return panels
    sides = body.cargo.sides()
    boxed = {name: Panel("cargo", sides[name]) for name in ("left", "right", "rear")}
    return panels | boxed | {"deck": boxed["rear"]}


def _inset(surface: Surface, u: tuple[float, float], v: tuple[float, float]) -> Surface:
    return Surface(surface.rectangle(u, v, GAP).points, surface.normal)


def _flank(body: Body, side: int) -> Surface:
    """Return the upright plane of the doors, between the axles; u from nose to tail."""
    x0, x1 = body.axles[0] - 1.3 * body.wheel_radius, body.axles[-1] + 1.3 * body.wheel_radius
    y, foot = side * body.waist.half_width, body.sill.rear_height + 0.08
    corners = [
        (x0, y, foot),
        (x1, y, foot),
        (x1, y, body.belt.height_at(x1)),
        (x0, y, body.belt.height_at(x0)),
    ]
    return Surface(np.array(corners), np.array([0.0, side, 0.0]))


def _lower(body: Body, paint: Color, marks: Marks) -> Iterator[Face]:
    skirt, shoulder, _ = body.lofts()
    low, high = skirt.sides(), shoulder.sides()
    color = CHASSIS if body.cargo else paint
    for name, surface in low.items():
        yield surface.face(color, PAINT)
        if name not in ("left", "right"):
            yield surface.rectangle((0, 1), (0.0, 0.75), marks.bumper or color, PAINT)
    yield from (surface.face(color, PAINT) for surface in high.values())
    yield Face(shoulder.upper.points(), np.array([0.0, 0.0, 1.0]), color, PAINT)
    if body.bed:
        yield shoulder.top(front=body.cabin[0]).rectangle((0.06, 0.94), (0.02, 0.96), BED)
    yield from _nose(low, high)
    yield from _tail(low, high, marks.tail_light)
    for name, sign in (("front", 1), ("rear", -1)):
        yield _plate(low[name], marks, sign)


def _nose(low: dict[str, Surface], high: dict[str, Surface]) -> Iterator[Face]:
    yield low["front"].rectangle((0.15, 0.85), (0.15, 0.45), GAP)
    yield high["front"].rectangle((0.24, 0.76), (0.15, 0.80), GAP)
    for v in (0.38, 0.58):
        yield high["front"].rectangle((0.26, 0.74), (v, v + 0.06), (170, 172, 176), CHROME)
    for u in ((0.0, 0.20), (0.80, 1.0)):
        yield high["front"].rectangle(u, (0.15, 0.85), HEADLIGHT, LAMP)
    for name, u, amber in (("front_left", (0.0, 0.6), (0.6, 0.8)), ("front_right", (0.4, 1.0), (0.2, 0.4))):
        yield high[name].rectangle(u, (0.2, 0.85), HEADLIGHT, LAMP)
        yield high[name].rectangle(amber, (0.2, 0.85), BLINKER, LAMP)


def _tail(low: dict[str, Surface], high: dict[str, Surface], shape: str) -> Iterator[Face]:
    """Yield the tail lights: blocks, columns at the corners, a bar from side to side, or pairs of round lamps."""
    rear, corners = high["rear"], (high["rear_left"], high["rear_right"])
    if shape == "rounds":
        aspect = rear.width / rear.height
        for u in (0.09, 0.25, 0.75, 0.91):
            yield _round_lamp(rear, u, 0.055, aspect)
    elif shape == "bar":
        yield rear.rectangle((0.0, 1.0), (0.62, 0.80), TAIL_LIGHT, LAMP)
        yield from (corner.rectangle((0.0, 1.0), (0.62, 0.80), TAIL_LIGHT, LAMP) for corner in corners)
    elif shape == "columns":
        yield from (corner.rectangle((0.1, 0.9), (0.05, 1.0), TAIL_LIGHT, LAMP) for corner in corners)
        yield from (rear.rectangle(u, (0.05, 1.0), TAIL_LIGHT, LAMP) for u in ((0.0, 0.08), (0.92, 1.0)))
    else:
        for outer, inner in (((0.0, 0.18), (0.18, 0.26)), ((0.82, 1.0), (0.74, 0.82))):
            yield rear.rectangle(outer, (0.35, 0.85), TAIL_LIGHT, LAMP)
            yield rear.rectangle(inner, (0.35, 0.85), BLINKER, LAMP)
    yield low["rear"].rectangle((0.1, 0.9), (0.05, 0.2), GAP)


def _round_lamp(surface: Surface, u: float, radius: float, aspect: float) -> Face:
    turn = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    uv = np.stack([u + radius * np.cos(turn), 0.6 + aspect * radius * np.sin(turn)], axis=1)
    return surface.decal(uv, TAIL_LIGHT, LAMP)


def _plate(surface: Surface, marks: Marks, sign: int) -> Face:
    middle, half = 0.5 + sign * marks.plate_shift / surface.width, 0.26 / surface.width
    return surface.rectangle((middle - half, middle + half), (0.50, 0.88), marks.plate)


def _doors(body: Body, panels: dict[str, Panel], paint: Color) -> Iterator[Face]:
    if body.cargo:
        return
    seam = (0.45 * paint[0], 0.45 * paint[1], 0.45 * paint[2])
    for name in ("left", "right"):
        surface = panels[name].surface
        for u in (0.06, 0.50, 0.94):
            yield surface.rectangle((u, u + 0.025 / surface.width), (0.0, 1.0), seam)
        for u in (0.40, 0.84):
            yield surface.rectangle((u, u + 0.14 / surface.width), (0.80, 0.86), seam)


def _cabin(body: Body, paint: Color, panels: dict[str, Panel]) -> Iterator[Face]:
    *_, cabin = body.lofts()
    around = cabin.sides()
    yield from (surface.face(paint, PAINT) for surface in around.values())
    yield Face(cabin.upper.points(), np.array([0.0, 0.0, 1.0]), paint, PAINT)
    yield panels["windshield"].surface.face(PANE, GLASS)
    if body.cargo is None:
        yield panels["rear_window"].surface.face(PANE, GLASS)
    for name in ("left", "right"):
        yield from (around[name].rectangle(pane, body.glass, PANE, GLASS) for pane in body.panes)


def _cargo(body: Body) -> list[Face]:
    if body.cargo is None:
        return []
    panel = (205.0, 207.0, 208.0)
    sides = body.cargo.sides()
    seams = [sides["rear"].rectangle((0.49, 0.51), (0.02, 0.98), GAP)]
    return [*(side.face(panel) for side in sides.values()), body.cargo.top().face(panel), *seams]


def _mirror(body: Body, side: int) -> Part:
    front, half_width = body.cabin[1] - 0.35, body.cabin[2]
    foot = body.belt.height_at(front) + (0.45 if body.cargo else 0.08)
    inner, outer = sorted((side * half_width, side * (half_width + 0.18)))
    return Part(Level.UPPER, box((front - 0.05, inner, foot), (front + 0.06, outer, foot + 0.13), GAP, MATTE))
