"""Colored polygons in meters: the surfaces that decals lie on, and the mesh that the renderer paints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "CHROME", "GLASS", "LAMP", "MATTE", "PAINT",
    "Color", "Face", "Level", "Material", "Mesh", "Part", "Points", "Surface", "box", "disc", "turned",
]  # fmt: skip

Points: TypeAlias = NDArray[np.float64]
"""Points in the vehicle's frame, float64 [n, 3], meters: x to the nose, y to the left, z up, ground at 0."""

Color: TypeAlias = tuple[float, float, float]
"""RGB, 0 to 255."""


@dataclass(frozen=True, slots=True)
class Material:
    """How a face reflects light: strength of the sun's highlight and of the mirrored sky, 0 to 1."""

    highlight: float
    mirror: float


MATTE = Material(0.0, 0.0)
PAINT = Material(0.35, 0.10)
GLASS = Material(0.60, 0.40)
LAMP = Material(0.50, 0.12)
CHROME = Material(0.60, 0.25)


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A flat convex polygon: points [n, 3], outward unit normal [3], RGB color, material."""

    points: Points
    normal: Points
    color: Color
    material: Material = MATTE


class Level(IntEnum):
    """Stories of a vehicle. Every camera is above the roof, so painting them in this order is exact."""

    WHEELS = 0
    LOWER = 1
    UPPER = 2
    ROOF = 3


@dataclass(frozen=True, slots=True)
class Part:
    """Faces painted together in the order given, decals after what they lie on; culled by their normals."""

    level: Level
    faces: Sequence[Face]


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """A quadrilateral with coordinates u and v in [0, 1], on which decals are laid.

    Attributes:
        corners: float64 [4, 3], at (u, v) = (0, 0), (1, 0), (1, 1), (0, 1).
        normal: float64 [3], outward, of length 1.
    """

    corners: Points
    normal: Points

    @classmethod
    def spanned(cls, corners: ArrayLike) -> Surface:
        """Build the surface whose corners run counterclockwise seen from outside."""
        quad = np.asarray(corners, dtype=np.float64)
        normal = np.cross(quad[2] - quad[0], quad[3] - quad[1])
        return cls(quad, normal / np.linalg.norm(normal))

    def mirrored(self) -> Surface:
        """Return the same surface with u running the other way."""
        return Surface(self.corners[[1, 0, 3, 2]], self.normal)

    @property
    def width(self) -> float:
        """Length of the edge v = 0, meters."""
        return float(np.linalg.norm(self.corners[1] - self.corners[0]))

    @property
    def height(self) -> float:
        """Length of the edge u = 0, meters."""
        return float(np.linalg.norm(self.corners[3] - self.corners[0]))

    def face(self, color: Color, material: Material = MATTE) -> Face:
        """Return the whole surface as one face."""
        return Face(self.corners, self.normal, color, material)

    def decal(self, uv: ArrayLike, color: Color, material: Material = MATTE) -> Face:
        """Return the face whose corners are at `uv`, [n, 2]; values outside [0, 1] reach beyond the edge."""
        u, v = np.asarray(uv, dtype=np.float64).T[:, :, None]
        a, b, c, d = self.corners
        points = (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * d + u * c)
        return Face(points, self.normal, color, material)

    def rectangle(
        self, u: tuple[float, float], v: tuple[float, float], color: Color, material: Material = MATTE
    ) -> Face:
        """Return the decal that covers the ranges `u` and `v`."""
        return self.decal([(u[0], v[0]), (u[1], v[0]), (u[1], v[1]), (u[0], v[1])], color, material)


@dataclass(frozen=True, slots=True, eq=False)
class Mesh:
    """A vehicle's faces, flattened for one projection per frame.

    Attributes:
        vertices: float64 [V, 3], meters, vehicle frame.
        starts: int64 [F + 1]; face f has the vertices starts[f] to starts[f + 1].
        centers: float64 [F, 3].
        normals: float64 [F, 3].
        colors: float64 [F, 3], RGB 0 to 255.
        materials: float64 [F, 2], highlight and mirror.
        part_starts: int64 [P + 1]; part p has the faces part_starts[p] to part_starts[p + 1].
        levels: int64 [P].
        bounds: float64 [P, 2, 3], least and greatest corner of each part.
    """

    vertices: Points
    starts: NDArray[np.int64]
    centers: Points
    normals: Points
    colors: NDArray[np.float64]
    materials: NDArray[np.float64]
    part_starts: NDArray[np.int64]
    levels: NDArray[np.int64]
    bounds: NDArray[np.float64]

    @classmethod
    def of(cls, parts: Iterable[Part]) -> Mesh:
        """Flatten `parts`; each has at least one face."""
        parts = tuple(parts)
        faces = [face for part in parts for face in part.faces]
        corners = [np.concatenate([face.points for face in part.faces]) for part in parts]
        return cls(
            vertices=np.concatenate(corners),
            starts=np.cumsum([0, *(len(face.points) for face in faces)]),
            centers=np.array([face.points.mean(axis=0) for face in faces]),
            normals=np.array([face.normal for face in faces]),
            colors=np.array([face.color for face in faces], dtype=np.float64),
            materials=np.array([(face.material.highlight, face.material.mirror) for face in faces]),
            part_starts=np.cumsum([0, *(len(part.faces) for part in parts)]),
            levels=np.array([part.level for part in parts], dtype=np.int64),
            bounds=np.array([(points.min(axis=0), points.max(axis=0)) for points in corners]),
        )

    def paint_order(self, eye: Points) -> NDArray[np.int64]:
        """Return the faces that point at `eye` ([3], vehicle frame), farthest first.

        Parts of one level are separated either sideways (wheels, mirrors) or lengthwise (cab, box, cargo).
        """
        low, high = self.bounds[:, 0], self.bounds[:, 1]
        side = np.sign(eye[1]) * ((low[:, 1] > 0).astype(int) - (high[:, 1] < 0))
        lengthwise = np.maximum(low[:, 0] - eye[0], eye[0] - high[:, 0])
        parts = np.lexsort((-lengthwise, side, self.levels))
        order = np.concatenate([np.arange(self.part_starts[p], self.part_starts[p + 1]) for p in parts])
        facing = ((eye - self.centers) * self.normals).sum(axis=1) > 0
        return np.asarray(order[facing[order]])


def box(low: ArrayLike, high: ArrayLike, color: Color, material: Material = MATTE) -> list[Face]:
    """Return the five faces of an upright box between two corners, [3] each; it is never seen from below."""
    (x0, y0, z0), (x1, y1, z1) = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    foot = [(x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    sides = [[(*p, z0), (*q, z0), (*q, z1), (*p, z1)] for p, q in zip(foot, foot[1:] + foot[:1], strict=True)]
    top = [(x, y, z1) for x, y in foot]
    return [Surface.spanned(quad).face(color, material) for quad in (*sides, top)]


def turned(yaw: float) -> NDArray[np.float64]:
    """Return the rotation by `yaw` around z, radians, counterclockwise, [3, 3]."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def disc(center: ArrayLike, radius: float, side: int, color: Color, material: Material = MATTE) -> Face:
    """Return an upright disc that faces left (`side` 1) or right (-1) around `center`, [3]."""
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    ring = np.stack([np.cos(turn), np.zeros_like(turn), np.sin(turn)], axis=1)
    normal = np.array([0.0, side, 0.0])
    return Face(np.asarray(center, dtype=np.float64) + radius * ring, normal, color, material)
