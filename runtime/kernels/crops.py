"""Where crops are in memory: boxes in whole pictures, or pictures packed one after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["CROP", "Interleaved", "Layout", "Nv12", "Picture", "check_crops", "crops_of_boxes", "crops_of_pictures"]

CROP = np.dtype(
    [
        *(("offset", np.int64), ("chroma", np.int64), ("pitch", np.int32)),
        *(("left", np.int32), ("top", np.int32), ("width", np.int32), ("height", np.int32)),
        ("position", np.int32),
    ]
)
"""A box in a picture and the position of its frame in a batch; `struct Crop` in resize.h says what the fields are."""

LONGEST_SIDE = 32767
"""The most pixels of a side, of a crop and of what it becomes: (2 * pixel + 1) * side has to fit 32 bits."""


@dataclass(frozen=True, slots=True)
class Interleaved:
    """Pictures of three bytes a pixel.

    Attributes:
        order: the order of the bytes; OpenCV's is "bgr".
    """

    order: Literal["rgb", "bgr"] = "rgb"


@dataclass(frozen=True, slots=True)
class Nv12:
    """Pictures as video decoders give them: a plane of Y, and one of Cb and Cr by turns, of half the size.

    Attributes:
        matrix: the standard that says how colors were made Y, Cb and Cr; most videos in HD are "bt709".
        range: whether black is Y = 16 and white 235 ("limited", as in most videos), or 0 and 255 ("full").
    """

    matrix: Literal["bt601", "bt709", "bt2020"]
    range: Literal["limited", "full"]

    def factors(self) -> tuple[int, ...]:
        """Return black's Y and the factors * 2^20: Y; Cr of red; Cb and Cr of green; Cb of blue.

        Source: ITU-T H.273, section 8.3, with K_R and K_B of ITU-R BT.601, BT.709 and BT.2020.
        """
        red, blue = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}[self.matrix]
        black, luma, chroma = (16, 255 / 219, 255 / 224) if self.range == "limited" else (0, 1.0, 1.0)
        green = 1 - red - blue
        red_cr, blue_cb = 2 * (1 - red) * chroma, 2 * (1 - blue) * chroma
        factors = (luma, red_cr, -blue_cb * blue / green, -red_cr * red / green, blue_cb)
        return black, *(round(factor * 2**20) for factor in factors)


Layout: TypeAlias = Interleaved | Nv12
"""How the pixels of a picture lie in memory."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in a buffer of bytes.

    Attributes:
        height: the number of rows.
        width: the number of pixels of a row.
        offset: the bytes in front of its first row.
        pitch: the bytes from one row to the next.
        chroma: NV12: the bytes in front of the first row of its color.
    """

    height: int
    width: int
    offset: int
    pitch: int
    chroma: int = 0


def crops_of_boxes(picture: Picture, boxes: NDArray[np.integer[Any]], first: int = 0) -> NDArray[np.void]:
    """Return the crops of boxes in a picture, as NumPy would cut them out: what reaches over the edge is left out.

    Args:
        picture: the picture.
        boxes: integers [n, 4]: left, top, right, bottom; right and bottom are not part of the box any more.
        first: the position of the first crop in the batch; the others follow.

    Returns:
        CROP [n].

    Raises:
        ValueError: nothing of a box is inside the picture.
    """
    low = np.maximum(boxes[:, :2], 0)
    high = np.minimum(boxes[:, 2:], (picture.width, picture.height))
    if (empty := np.flatnonzero((low >= high).any(axis=1))).size:
        box = boxes[empty[0]].tolist()
        raise ValueError(f"box {box} has nothing of a picture of {picture.width} x {picture.height} pixels in it")
    crops = np.empty(len(boxes), CROP)
    crops["offset"], crops["chroma"], crops["pitch"] = picture.offset, picture.chroma, picture.pitch
    crops["left"], crops["top"] = low.T
    crops["width"], crops["height"] = (high - low).T
    crops["position"] = np.arange(first, first + len(boxes))
    return crops


def crops_of_pictures(pictures: Sequence[Picture], first: int = 0) -> NDArray[np.void]:
    """Return whole pictures as crops, CROP [n]; `first` as in `crops_of_boxes`."""
    rows = [
        (picture.offset, picture.chroma, picture.pitch, 0, 0, picture.width, picture.height, first + index)
        for index, picture in enumerate(pictures)
    ]
    return np.array(rows, CROP)


def check_crops(crops: NDArray[np.void], size: int, frames: int, layout: Layout) -> None:
    """Raise ValueError where a crop is not inside a buffer of `size` bytes, or has no frame of its own among `frames`.

    Args:
        crops: CROP [n].
        size: the bytes of the buffer.
        frames: how many frames a batch has.
        layout: how the pixels lie in the buffer.
    """
    right, bottom = crops["left"].astype(np.int64) + crops["width"], crops["top"].astype(np.int64) + crops["height"]
    channels = 3 if isinstance(layout, Interleaved) else 1
    wrong = {
        "is empty": (crops["width"] < 1) | (crops["height"] < 1),
        f"is larger than {LONGEST_SIDE} pixels": (crops["width"] > LONGEST_SIDE) | (crops["height"] > LONGEST_SIDE),
        "begins outside its picture": (crops["left"] < 0) | (crops["top"] < 0) | (crops["offset"] < 0),
        "has rows that overlap": crops["pitch"] < channels * right,
        "ends outside the buffer": crops["offset"] + (bottom - 1) * crops["pitch"] + channels * right > size,
        "has no frame": (crops["position"] < 0) | (crops["position"] >= frames),
    }
    if isinstance(layout, Nv12):
        end = crops["chroma"] + (bottom - 1) // 2 * crops["pitch"] + (right + 1) // 2 * 2
        wrong["has color outside the buffer"] = (crops["chroma"] < 0) | (end > size)
        wrong["has color rows that overlap"] = crops["pitch"] < (right + 1) // 2 * 2
    for reason, where in wrong.items():
        if where.any():
            first = int(np.flatnonzero(where)[0])
            raise ValueError(f"crop {first} {reason}: {dict(zip(crops.dtype.names or (), crops[first], strict=True))}")
    if len(np.unique(crops["position"])) < len(crops):
        raise ValueError("two crops have the same frame")
