"""The vehicles of the style: model, paint and marks of each by its number, and its solid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from reid.data.synthesis.body import BODIES
from reid.data.synthesis.mesh import Color
from reid.data.synthesis.varied.fittings import fittings, wheels
from reid.data.synthesis.varied.livery import decorate, letter, paint_marks, soil
from reid.data.synthesis.varied.loft import box_points
from reid.data.synthesis.varied.marks import Marks, draw_marks
from reid.data.synthesis.varied.models import Model, draw_model
from reid.data.synthesis.varied.sheets import Sheet, Solid, linear
from reid.data.synthesis.varied.skin import GAP, PAINT_MIRROR, build_body
from reid.data.synthesis.vehicle import PAINTS

__all__ = ["MODELS", "Vehicle", "build_solid", "draw_vehicle", "numbered_vehicle"]

MODELS = 40
"""Models on the roads of a data set."""

FLEET_SIZE, FLEET_SHARE = 8, 0.45
"""Of so many consecutive vehicles, the fraction that shares model and paint."""

BODY_WEIGHTS = {"sedan": 5.0, "hatchback": 4.0, "suv": 5.0, "estate": 2.0, "mpv": 2.0, "van": 3.0, "truck": 2.0}
"""How common the types are; 1 for others."""

COMMERCIAL = ("van", "truck", "bus")


@dataclass(frozen=True, slots=True)
class Vehicle:
    """A model, a paint (a position in `PAINTS`) in its shade, and the marks."""

    model: Model
    paint: int
    shade: Color
    shine: float
    marks: Marks


@lru_cache(maxsize=MODELS)
def _model(seed: int, number: int) -> Model:
    rng = np.random.default_rng([seed, 11, number])
    weights = np.array([BODY_WEIGHTS.get(body.name, 1.0) for body in BODIES])
    return draw_model(rng, int(rng.choice(len(BODIES), p=weights / weights.sum())))


def draw_vehicle(rng: np.random.Generator, seed: int) -> Vehicle:
    """Draw a vehicle of one of the data set's models, of which some are more common than others."""
    popularity = 1 / np.arange(4, MODELS + 4)
    model = _model(seed, int(rng.choice(MODELS, p=popularity / popularity.sum())))
    weights = np.array([paint.weight for paint in PAINTS])
    paint = int(rng.choice(len(PAINTS), p=weights / weights.sum()))
    return _painted(rng, model, paint)


def _painted(rng: np.random.Generator, model: Model, paint: int) -> Vehicle:
    red, green, blue = np.clip(np.array(PAINTS[paint].color) + rng.normal(0, 5, size=3), 8, 232).tolist()
    commercial = BODIES[model.body].name in COMMERCIAL or bool(rng.random() < 0.2)
    shine = float(rng.choice((0.02, PAINT_MIRROR, 0.08)))
    return Vehicle(model, paint, (red, green, blue), shine, draw_marks(rng, commercial=commercial))


def numbered_vehicle(seed: int, number: int) -> Vehicle:
    """Return vehicle `number` (from 1) of the data set `seed`, which is the same whatever the size of the set."""
    rng = np.random.default_rng([seed, 12, number])
    if rng.random() >= FLEET_SHARE:
        return draw_vehicle(rng, seed)
    leader = draw_vehicle(np.random.default_rng([seed, 13, (number - 1) // FLEET_SIZE]), seed)
    return _painted(rng, leader.model, leader.paint)


def build_solid(vehicle: Vehicle) -> Solid:
    """Build the vehicle's solid, in its own frame."""
    body = build_body(vehicle.model, vehicle.shade, vehicle.shine)
    paint_marks(body, vehicle.marks, (body.sheet.albedo == linear(vehicle.shade)).all(axis=-1))
    decorate(body, vehicle.marks)
    sheets = [body.sheet, *wheels(body, vehicle.marks), *fittings(body, vehicle.marks)]
    shape = vehicle.model.shape
    if shape.box:
        sheets += _box(vehicle)
    return Solid.of([_shifted(sheet, 0.5 * shape.box) for sheet in sheets])


def _box(vehicle: Vehicle) -> list[Sheet]:
    """Return a truck's box and the frame below it, behind the cab."""
    shape, marks = vehicle.model.shape, vehicle.marks
    middle = -0.5 * (shape.length + shape.box) - 0.12
    height = shape.height + 0.35
    box = Sheet.blank(box_points(shape.box, shape.width + 0.1, 0.95, height, 201, 161), (20, 16), nearer=-0.2)
    x, y, z = np.moveaxis(box.points, -1, 0)
    tone = marks.lower or (214, 215, 214)
    box.paint(z > 0, tone, 0.02)
    box.paint((np.abs(x) % 0.6 < 0.02) & (z > 1.0), tuple(0.8 * channel for channel in tone))
    rear = box.normals[..., 0] < -0.5
    box.paint(rear & ((np.abs(y) < 0.02) | (np.abs(z - 1.0) < 0.04)), GAP)
    for stripe in marks.stripes:
        box.paint((np.abs(z - 1.1 - 1.5 * stripe.place + stripe.slope * x) < stripe.width) & ~rear, stripe.color, 0.02)
    if marks.lettering:
        width = min(0.9 * shape.box, 1.0 * marks.lettering.height * len(marks.lettering.letters))
        for side in (-1, 1):
            ink, _ = letter(marks.lettering.letters, 0.5 - side * x / width, (z - 1.7) / (1.6 * marks.lettering.height))
            box.paint(ink & (side * box.normals[..., 1] > 0.5), marks.lettering.color, 0.02)
    soil(box, marks, 0.9)
    frame = Sheet.blank(box_points(shape.box, 0.8 * shape.width, 0.5, 0.95, 21, 21), (6, 6), nearer=-0.4)
    frame.paint(frame.mirror == 0, (36, 36, 38))
    return [_shifted(sheet, middle) for sheet in (frame, box)]


def _shifted(sheet: Sheet, x: float) -> Sheet:
    return replace(sheet, points=sheet.points + np.array([x, 0, 0], np.float32)) if x else sheet
