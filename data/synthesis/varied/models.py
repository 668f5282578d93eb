"""Vehicle models: the numbers behind the curves of a body, drawn within the ranges of its type."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reid.data.synthesis.body import BODIES

__all__ = ["Front", "Model", "Shape", "draw_model"]

LAMPS = ("box", "slant", "round", "slit")
TAILS = ("blocks", "columns", "bar", "rounds")
GRILLES = ("slats", "mesh", "split", "none")

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Shape:
    """Lengths in meters; positions along the vehicle as fractions from nose (0) to tail (1).

    Attributes:
        length: from nose to tail; of the cab alone where there is a box.
        width: greatest width.
        height: of the roof.
        clearance: height of the sill.
        nose: height of the hood's front edge.
        hood: height of the hood at the windshield.
        cowl: where the windshield begins.
        header: where the windshield meets the roof.
        crest: where the roof begins to fall.
        deck: where the rear window ends.
        deck_height: height of the trunk lid, or of the roof's end where there is none.
        belt: height of the shoulder at the nose.
        wedge: how much higher the shoulder is at the tail.
        plan: exponent of the superellipse seen from above: the higher, the squarer.
        section: exponent of the superellipse of a cross section above the shoulder.
        lean: how far the cabin's sides stand inside the shoulder.
        rake: how much nose and tail lean back above the bumper, 1/m.
        softness: radius of the side view's corners.
        wheel: radius of the wheels.
        axles: positions of the front and the rear axle.
        box: length of a truck's box; 0 for others.
    """

    length: float
    width: float
    height: float
    clearance: float
    nose: float
    hood: float
    cowl: float
    header: float
    crest: float
    deck: float
    deck_height: float
    belt: float
    wedge: float
    plan: float
    section: float
    lean: float
    rake: float
    softness: float
    wheel: float
    front_axle: float
    rear_axle: float
    box: float = 0.0


@dataclass(frozen=True, slots=True)
class Front:
    """Lamps, grille and windows, which a model's vehicles share.

    Attributes:
        lamp: shape of the headlights.
        tail: shape of the tail lights.
        grille: pattern of the grille.
        lamp_height: height of the headlights' lower edge, as a fraction of the nose's height.
        lamp_size: width and height of the headlights, in meters.
        grille_width: half of it, in meters.
        panes: number of side windows.
        cladding: height of the unpainted plastic above the sill, in meters.
        chrome: whether window frames and grille are bright.
    """

    lamp: str
    tail: str
    grille: str
    lamp_height: float
    lamp_size: tuple[float, float]
    grille_width: float
    panes: int
    cladding: float
    chrome: bool


@dataclass(frozen=True, slots=True)
class Model:
    """A vehicle model: its type (a position in `BODIES`), its shape and its face."""

    body: int
    shape: Shape
    front: Front


RANGES: dict[str, dict[str, Range]] = {
    "sedan": {
        "length": (4.3, 5.1), "width": (1.74, 1.92), "height": (1.40, 1.52), "clearance": (0.17, 0.24),
        "nose": (0.66, 0.78), "hood": (0.90, 1.00), "cowl": (0.26, 0.31), "header": (0.42, 0.48),
        "crest": (0.62, 0.72), "deck": (0.82, 0.90), "deck_height": (0.98, 1.10), "belt": (0.72, 0.82),
        "wedge": (0.08, 0.20), "plan": (4.0, 7.0), "section": (2.6, 3.6), "lean": (0.04, 0.12),
        "rake": (0.2, 0.7), "softness": (0.08, 0.22), "wheel": (0.31, 0.36),
        "front_axle": (0.17, 0.21), "rear_axle": (0.76, 0.81),
    },
    "truck": {
        "length": (1.7, 2.3), "width": (1.95, 2.25), "height": (2.0, 2.6), "clearance": (0.40, 0.50),
        "nose": (1.15, 1.30), "hood": (1.28, 1.42), "cowl": (0.04, 0.12), "header": (0.22, 0.38),
        "crest": (0.90, 0.95), "deck": (0.97, 0.99), "deck_height": (1.9, 2.0), "belt": (1.05, 1.15),
        "wedge": (0.0, 0.05), "plan": (6.0, 12.0), "section": (5.0, 9.0), "lean": (0.02, 0.06),
        "rake": (0.02, 0.06), "softness": (0.06, 0.16), "wheel": (0.40, 0.48),
        "front_axle": (0.42, 0.50), "rear_axle": (2.25, 2.5), "box": (3.4, 4.6),
    },
    "bus": {
        "length": (7.0, 8.2), "width": (2.15, 2.35), "height": (2.6, 3.0), "clearance": (0.28, 0.36),
        "nose": (1.15, 1.35), "hood": (1.20, 1.45), "cowl": (0.005, 0.02), "header": (0.03, 0.09),
        "crest": (0.95, 0.97), "deck": (0.985, 0.995), "deck_height": (2.4, 2.5), "belt": (1.05, 1.20),
        "wedge": (0.0, 0.04), "plan": (9.0, 16.0), "section": (6.0, 11.0), "lean": (0.0, 0.04),
        "rake": (0.01, 0.04), "softness": (0.08, 0.25), "wheel": (0.42, 0.48),
        "front_axle": (0.16, 0.24), "rear_axle": (0.70, 0.80),
    },
}  # fmt: skip
"""Ranges of uniform draws, by type and field."""

RANGES["hatchback"] = RANGES["sedan"] | {
    "length": (3.6, 4.3), "height": (1.44, 1.58), "cowl": (0.24, 0.30), "header": (0.42, 0.48), "crest": (0.72, 0.84),
    "deck": (0.94, 0.985), "deck_height": (1.02, 1.18), "front_axle": (0.18, 0.22), "rear_axle": (0.79, 0.83),
}  # fmt: skip
RANGES["estate"] = RANGES["sedan"] | {
    "length": (4.5, 5.0), "crest": (0.86, 0.91), "deck": (0.96, 0.985), "deck_height": (1.05, 1.15),
}  # fmt: skip
RANGES["suv"] = RANGES["estate"] | {
    "length": (4.2, 4.9), "width": (1.80, 2.00), "height": (1.62, 1.84), "clearance": (0.24, 0.34),
    "nose": (0.86, 1.02), "hood": (1.06, 1.18), "belt": (0.90, 1.02), "deck_height": (1.18, 1.34),
    "plan": (5.0, 9.0), "section": (2.8, 4.5), "wheel": (0.36, 0.42), "crest": (0.82, 0.90),
}  # fmt: skip
RANGES["mpv"] = RANGES["suv"] | {
    "length": (4.3, 4.9), "clearance": (0.18, 0.24), "nose": (0.72, 0.86), "hood": (1.00, 1.10), "cowl": (0.14, 0.20),
    "header": (0.36, 0.42), "wheel": (0.31, 0.35), "belt": (0.82, 0.92), "height": (1.62, 1.82),
}  # fmt: skip
RANGES["van"] = RANGES["mpv"] | {
    "length": (4.8, 5.6), "width": (1.90, 2.06), "height": (1.95, 2.45), "nose": (0.90, 1.05), "hood": (1.10, 1.25),
    "cowl": (0.12, 0.18), "header": (0.28, 0.33), "crest": (0.93, 0.96), "deck": (0.98, 0.99),
    "deck_height": (1.7, 1.85), "belt": (0.95, 1.08), "section": (4.0, 7.0), "rake": (0.03, 0.08),
}  # fmt: skip
RANGES["pickup"] = RANGES["suv"] | {
    "length": (5.0, 5.5), "height": (1.70, 1.88), "clearance": (0.32, 0.42), "cowl": (0.24, 0.28),
    "header": (0.36, 0.40), "crest": (0.52, 0.60), "deck": (0.60, 0.64), "deck_height": (1.06, 1.16),
    "belt": (0.98, 1.06), "wedge": (0.02, 0.08), "rake": (0.1, 0.3),
}  # fmt: skip

PANES: dict[str, tuple[int, ...]] = {"van": (0, 1, 3), "bus": (5, 6, 8), "truck": (1,), "suv": (3,), "estate": (3,)}


def draw_model(rng: np.random.Generator, body: int) -> Model:
    """Draw a model of the type `body`, a position in `BODIES`."""
    name = BODIES[body].name
    shape = Shape(**{field: float(rng.uniform(*ends)) for field, ends in RANGES[name].items()})
    panes = PANES.get(name, (2, 3))
    front = Front(
        lamp=LAMPS[rng.integers(len(LAMPS))],
        tail=TAILS[rng.integers(len(TAILS))],
        grille=GRILLES[rng.integers(len(GRILLES))],
        lamp_height=float(rng.uniform(0.72, 0.82)),
        lamp_size=(float(rng.uniform(0.28, 0.48)), float(rng.uniform(0.10, 0.20))),
        grille_width=float(rng.uniform(0.22, 0.55)),
        panes=int(panes[rng.integers(len(panes))]),
        cladding=float(rng.choice((0.0, 0.06, 0.18), p=(0.5, 0.3, 0.2))),
        chrome=bool(rng.random() < 0.35),
    )
    return Model(body, shape, front)
