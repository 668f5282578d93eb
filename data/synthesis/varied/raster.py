"""From a solid to pixels: which texel every pixel of a canvas shows."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from reid.data.synthesis.varied.sheets import Floats, Solid

__all__ = ["texels_seen"]

SUBPIXEL_BITS = 4


def texels_seen(
    solid: Solid,
    pixels: NDArray[np.float64],
    depth: NDArray[np.float64],
    facing: NDArray[np.bool_],
    size: tuple[int, int],
) -> NDArray[np.int64]:
    """Return the texel that each pixel shows, int64 [H, W]; -1 where it shows none.

    Faces are painted from far to near by the depth of their corners, which is right for small faces; a texel is then
    looked up by an affine map of each face.

    Args:
        solid: the solid.
        pixels: where its faces' corners are on the canvas, [F, 4, 2].
        depth: how far its faces are away, [F].
        facing: which faces look to the eye, [F].
        size: (width, height) of the canvas.
    """
    faces = np.full((size[1], size[0]), -1, np.int32)
    fixed = np.round(pixels * 2**SUBPIXEL_BITS).astype(np.int32)
    order = np.argsort(-(depth - solid.nearer), kind="stable")
    for face in order[facing[order]].tolist():
        cv2.fillConvexPoly(faces, fixed[face], face, shift=SUBPIXEL_BITS)
    rows, columns = np.nonzero(faces >= 0)
    shown = faces[rows, columns]
    down, right = _inside(pixels, shown, rows, columns)
    spans = solid.spans[shown]
    texel = solid.corners[shown, 0] + solid.strides[shown] * (down * spans[:, 0]).astype(np.int64)
    seen = np.full(faces.shape, -1, np.int64)
    seen[rows, columns] = texel + (right * spans[:, 1]).astype(np.int64)
    return seen


def _inside(
    pixels: NDArray[np.float64], faces: NDArray[np.int32], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return where in their faces pixels are, along rows and along columns, 0 to 1."""
    a, b, c, d = np.moveaxis(pixels, 1, 0)
    down, right = 0.5 * (b - a + c - d), 0.5 * (d - a + c - b)
    start = pixels.mean(axis=1) - 0.5 * (down + right)
    area = down[:, 0] * right[:, 1] - down[:, 1] * right[:, 0]
    area = np.where(np.abs(area) < 1e-6, 1e-6, area)
    to_down = np.stack([right[:, 1], -right[:, 0]], axis=1) / area[:, None]
    to_right = np.stack([-down[:, 1], down[:, 0]], axis=1) / area[:, None]
    maps = np.concatenate([start, to_down, to_right], axis=1).astype(np.float32)[faces]
    x, y = columns.astype(np.float32) - maps[:, 0], rows.astype(np.float32) - maps[:, 1]
    along = maps[:, 2] * x + maps[:, 3] * y
    across = maps[:, 4] * x + maps[:, 5] * y
    return np.clip(along, 0, 0.999), np.clip(across, 0, 0.999)
