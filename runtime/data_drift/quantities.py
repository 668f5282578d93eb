"""The quantities by which crops are compared with the reference, and the least change of each that matters."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

__all__ = ["LEAST_CHANGES", "PIXEL_QUANTITIES", "QUANTITIES", "Quantity"]

Quantity: TypeAlias = Literal[
    "size",
    "shape",
    "sharpness",
    "detail",
    "brightness",
    "color",
    "edges",
    "border",
    "likeness",
    "agreement",
    "score",
]
"""What is measured of a tracklet: of its crops, the means; then of their embeddings.

- size: the logarithm of the shorter side in pixels;
- shape: the logarithm of width / height;
- sharpness, detail: the logarithm of the variance of the Laplacian at 64 x 64 and at 128 x 128 pixels;
- brightness: the mean gray level, 0 to 1;
- color: the mean of red minus blue, -1 to 1;
- edges: the logarithm of how much stronger horizontal edges are than vertical ones, the crop made square;
- border: the share of flat rows or columns at the sides, 0 to 1;
- likeness: the mean cosine similarity of its frames to the mean of the reference's;
- agreement: the mean cosine similarity of two of its frames, by Fisher's transformation; unknown for a single frame;
- score: the similarity of its best match in another camera, by Fisher's transformation, less the run's median; only
  of queries.
"""

QUANTITIES: tuple[Quantity, ...] = get_args(Quantity)

PIXEL_QUANTITIES: tuple[Quantity, ...] = QUANTITIES[:8]
"""Those that need no model."""

LEAST_CHANGES: dict[Quantity, float] = {
    "size": 0.15,
    "shape": 0.1,
    "sharpness": 0.3,
    "detail": 0.3,
    "brightness": 0.04,
    "color": 0.02,
    "edges": 0.1,
    "border": 0.03,
    "likeness": 0.02,
    "agreement": 0.1,
    "score": 0.1,
}
"""Smaller changes are never reported, however many crops show them."""
