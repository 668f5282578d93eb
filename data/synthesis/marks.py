"""What tells two vehicles of one fleet apart: randomly drawn small marks that stay with the vehicle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reid.data.synthesis.mesh import Color

__all__ = ["FIXTURES", "SHAPES", "TAIL_LIGHTS", "Emblem", "Marks", "Patch", "Sticker", "Stripe", "draw_marks"]

SHAPES = ("disc", "diamond", "triangle", "cross", "bars", "chevron", "halves")
FIXTURES = ("bare", "sunroof", "rack", "ladder", "sign", "beacon", "case", "hatch")
TAIL_LIGHTS = ("blocks", "columns", "bar", "rounds")

SIGN_COLORS: tuple[Color, ...] = (
    (235, 235, 230), (30, 30, 35), (200, 40, 35), (35, 75, 170), (240, 200, 40), (40, 130, 70), (235, 120, 30),
)  # fmt: skip
BUMPER_COLORS: tuple[Color, ...] = ((35, 36, 38), (120, 122, 125), (200, 202, 204))
RIM_COLORS: tuple[Color, ...] = ((190, 192, 195), (120, 122, 126), (60, 62, 65), (205, 180, 110))
PLATE_COLORS: tuple[Color, ...] = ((235, 235, 235), (240, 205, 60), (40, 80, 180), (60, 140, 80))
STAIN_COLORS: tuple[Color, ...] = ((110, 88, 66), (120, 62, 36), (70, 70, 72), (150, 140, 125))


@dataclass(frozen=True, slots=True)
class Emblem:
    """A company sign on doors, hood, roof and tail: a figure on a ground."""

    shape: str
    ground: Color
    figure: Color
    size: float
    """Meters."""


@dataclass(frozen=True, slots=True)
class Stripe:
    """One or two stripes along the flanks, or over hood, roof and deck."""

    color: Color
    lengthwise: bool
    """Over the top rather than along the flanks."""
    position: float
    """Position of the first stripe across the surface, 0 to 1."""
    width: float
    """As a fraction of the surface."""
    count: int


@dataclass(frozen=True, slots=True)
class Sticker:
    """A rectangle on a window: which window, where on it (u, v), and its color."""

    window: str
    place: tuple[float, float]
    color: Color


@dataclass(frozen=True, slots=True)
class Patch:
    """Dirt, rust or a dent: an irregular patch of `radius` meters at (u, v) on a panel."""

    panel: str
    place: tuple[float, float]
    radius: float
    color: Color
    outline: tuple[float, ...]
    """Radius of the patch at equal angles, as fractions of `radius`."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Everything that distinguishes a vehicle from others with its body and paint."""

    emblem: Emblem | None
    stripe: Stripe | None
    fixture: str
    fixture_color: Color
    fixture_place: float
    """Position along the roof, 0 (front) to 1 (rear)."""
    bumper: Color | None
    """None: in the vehicle's paint."""
    rim: Color
    spokes: int
    tail_light: str
    plate: Color
    plate_shift: float
    """Meters to the left."""
    stickers: tuple[Sticker, ...]
    patches: tuple[Patch, ...]
    freight: tuple[Color, ...]
    """Colors of the boxes in an open bed."""


def _pick(rng: np.random.Generator, colors: tuple[Color, ...]) -> Color:
    return colors[rng.integers(len(colors))]


def _draw_emblem(rng: np.random.Generator) -> Emblem:
    ground, figure = rng.choice(len(SIGN_COLORS), size=2, replace=False)
    shape = SHAPES[rng.integers(len(SHAPES))]
    return Emblem(shape, SIGN_COLORS[ground], SIGN_COLORS[figure], rng.uniform(0.55, 0.80))


def _draw_stripe(rng: np.random.Generator) -> Stripe:
    lengthwise = bool(rng.random() < 0.5)
    return Stripe(
        color=_pick(rng, SIGN_COLORS),
        lengthwise=lengthwise,
        position=rng.uniform(0.15, 0.65),
        width=rng.uniform(0.07, 0.16) if lengthwise else rng.uniform(0.10, 0.20),
        count=int(rng.integers(1, 3)),
    )


def _draw_sticker(rng: np.random.Generator, window: str) -> Sticker:
    return Sticker(window, (rng.uniform(0.15, 0.75), rng.uniform(0.15, 0.7)), _pick(rng, SIGN_COLORS))


def _draw_patch(rng: np.random.Generator, panel: str) -> Patch:
    return Patch(
        panel=panel,
        place=(rng.uniform(0.15, 0.85), rng.uniform(0.2, 0.8)),
        radius=rng.uniform(0.12, 0.28),
        color=_pick(rng, STAIN_COLORS),
        outline=tuple(rng.uniform(0.75, 1.0, size=9).tolist()),
    )


def draw_marks(rng: np.random.Generator) -> Marks:
    """Draw a vehicle's marks, some on every side."""
    emblem = _draw_emblem(rng) if rng.random() < 0.8 else None
    stripe = _draw_stripe(rng) if emblem is None or rng.random() < 0.45 else None
    windows = ("windshield", "rear_window", "left_window", "right_window")
    panels = ("hood", "roof", "deck", "left", "right", "rear")
    return Marks(
        emblem=emblem,
        stripe=stripe,
        fixture=FIXTURES[rng.integers(len(FIXTURES))],
        fixture_color=_pick(rng, SIGN_COLORS),
        fixture_place=rng.uniform(0.25, 0.75),
        bumper=_pick(rng, BUMPER_COLORS) if rng.random() < 0.6 else None,
        rim=_pick(rng, RIM_COLORS),
        spokes=int(rng.integers(3, 8)),
        tail_light=TAIL_LIGHTS[rng.integers(len(TAIL_LIGHTS))],
        plate=_pick(rng, PLATE_COLORS),
        plate_shift=rng.uniform(-0.35, 0.35),
        stickers=tuple(_draw_sticker(rng, window) for window in windows if rng.random() < 0.5),
        patches=tuple(_draw_patch(rng, panel) for panel in panels if rng.random() < 0.4),
        freight=tuple(_pick(rng, SIGN_COLORS) for _ in range(rng.integers(1, 4))),
    )
