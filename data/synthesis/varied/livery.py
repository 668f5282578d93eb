"""From marks to paint on a body: two tones, stripes, letters, stickers, plates, dirt and dents."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from reid.data.synthesis.varied.marks import Lettering, Marks, Sticker, Stripe, Wear
from reid.data.synthesis.varied.sheets import Floats, Sheet
from reid.data.synthesis.varied.skin import PAINT_MIRROR, Body

__all__ = ["decorate", "letter", "paint_marks", "soil"]


def paint_marks(body: Body, marks: Marks, painted: NDArray[np.bool_]) -> None:
    """Paint on the texels `painted`, bool [R, C], which are those that neither glass, lamps nor plastic cover."""
    shape, sheet = body.model.shape, body.sheet
    if marks.lower:
        sheet.paint(painted & (body.z < 0.5 * (body.belt + shape.clearance)), marks.lower, PAINT_MIRROR)
    if marks.roof:
        sheet.paint(painted & (body.level > 0.55), marks.roof, PAINT_MIRROR)
    for stripe in marks.stripes:
        sheet.paint(painted & _stripe(body, stripe), stripe.color, PAINT_MIRROR)
    if marks.lettering:
        _write(body, marks.lettering, painted)
    if marks.wear.odd_panel:
        _replace_panel(body, marks.wear.odd_panel, painted)


def decorate(body: Body, marks: Marks) -> None:
    """Add what lies on paint and glass alike: plates, stickers, tinted windows, wear."""
    if marks.tinted:
        body.sheet.paint(body.glass & (body.x < body.place(body.model.shape.header) - 0.9), (8, 9, 10), 0.12)
    for sticker in marks.stickers:
        body.sheet.paint(_sticker(body, sticker), sticker.color, 0.03)
    for direction in (1, -1):
        _plate(body, marks, direction)
    _wear(body, marks.wear)
    soil(body.sheet, marks, body.model.shape.clearance)


def _stripe(body: Body, stripe: Stripe) -> NDArray[np.bool_]:
    shape = body.model.shape
    if stripe.over_top:
        middle = np.abs(body.y) - 0.35 * stripe.place * shape.width
        return np.asarray(~body.flank & (np.abs(middle) < stripe.width / 2) & (body.level > -0.25))
    height = shape.clearance + 0.1 + stripe.place * (body.belt - shape.clearance - 0.1)
    return np.asarray(body.flank & (np.abs(body.z - height + stripe.slope * body.x) < stripe.width / 2))


def letter(letters: tuple[int, ...], along: Floats, up: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return ink and ground of a line of letters; `along` runs over it from 0 to 1, `up` from 0 to 1."""
    inside = (along >= 0) & (along < 1) & (up >= 0) & (up < 1)
    column = np.clip((along * 4 * len(letters)).astype(np.int64), 0, 4 * len(letters) - 1)
    row = np.clip((up * 5).astype(np.int64), 0, 4)
    bits = np.array(letters, np.int64)[column // 4]
    ink = ((bits >> (3 * row + np.minimum(column % 4, 2))) & 1).astype(np.bool_) & (column % 4 < 3)
    return inside & ink, inside


def _write(body: Body, lettering: Lettering, painted: NDArray[np.bool_]) -> None:
    shape = body.model.shape
    width = 0.62 * lettering.height * len(lettering.letters)
    tall = body.model.front.panes == 0 and shape.height > 1.9
    base = body.belt - 1.25 * lettering.height if not tall else body.belt + 0.05
    middle = (0.5 - lettering.place - 0.15 * tall) * shape.length
    fields = [
        (body.flank & (body.y > 0), middle + width / 2 - body.x, body.z - base),
        (body.flank & (body.y < 0), body.x - middle + width / 2, body.z - base),
        (body.facing(-1), width / 2 - body.y, body.z - base + 0.1),
    ]
    if lettering.on_hood:
        fields.append((~body.flank & (body.x > body.place(shape.cowl)), body.y + width / 2, body.place(0.12) - body.x))
    for where, along, up in fields:
        ink, ground = letter(lettering.letters, along / width, up / lettering.height)
        if lettering.ground:
            body.sheet.paint(where & ground & painted, lettering.ground, PAINT_MIRROR)
        body.sheet.paint(where & ink & painted, lettering.color, PAINT_MIRROR)


def _sticker(body: Body, sticker: Sticker) -> NDArray[np.bool_]:
    shape = body.model.shape
    bottom = shape.clearance + 0.1
    height = bottom + sticker.up * (0.95 * shape.height - bottom)
    near = np.abs(body.z - height) < sticker.size[1] / 2
    if sticker.side in ("left", "right"):
        sign = 1 if sticker.side == "left" else -1
        near &= body.flank & (sign * body.y > 0)
        return np.asarray(near & (np.abs(body.x - 0.4 * sticker.along * shape.length) < sticker.size[0] / 2))
    where = body.facing(1 if sticker.side == "nose" else -1)
    return np.asarray(where & near & (np.abs(body.y - 0.4 * sticker.along * shape.width) < sticker.size[0] / 2))


def _plate(body: Body, marks: Marks, direction: int) -> None:
    shape = body.model.shape
    height = shape.clearance + (0.24 if direction > 0 else 0.36)
    where = body.facing(direction) & (direction * body.x > 0.4 * shape.length)
    along = 0.5 + direction * (body.y - direction * marks.plate_shift) / 0.5
    up = (body.z - height) / 0.13
    _, ground = letter((0,), along, up)
    digits = np.random.default_rng(marks.seed).integers(1 << 9, 1 << 15, size=6)
    ink, _ = letter(tuple(digits.tolist()), (along - 0.06) / 0.88, (up - 0.15) / 0.7)
    body.sheet.paint(where & ground, marks.plate, 0.03)
    body.sheet.paint(where & ink, (30, 30, 34) if sum(marks.plate) > 400 else (225, 225, 225), 0.03)


def _replace_panel(body: Body, panel: tuple[float, float, int, float], painted: NDArray[np.bool_]) -> None:
    start, end, side, factor = panel
    where = painted & body.flank & (side * body.y > 0) & (body.x < body.place(start)) & (body.x > body.place(end))
    body.sheet.albedo[where & (body.level < 0)] *= factor
    np.clip(body.sheet.albedo, 0.005, 0.85, out=body.sheet.albedo)


def _wear(body: Body, wear: Wear) -> None:
    shape = body.model.shape
    for along, up, radius, side in wear.dents:
        x, z = 0.45 * along * shape.length - body.x, shape.clearance + up * (shape.belt - shape.clearance) - body.z
        depth = np.exp(-(x**2 + z**2) / radius**2) * (side * body.y > 0) * body.flank
        body.sheet.normals[..., 0] += 3.0 * depth * x / radius
        body.sheet.normals[..., 2] += 3.0 * depth * z / radius
    body.sheet.normals[...] /= np.maximum(np.sqrt((body.sheet.normals**2).sum(axis=-1, keepdims=True)), 1e-9)
    for along, up, length, side in wear.scratches:
        x, z = body.x - 0.45 * along * shape.length, body.z - shape.clearance - up * (shape.belt - shape.clearance)
        line = (np.abs(z - 0.12 * x) < 0.012) & (np.abs(x) < length / 2) & (side * body.y > 0) & body.flank
        body.sheet.paint(line & ~body.glass, (176, 174, 170))


def soil(sheet: Sheet, marks: Marks, ground: float) -> None:
    """Cover a sheet with dirt, most of it near the ground and in blotches."""
    rows, columns = sheet.mirror.shape
    rng = np.random.default_rng(marks.seed)
    noise = rng.random((9, 7), dtype=np.float32), rng.random((36, 28), dtype=np.float32)
    blotches = sum(cv2.resize(one, (columns, rows), interpolation=cv2.INTER_CUBIC) for one in noise) - 1
    height = sheet.points[..., 2] - ground
    amount = marks.wear.dirt * (1.2 * np.exp(-height / 0.30) + 0.25) * (1 + 0.9 * blotches)
    sheet.blend(np.clip(amount, 0, 0.9).astype(np.float32), marks.wear.dust)
