"""What all vehicles of a model have on their bodies: glass, lamps, grille, seams, bumpers and wheel arches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reid.data.synthesis.body import BODIES
from reid.data.synthesis.mesh import Color
from reid.data.synthesis.varied.loft import loft_points, trace
from reid.data.synthesis.varied.models import Model
from reid.data.synthesis.varied.sheets import Sheet

__all__ = ["Body", "build_body"]

ROWS, COLUMNS, CELLS = 361, 221, (36, 22)

GLASS: Color = (30, 36, 40)
GAP: Color = (16, 16, 17)
PLASTIC: Color = (48, 49, 51)
CHROME: Color = (205, 207, 210)
HEADLIGHT: Color = (222, 228, 232)
TAIL_LIGHT: Color = (186, 16, 20)
BLINKER: Color = (220, 110, 25)
GLASS_MIRROR, CHROME_MIRROR, LAMP_MIRROR, PAINT_MIRROR = 0.16, 0.45, 0.10, 0.045


class Body:
    """A body's sheet, with names for what its texels are; arrays are [R, C].

    Attributes:
        model: the model.
        sheet: what is painted.
        x, y, z: the texels' places, meters.
        belt: height of the shoulder there.
        level: how far up between shoulder and roof, 0 to 1; negative below the shoulder.
        glass: where there are windows.
    """

    def __init__(self, model: Model) -> None:
        shape = model.shape
        self.model, self.outline = model, trace(shape)
        self.sheet = Sheet.blank(loft_points(shape, self.outline, ROWS, COLUMNS), CELLS)
        self.x, self.y, self.z = np.moveaxis(self.sheet.points, -1, 0)
        self.belt = self.outline.at(self.outline.belt, self.x)
        self.level = (self.z - self.belt) / (shape.height - self.belt)
        self.glass = np.zeros(self.x.shape, np.bool_)

    @property
    def flank(self) -> NDArray[np.bool_]:
        """Return where the surface looks sideways."""
        return np.asarray(np.abs(self.sheet.normals[..., 1]) > 0.6)

    def facing(self, direction: int) -> NDArray[np.bool_]:
        """Return where the surface looks to the nose (1) or to the tail (-1)."""
        return np.asarray(direction * self.sheet.normals[..., 0] > 0.35)

    def place(self, part: float) -> float:
        """Return x of a position along the vehicle, 0 (nose) to 1 (tail)."""
        return (0.5 - part) * self.model.shape.length


def build_body(model: Model, paint: Color, mirror: float = PAINT_MIRROR) -> Body:
    """Build a body in `paint` with everything that its model has; `mirror` is how shiny the paint is."""
    body = Body(model)
    body.sheet.paint(np.ones(body.x.shape, np.bool_), paint, mirror)
    _lower(body)
    _seams(body, paint)
    _windows(body)
    _face(body)
    _tail(body)
    return body


def _lower(body: Body) -> None:
    shape, front = body.model.shape, body.model.front
    body.sheet.paint(body.z < shape.clearance + 0.05, GAP)
    if front.cladding:
        body.sheet.paint(body.z < shape.clearance + 0.05 + front.cladding, PLASTIC, 0.01)
    for part in (shape.front_axle, shape.rear_axle):
        away = np.hypot(body.x - body.place(part), body.z - shape.wheel - 0.04)
        body.sheet.paint((away < 1.28 * shape.wheel) & body.flank & (front.cladding > 0.1), PLASTIC, 0.01)
        body.sheet.paint((away < 1.14 * shape.wheel) & (np.abs(body.y) > 0.3 * shape.width), GAP)


def _seams(body: Body, paint: Color) -> None:
    shape, panes = body.model.shape, max(body.model.front.panes, 1)
    dark = tuple(0.45 * channel for channel in paint)
    cowl, end = body.place(shape.cowl), body.place(shape.deck)
    doors = np.linspace(cowl - 0.05, body.place(shape.rear_axle) + 0.25 * shape.wheel, min(panes, 2) + 1)
    between = body.flank & (body.z > shape.clearance + 0.14) & (body.level < 0.9)
    for x in doors:
        body.sheet.paint(between & (np.abs(body.x - x) < 0.012), dark)
        handle = (np.abs(body.x - x - 0.16) < 0.07) & (np.abs(body.belt - body.z - 0.10) < 0.018) & body.flank
        body.sheet.paint(handle & (x < cowl - 0.2), dark, 0.1)
    hood = (body.x > cowl) & (np.abs(np.abs(body.y) - 0.40 * shape.width) < 0.012) & ~body.flank
    lid = (body.x < end) & (np.abs(np.abs(body.y) - 0.38 * shape.width) < 0.012) & ~body.flank
    body.sheet.paint((hood | lid) & (body.level > -0.2), dark)
    if BODIES[body.model.body].name == "pickup":
        bed = (body.x < end - 0.12) & (body.x > body.place(0.985)) & (np.abs(body.y) < 0.42 * shape.width)
        body.sheet.paint(bed & ~body.flank & (body.level > -0.1), (44, 44, 46))


def _windows(body: Body) -> None:
    shape, front, level = body.model.shape, body.model.front, body.level
    cowl, header, crest, deck = (body.place(part) for part in (shape.cowl, shape.header, shape.crest, shape.deck))
    upright = BODIES[body.model.body].name in ("bus", "truck", "van")
    low, high = (0.08, 0.78) if upright else (0.07, 0.84)
    side = body.flank & (level > low) & (level < high)
    front_edge = cowl + (header - cowl) * np.clip(level, 0, 1) - 0.14
    rear_edge = deck + (crest - deck) * np.clip(level, 0, 1) + 0.12
    side &= (body.x < front_edge) & (body.x > rear_edge)
    if front.panes == 0:  # a panel van: the driver's window alone
        side &= body.x > cowl - 1.15
    pillars = np.linspace(header - 0.1, crest + 0.1, max(front.panes, 1) + 1)[1:-1]
    frame = side & _near(body, (low, high), 0.035)
    for x in pillars:
        side &= np.abs(body.x - x) > 0.035
    across = 0.44 * shape.width - 0.10 * shape.width * np.clip(level, 0, 1) * (not upright)
    shield = (body.x < cowl + 0.02) & (body.x > header + 0.03) & (level > 0.03) & (level < 0.95)
    shield |= (body.x > header) & body.facing(1) & (level > 0.05) & (level < 0.85) & upright
    shield &= np.abs(body.y) < across
    rear = (body.x < crest - 0.05) & (body.sheet.normals[..., 0] < -0.25) & (level > 0.10) & (level < 0.88)
    rear &= (np.abs(body.y) < across - 0.04) & (body.x < max(deck, body.place(0.99)) + 0.75)
    if BODIES[body.model.body].name == "truck":
        rear &= False
    body.glass = (side & ~frame) | shield | rear
    body.sheet.paint(frame, CHROME if front.chrome else GAP, CHROME_MIRROR if front.chrome else 0.02)
    body.sheet.paint(body.glass, GLASS, GLASS_MIRROR)


def _near(body: Body, levels: tuple[float, float], width: float) -> NDArray[np.bool_]:
    return np.asarray((body.level < levels[0] + width) | (body.level > levels[1] - width))


def _face(body: Body) -> None:
    shape, front = body.model.shape, body.model.front
    ahead, base = body.facing(1) & (body.x > 0.3 * shape.length), front.lamp_height * shape.nose
    grille = ahead & (np.abs(body.y) < front.grille_width) & (body.z < base + 0.12) & (body.z > base - 0.08)
    intake = ahead & (np.abs(body.y) < 0.36 * shape.width) & (np.abs(body.z - shape.clearance - 0.14) < 0.06)
    body.sheet.paint(intake, GAP)
    if front.grille != "none":
        body.sheet.paint(grille, GAP)
        body.sheet.paint(grille & _pattern(body, front.grille), CHROME if front.chrome else (92, 94, 97), 0.2)
    body.sheet.paint(_lamp(body, ahead, base), HEADLIGHT, LAMP_MIRROR, glow=1.0)


def _pattern(body: Body, name: str) -> NDArray[np.bool_]:
    slats = body.z % 0.07 < 0.025
    if name == "mesh":
        return np.asarray(slats | (body.y % 0.09 < 0.02))
    return np.asarray(np.abs(body.y) < 0.05 if name == "split" else slats)


def _lamp(body: Body, ahead: NDArray[np.bool_], base: float) -> NDArray[np.bool_]:
    shape, (width, height) = body.model.shape, body.model.front.lamp_size
    outer = 0.49 * shape.width
    across, up = outer - np.abs(body.y), body.z - base
    near_nose = (body.x > 0.5 * shape.length - 0.45) & (ahead | (np.abs(body.y) > 0.4 * shape.width))
    match body.model.front.lamp:
        case "round":
            inside = np.hypot(across - 0.2, up - 0.06) < 0.75 * height
        case "slant":
            inside = (across < width) & (np.abs(up - 0.14 + 0.30 * across) < 0.5 * height)
        case "slit":
            inside = (across < 1.25 * width) & (np.abs(up - 0.08) < 0.03)
        case _:
            inside = (across < width) & (np.abs(up - 0.04) < 0.5 * height)
    return np.asarray(inside & near_nose)


def _tail(body: Body) -> None:
    shape = body.model.shape
    behind = body.facing(-1) & (body.x < -0.3 * shape.length)
    base = float(np.clip(0.82 * shape.deck_height, 0.7, 1.0)) - 0.05
    near_tail = (body.x < -0.5 * shape.length + 0.30) & (behind | (np.abs(body.y) > 0.4 * shape.width))
    across, up = 0.49 * shape.width - np.abs(body.y), body.z - base
    match body.model.front.tail:
        case "columns":
            lamp = (across < 0.15) & (up > -0.15) & (up < min(0.55, shape.deck_height - base))
        case "bar":
            lamp = np.abs(up) < 0.045
        case "rounds":
            lamp = (np.hypot(across - 0.14, up) < 0.08) | (np.hypot(across - 0.34, up) < 0.07)
        case _:
            lamp = (across < 0.36) & (np.abs(up) < 0.08)
    body.sheet.paint(near_tail & lamp, TAIL_LIGHT, LAMP_MIRROR, glow=0.6)
    body.sheet.paint(near_tail & lamp & (np.abs(across - 0.06) < 0.05) & (up < -0.01), BLINKER, LAMP_MIRROR)
    bumper = behind & (np.abs(body.z - shape.clearance - 0.16) < 0.05) & (np.abs(body.y) < 0.40 * shape.width)
    body.sheet.paint(bumper, PLASTIC, 0.02)
