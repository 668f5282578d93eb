"""What sets a vehicle apart from others of its model and paint: livery, wheels, fittings, wear."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reid.data.synthesis.mesh import Color

__all__ = ["FITTINGS", "RIMS", "Lettering", "Marks", "Sticker", "Stripe", "Wear", "draw_marks"]

RIMS = ("spokes", "twin", "cap", "steel", "mesh")
FITTINGS = ("bare", "bare", "bare", "sunroof", "rails", "bars", "coffer", "ladder", "sign", "beacon")

TONES: tuple[Color, ...] = (
    (236, 236, 232), (26, 26, 29), (190, 36, 32), (30, 64, 150), (236, 190, 40), (34, 120, 66), (228, 112, 30),
    (120, 200, 215), (120, 46, 120), (150, 152, 156),
)  # fmt: skip
PLATES: tuple[Color, ...] = ((238, 238, 236), (238, 238, 236), (238, 200, 60), (30, 66, 160), (60, 150, 90))
DUST: tuple[Color, ...] = ((132, 112, 88), (96, 84, 70), (150, 140, 124))


@dataclass(frozen=True, slots=True)
class Stripe:
    """A band along the flanks, or bands over hood, roof and deck."""

    over_top: bool
    place: float
    """Height above the sill or distance from the middle, as a fraction of what there is."""
    width: float
    """Meters."""
    slope: float
    """How much it rises towards the tail, or how it widens."""
    color: Color


@dataclass(frozen=True, slots=True)
class Lettering:
    """A firm's name: made-up letters on the flanks, on the tail and perhaps on the hood."""

    letters: tuple[int, ...]
    """Bits of 3 x 5 cells each."""
    place: float
    """Along the flank, 0 to 1."""
    height: float
    """Meters."""
    color: Color
    ground: Color | None
    on_hood: bool


@dataclass(frozen=True, slots=True)
class Sticker:
    """A small rectangle on one side: "nose", "tail", "left" or "right"."""

    side: str
    along: float
    up: float
    size: tuple[float, float]
    color: Color


@dataclass(frozen=True, slots=True)
class Wear:
    """Dirt, dents, rust and scratches.

    Attributes:
        dirt: how opaque the dirt is at the sill, 0 to 1.
        dust: its color.
        dents: x, z, radius and side (1 left, -1 right), meters.
        scratches: x, z, length and side.
        odd_panel: a door or fender of another shade: start and end along the vehicle, side, factor; or None.
    """

    dirt: float
    dust: Color
    dents: tuple[tuple[float, float, float, int], ...]
    scratches: tuple[tuple[float, float, float, int], ...]
    odd_panel: tuple[float, float, int, float] | None


@dataclass(frozen=True, slots=True)
class Marks:
    """Everything that distinguishes a vehicle from others of its model and paint; `seed` draws textures."""

    seed: int
    roof: Color | None
    lower: Color | None
    stripes: tuple[Stripe, ...]
    lettering: Lettering | None
    stickers: tuple[Sticker, ...]
    wear: Wear
    rim: str
    spokes: int
    rim_shade: float
    rim_size: float
    tinted: bool
    fitting: str
    fitting_color: Color
    fitting_place: float
    spoiler: bool
    plate: Color
    plate_shift: float


def _tone(rng: np.random.Generator) -> Color:
    return TONES[rng.integers(len(TONES))]


def _stripe(rng: np.random.Generator) -> Stripe:
    over_top = bool(rng.random() < 0.4)
    width = float(rng.uniform(0.08, 0.30) if over_top else rng.uniform(0.04, 0.22))
    return Stripe(over_top, float(rng.uniform(0.0, 0.75)), width, float(rng.normal(0, 0.05)), _tone(rng))


def _lettering(rng: np.random.Generator) -> Lettering:
    return Lettering(
        letters=tuple(int(bits) for bits in rng.integers(1 << 9, 1 << 15, size=rng.integers(3, 9))),
        place=float(rng.uniform(0.3, 0.6)),
        height=float(rng.uniform(0.14, 0.30)),
        color=_tone(rng),
        ground=_tone(rng) if rng.random() < 0.4 else None,
        on_hood=bool(rng.random() < 0.4),
    )


def _sticker(rng: np.random.Generator) -> Sticker:
    return Sticker(
        side=("nose", "tail", "left", "right")[rng.integers(4)],
        along=float(rng.uniform(-0.8, 0.8)),
        up=float(rng.uniform(0.15, 0.9)),
        size=(float(rng.uniform(0.08, 0.26)), float(rng.uniform(0.06, 0.18))),
        color=_tone(rng),
    )


def _wear(rng: np.random.Generator) -> Wear:
    def spots(count: int, low: float, high: float) -> tuple[tuple[float, float, float, int], ...]:
        places = rng.uniform((-0.85, 0.3, low), (0.85, 0.9, high), size=(count, 3)).tolist()
        return tuple(
            (x, z, size, int(side)) for (x, z, size), side in zip(places, rng.choice((-1, 1), count), strict=True)
        )

    start = float(rng.uniform(0.05, 0.6))
    odd = (start, start + float(rng.uniform(0.15, 0.25)), int(rng.choice((-1, 1))), float(rng.uniform(0.55, 1.6)))
    return Wear(
        dirt=float(np.clip(rng.gamma(1.2, 0.22), 0, 0.85)),
        dust=DUST[rng.integers(len(DUST))],
        dents=spots(int(rng.poisson(0.7)), 0.08, 0.25),
        scratches=spots(int(rng.poisson(1.0)), 0.2, 0.9),
        odd_panel=odd if rng.random() < 0.12 else None,
    )


def draw_marks(rng: np.random.Generator, *, commercial: bool) -> Marks:
    """Draw a vehicle's marks; those of firms carry more of them."""
    return Marks(
        seed=int(rng.integers(1 << 31)),
        roof=_tone(rng) if rng.random() < (0.25 if commercial else 0.10) else None,
        lower=_tone(rng) if rng.random() < (0.25 if commercial else 0.06) else None,
        stripes=tuple(_stripe(rng) for _ in range(rng.poisson(1.0 if commercial else 0.25))),
        lettering=_lettering(rng) if rng.random() < (0.7 if commercial else 0.06) else None,
        stickers=tuple(_sticker(rng) for _ in range(rng.poisson(1.6))),
        wear=_wear(rng),
        rim=RIMS[rng.integers(len(RIMS))],
        spokes=int(rng.integers(4, 11)),
        rim_shade=float(rng.choice((45, 110, 170, 205))),
        rim_size=float(rng.uniform(0.60, 0.80)),
        tinted=bool(rng.random() < 0.25),
        fitting=FITTINGS[rng.integers(len(FITTINGS))],
        fitting_color=_tone(rng),
        fitting_place=float(rng.uniform(0.25, 0.75)),
        spoiler=bool(rng.random() < 0.12),
        plate=PLATES[rng.integers(len(PLATES))],
        plate_shift=float(rng.choice((0.0, 0.0, 0.0, -0.25, 0.25))),
    )
