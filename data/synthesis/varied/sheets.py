"""Textured surfaces: grids of texels that lie in space, and the solid that they make up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Floats", "Sheet", "Solid", "linear", "plain_box", "wrap"]

Floats: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """A curved surface of R x C texels; its faces are quadrilaterals between some of them.

    Attributes:
        points: float32 [R, C, 3], meters, in the vehicle's frame.
        normals: float32 [R, C, 3], outward, of length 1.
        albedo: float32 [R, C, 3], linear RGB, 0 to 1.
        mirror: float32 [R, C], the share of light that is mirrored head-on, 0 to 1.
        glow: float32 [R, C], how bright a lamp shines here when it is on.
        cells: number of faces along rows and columns.
        nearer: meters by which the faces count as nearer to the eye than they are, in the order of painting.
    """

    points: Floats
    normals: Floats
    albedo: Floats
    mirror: Floats
    glow: Floats
    cells: tuple[int, int]
    nearer: float = 0.0

    @classmethod
    def blank(cls, points: Floats, cells: tuple[int, int], nearer: float = 0.0) -> Sheet:
        """Lay a black, dull sheet on `points`, float32 [R, C, 3]; it looks to where columns turn to rows."""
        shape = points.shape[:2]
        return cls(
            points=points,
            normals=_normals(points),
            albedo=np.zeros((*shape, 3), np.float32),
            mirror=np.zeros(shape, np.float32),
            glow=np.zeros(shape, np.float32),
            cells=cells,
            nearer=nearer,
        )

    def paint(self, where: NDArray[np.bool_], color: ArrayLike, mirror: float = 0.0, glow: float = 0.0) -> None:
        """Paint the texels `where`, bool [R, C], in `color`, sRGB 0 to 255."""
        self.albedo[where] = linear(color)
        self.mirror[where], self.glow[where] = mirror, glow

    def blend(self, weight: Floats, color: ArrayLike) -> None:
        """Cover the texels with `color` as opaquely as `weight`, [R, C], 0 to 1, says; dull where opaque."""
        self.albedo[...] += weight[..., None] * (linear(color) - self.albedo)
        self.mirror[...] *= 1 - weight


@dataclass(frozen=True, slots=True, eq=False)
class Solid:
    """Sheets, flattened for one pass per frame.

    Attributes:
        points: float32 [T, 3], of all texels.
        normals: float32 [T, 3].
        albedo: float32 [T, 3].
        mirror: float32 [T].
        glow: float32 [T].
        corners: int64 [F, 4], the texels at the faces' corners: (row, column) = 00, 10, 11, 01.
        strides: int64 [F], texels from one row to the next.
        spans: int64 [F, 2], rows and columns from corner to corner.
        nearer: float32 [F].
    """

    points: Floats
    normals: Floats
    albedo: Floats
    mirror: Floats
    glow: Floats
    corners: NDArray[np.int64]
    strides: NDArray[np.int64]
    spans: NDArray[np.int64]
    nearer: Floats

    @classmethod
    def of(cls, sheets: Sequence[Sheet]) -> Solid:
        """Flatten `sheets`."""
        sizes = [sheet.mirror.size for sheet in sheets]
        faces = [_faces(sheet, start) for sheet, start in zip(sheets, np.cumsum([0, *sizes]), strict=False)]
        counts = [len(corners) for corners, _ in faces]
        return cls(
            points=np.concatenate([sheet.points.reshape(-1, 3) for sheet in sheets]),
            normals=np.concatenate([sheet.normals.reshape(-1, 3) for sheet in sheets]),
            albedo=np.concatenate([sheet.albedo.reshape(-1, 3) for sheet in sheets]),
            mirror=np.concatenate([sheet.mirror.ravel() for sheet in sheets]),
            glow=np.concatenate([sheet.glow.ravel() for sheet in sheets]),
            corners=np.concatenate([corners for corners, _ in faces]),
            spans=np.concatenate([spans for _, spans in faces]),
            strides=np.repeat([sheet.mirror.shape[1] for sheet in sheets], counts),
            nearer=np.repeat([np.float32(sheet.nearer) for sheet in sheets], counts),
        )


def _faces(sheet: Sheet, start: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows, columns = (
        np.linspace(0, size - 1, cells + 1).round().astype(np.int64)
        for size, cells in zip(sheet.mirror.shape, sheet.cells, strict=True)
    )
    row, column = (grid.ravel() for grid in np.meshgrid(rows[:-1], columns[:-1], indexing="ij"))
    height, width = (grid.ravel() for grid in np.meshgrid(np.diff(rows), np.diff(columns), indexing="ij"))
    stride = sheet.mirror.shape[1]
    first = start + row * stride + column
    corners = np.stack([first, first + height * stride, first + height * stride + width, first + width], axis=1)
    return corners, np.stack([height, width], axis=1)


def _normals(points: Floats) -> Floats:
    along = np.gradient(points, axis=0)
    across = np.gradient(points, axis=1)
    normals = np.cross(across, along)
    length = np.sqrt((normals**2).sum(axis=-1, keepdims=True))
    return np.asarray(normals / np.maximum(length, 1e-9), np.float32)


def linear(color: ArrayLike) -> Floats:
    """Return linear RGB, 0 to 1, of sRGB, 0 to 255."""
    return np.asarray((np.asarray(color, np.float32) / 255) ** 2.2, np.float32)


def wrap(quad: ArrayLike, texels: tuple[int, int] = (2, 2), nearer: float = 0.0) -> Sheet:
    """Return a flat sheet on corners [4, 3], counterclockwise seen from outside; columns run to the second one."""
    a, b, c, d = np.asarray(quad, np.float32)
    r, s = np.meshgrid(*(np.linspace(0, 1, n, dtype=np.float32) for n in texels), indexing="ij")
    r, s = r[..., None], s[..., None]
    return Sheet.blank((1 - r) * ((1 - s) * a + s * b) + r * ((1 - s) * d + s * c), (1, 1), nearer)


def plain_box(
    low: ArrayLike, high: ArrayLike, color: ArrayLike, mirror: float = 0.02, glow: float = 0.0
) -> list[Sheet]:
    """Return the five sheets of an upright box of one color between two corners, [3] each, without its floor."""
    (x0, y0, z0), (x1, y1, z1) = np.asarray(low, float), np.asarray(high, float)
    foot = [(x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    quads = [[(*p, z0), (*q, z0), (*q, z1), (*p, z1)] for p, q in zip(foot, foot[1:] + foot[:1], strict=True)]
    sheets = [wrap(quad, nearer=0.25) for quad in [*quads, [(x, y, z1) for x, y in foot]]]
    for sheet in sheets:
        sheet.paint(sheet.mirror == 0, color, mirror, glow)
    return sheets
