"""Wheels, mirrors, and what is built on a roof or stands on it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from reid.data.synthesis.body import BODIES
from reid.data.synthesis.varied.marks import Marks
from reid.data.synthesis.varied.sheets import Floats, Sheet, plain_box
from reid.data.synthesis.varied.skin import GAP, Body

__all__ = ["fittings", "wheels"]

TEXELS = 33, 97
TIRE_WIDTH = 0.22
DARK, METAL, WOOD = (38, 39, 42), (150, 152, 155), (196, 190, 150)


def wheels(body: Body, marks: Marks) -> Iterator[Sheet]:
    """Yield face and tread of every wheel."""
    shape = body.model.shape
    for part in (shape.front_axle, shape.rear_axle):
        for side in (-1, 1):
            hub = np.array([body.place(part), side * (0.5 * shape.width - 0.01), shape.wheel])
            yield _face(hub, shape.wheel, side, marks)
            yield _tread(hub, shape.wheel, side)


def _face(hub: Floats, radius: float, side: int, marks: Marks) -> Sheet:
    """Return the outer side: rows from hub to tread, columns around."""
    out, turn = np.meshgrid(np.linspace(0, 1, TEXELS[0]), np.linspace(0, 2 * np.pi, TEXELS[1]), indexing="ij")
    dish = 0.05 * (1 - np.clip(out / marks.rim_size, 0, 1) ** 2) * (marks.rim in ("spokes", "twin", "mesh"))
    ring = np.stack([side * radius * out * np.cos(turn), -side * dish, radius * out * np.sin(turn)], axis=-1)
    sheet = Sheet.blank((hub + ring).astype(np.float32), (2, 12), nearer=0.5)
    sheet.normals[0] = sheet.normals[1].mean(axis=0)
    sheet.paint(out <= 1, (26, 26, 27), 0.01)
    rim = out < marks.rim_size
    metal = (marks.rim_shade,) * 3
    sheet.paint(rim, metal, 0.18)
    wave = (turn * marks.spokes / (2 * np.pi)) % 1
    match marks.rim:
        case "spokes":
            gaps = (np.abs(wave - 0.5) < 0.30 * out + 0.06) & (out > 0.2)
        case "twin":
            gaps = ((wave < 0.16) | (np.abs(wave - 0.6) < 0.22)) & (out > 0.18)
        case "mesh":
            gaps = ((wave * 2 + out * 5) % 1 < 0.5) & (out > 0.22)
        case "steel":
            sheet.paint(rim, DARK, 0.03)
            gaps = (np.abs(out - 0.42) < 0.05) & (wave < 0.45)
        case _:
            gaps = (np.abs(out - 0.8 * marks.rim_size) < 0.06) & (np.abs(wave - 0.5) < 0.25)
    sheet.paint(rim & gaps & (out < 0.92 * marks.rim_size), GAP)
    return sheet


def _tread(hub: Floats, radius: float, side: int) -> Sheet:
    turn, across = np.meshgrid(np.linspace(0, 2 * np.pi, 25), np.linspace(0, TIRE_WIDTH, 2), indexing="ij")
    ring = np.stack([side * radius * np.cos(turn), -side * across, radius * np.sin(turn)], axis=-1)
    sheet = Sheet.blank((hub + ring).astype(np.float32), (12, 1), nearer=-0.3)
    sheet.normals[...] *= -1 if sheet.normals[6, 0, 2] < 0 else 1
    sheet.paint(turn >= 0, (30, 30, 31))
    return sheet


def fittings(body: Body, marks: Marks) -> Iterator[Sheet]:
    """Yield the mirrors and what is on the roof, in the colors of the vehicle and its marks."""
    shape = body.model.shape
    x = body.place(shape.cowl) - 0.45
    for side in (-1, 1):
        inner, outer = sorted((side * (0.5 * shape.width - 0.12), side * (0.5 * shape.width + 0.10)))
        z = float(body.outline.at(body.outline.belt, np.array([x]))[0]) + 0.03 + 0.25 * (shape.height > 1.9)
        yield from plain_box((x, inner, z), (x + 0.12, outer, z + 0.15), DARK, 0.04)
    if BODIES[body.model.body].name in ("hatchback", "suv", "sedan", "estate") and marks.spoiler:
        end = body.place(shape.deck) if BODIES[body.model.body].name == "sedan" else body.place(shape.crest)
        z = float(body.outline.at(body.outline.top, np.array([end - 0.15]))[0])
        yield from plain_box((end - 0.35, -0.6, z), (end - 0.15, 0.6, z + 0.06), DARK, 0.05)
    if not shape.box:
        yield from _on_roof(body, marks)


def _on_roof(body: Body, marks: Marks) -> Iterator[Sheet]:
    shape, color = body.model.shape, marks.fitting_color
    front, rear, top = body.place(shape.header) - 0.15, body.place(shape.crest) + 0.1, shape.height
    x, half = front + marks.fitting_place * (rear - front), 0.32 * shape.width
    match marks.fitting:
        case "sunroof":
            yield from plain_box((x - 0.3, -0.4, top - 0.02), (x + 0.3, 0.4, top + 0.01), (14, 16, 18), 0.16)
        case "rails" | "bars" | "ladder":
            yield from _rods(marks.fitting, front, rear, half, top)
        case "coffer":
            yield from plain_box((x - 0.7, -0.05, top + 0.04), (x + 0.6, half, top + 0.32), DARK, 0.05)
        case "sign":
            yield from plain_box((x - 0.1, -0.34, top), (x + 0.1, 0.34, top + 0.2), color, 0.03, glow=0.8)
        case "beacon":
            yield from plain_box((x - 0.12, -half, top), (x + 0.12, half, top + 0.12), color, 0.1, glow=0.5)


def _rods(fitting: str, front: float, rear: float, half: float, top: float) -> Iterator[Sheet]:
    """Yield rails along the roof, bars across it, or a ladder."""
    if fitting == "rails":
        for y in (-half, half):
            yield from plain_box((rear, y - 0.03, top - 0.02), (front, y + 0.03, top + 0.06), METAL, 0.2)
    elif fitting == "bars":
        for at in (rear + part * (front - rear) for part in (0.15, 0.5, 0.85)):
            yield from plain_box((at - 0.04, -half, top + 0.02), (at + 0.04, half, top + 0.09), DARK)
    else:
        for y in (-0.3, 0.05):
            yield from plain_box((rear, y, top + 0.06), (front, y + 0.06, top + 0.12), WOOD)
        for at in np.linspace(rear + 0.1, front - 0.1, 6):
            yield from plain_box((at, -0.3, top + 0.06), (at + 0.05, 0.05, top + 0.11), WOOD)
