"""Embed the vehicles of one picture: a detector's boxes in, a feature for each out, as trackers want them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid.runtime.embedding import embed
from reid.runtime.errors import DataError
from reid.runtime.pipeline.events import Crop, cut
from reid.runtime.sessions.session import Session
from reid.runtime.tracklet import Tracklet

__all__ = ["embed_boxes"]


def embed_boxes(session: Session, picture: NDArray[np.uint8], corners: ArrayLike) -> NDArray[np.float32]:
    """Embed each box of a picture on its own, as `embed` does a tracklet of that one crop.

    Args:
        session: the model; it stays the caller's to close.
        picture: uint8 RGB [H, W, 3]. OpenCV's pictures are BGR: give `picture[:, :, ::-1]`.
        corners: [n, 4], left, top, right and bottom of each box in pixels, as detectors and trackers give them. They
            are rounded to whole pixels, and what lies outside the picture is cut off.

    Returns:
        float32 [n, D], L2-normalized; a row of zeros for a box of which nothing lies in the picture.

    Raises:
        DataError: the picture or the boxes are of another type or shape, or a corner is not finite.
        SessionError: the device failed.
    """
    boxes = _boxes_in(picture, corners)
    crops = [cut(Crop(picture, (left, top, right - left, bottom - top))) for left, top, right, bottom in boxes]
    seen = [index for index, crop in enumerate(crops) if crop.size]
    features = np.zeros((len(crops), session.info.card.dimensions), np.float32)
    for index, one in zip(seen, embed(session, (Tracklet(str(index), [crops[index]]) for index in seen)), strict=True):
        assert one.embedding is not None  # the picture has been checked
        features[index] = one.embedding
    return features


def _boxes_in(picture: NDArray[np.uint8], corners: ArrayLike) -> list[tuple[int, int, int, int]]:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise DataError(f"the picture is {picture.dtype} {list(picture.shape)}, expected RGB, uint8 [H, W, 3]")
    boxes = np.asarray(corners, np.float64)
    boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise DataError(f"the boxes are {list(boxes.shape)}, expected [n, 4]: left, top, right, bottom")
    if not np.isfinite(boxes).all():
        (index, *_) = np.flatnonzero(~np.isfinite(boxes).all(axis=1))
        raise DataError(f"box {index} is {boxes[index].tolist()}; leave out boxes that are not finite")
    height, width = picture.shape[:2]
    inside = np.clip(np.rint(boxes), 0, (width, height, width, height)).astype(int)
    return [(left, top, right, bottom) for left, top, right, bottom in inside.tolist()]
