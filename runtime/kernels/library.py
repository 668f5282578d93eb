"""The kernels as functions: each checks its arrays, packs its arguments and puts its work on a stream."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.cuda import Cuda, DeviceArray, DeviceBuffer, Stream
from reid.runtime.cuda_driver.kernels import Argument
from reid.runtime.errors import SessionError
from reid.runtime.kernels.crops import CROP, LONGEST_SIDE, Interleaved, Layout, check_crops

__all__ = ["ADDITION", "MOST_ROWS", "Kernels", "check_dimensions", "checked", "fat_binary"]

ADDITION = np.dtype([("row", np.int32), ("fresh", np.int32), ("weight", np.float32)])
"""Where a row of a batch belongs, whether its tracklet begins with it, and the weight of its frames in the batch."""

_TILE, _RESIZE_THREADS = 32, 256  # resize.h
_POOLING_THREADS, _POOLING_PACK = 256, 4  # pooling.h

MOST_ROWS = 65535
"""The most blocks in the second direction of a grid."""


def fat_binary() -> bytes:
    """Return the code of the kernels for all GPUs that they were built for.

    Raises:
        SessionError: reid was built without a CUDA compiler.
    """
    try:
        return files("reid.runtime.kernels").joinpath("kernels.fatbin").read_bytes()
    except FileNotFoundError:
        remedy = "install the CUDA toolkit, so that nvcc is on the PATH, and then reid again"
        raise SessionError(f"reid was installed without a CUDA compiler and has no kernels; {remedy}") from None


def checked(name: str, array: DeviceArray, dtype: Any, shape: tuple[int | None, ...]) -> DeviceArray:  # noqa: ANN401
    """Return an array if it has a type and a shape, in which None is any size. Raises ValueError."""
    fits = len(array.shape) == len(shape) and all(e in (None, s) for s, e in zip(array.shape, shape, strict=True))
    if array.dtype != np.dtype(dtype) or not fits:
        wanted = ["any" if size is None else size for size in shape]
        raise ValueError(f"{name} is {array.dtype} {list(array.shape)}, expected {np.dtype(dtype)} {wanted}")
    return array


class Kernels:
    """The kernels, loaded on a GPU. May be used from any thread, with a stream for each.

    What a kernel reads is read when the stream comes to it: arrays on the host that are pinned, and `room` on the
    device, which takes a copy of them, must stay as they are until then.
    """

    def __init__(self, cuda: Cuda) -> None:
        """Load the kernels. Raises SessionError where there are none, or none for this GPU."""
        self.cuda = cuda
        self._module = cuda.module(fat_binary())
        self._functions = {name: self._module.function(name) for name in _NAMES}

    def launch(
        self, name: str, grid: tuple[int, int], threads: int, arguments: Sequence[Argument], stream: Stream
    ) -> None:
        """Put a kernel on a stream, by its name in kernels.cu."""
        self._functions[name].launch(grid, (threads,), arguments, stream)

    def resize_crops(
        self,
        pixels: DeviceArray,
        layout: Layout,
        crops: NDArray[np.void],
        room: DeviceBuffer,
        frames: DeviceArray,
        stream: Stream,
    ) -> None:
        """Resize crops, as `reid.runtime.imaging.resize` does, to RGB frames; to within 1 of 255.

        Args:
            pixels: uint8 [bytes], in which all pictures lie.
            layout: how the pixels of a picture lie.
            crops: CROP [n]: where each crop is and which frame it becomes.
            room: for a copy of `crops` on the device.
            frames: uint8 [N, 3, H, W]; frames that no crop becomes stay as they are.
            stream: the stream.

        Raises:
            ValueError: an array has another type or shape, or a crop is not inside the pixels.
        """
        checked("pixels", pixels, np.uint8, (None,))
        count, _, height, width = checked("frames", frames, np.uint8, (None, 3, None, None)).shape
        if not 1 <= min(height, width) <= max(height, width) <= LONGEST_SIDE:
            raise ValueError(f"frames are {height} x {width} pixels, expected 1 to {LONGEST_SIDE}")
        _check_rows("crops", crops, CROP)
        check_crops(crops, pixels.nbytes, count, layout)
        if not len(crops):
            return
        self.cuda.upload(room, crops, stream)
        tiles = -(-height // _TILE) * -(-width // _TILE)
        name, colors = _colors(layout)
        arguments: list[Argument] = [pixels, room, frames, *map(np.int32, (height, width, *colors))]
        self.launch(name, (tiles, len(crops)), _RESIZE_THREADS, arguments, stream)

    def accumulate(
        self,
        pooled: DeviceArray,
        additions: NDArray[np.void],
        room: DeviceBuffer,
        sums: DeviceArray,
        weights: DeviceArray,
        stream: Stream,
    ) -> None:
        """Add the tracklets of a batch to the sums of those that are not complete yet.

        Args:
            pooled: float32 [T, D] of a batch, D a multiple of 8; row t belongs to `additions[t]`.
            additions: ADDITION [n], n <= T, each with another row of `sums`.
            room: for a copy of `additions` on the device.
            sums: float32 [S, D].
            weights: float32 [S], to which the weights of the frames are added.
            stream: the stream.

        Raises:
            ValueError: an array has another type or shape, or an addition no row of its own.
        """
        rows, dimensions = checked("sums", sums, np.float32, (None, None)).shape
        most = checked("pooled", pooled, np.float32, (None, check_dimensions(dimensions))).shape[0]
        checked("weights", weights, np.float32, (rows,))
        _check_rows("additions", additions, ADDITION, most)
        _check_indices("additions", additions["row"], rows)
        if len(np.unique(additions["row"])) < len(additions):
            raise ValueError("two additions have the same row: a batch has one row of each tracklet")
        if not len(additions):
            return
        self.cuda.upload(room, additions, stream)
        grid = (-(-dimensions // (_POOLING_THREADS * _POOLING_PACK)), len(additions))
        arguments: list[Argument] = [pooled, room, sums, weights, np.int32(dimensions)]
        self.launch("accumulate_rows", grid, _POOLING_THREADS, arguments, stream)

    def normalize(
        self, sums: DeviceArray, rows: NDArray[np.int32], room: DeviceBuffer, embeddings: DeviceArray, stream: Stream
    ) -> None:
        """L2-normalize rows, as `reid.runtime.normalization.normalize` does: a zero vector stays zero.

        Args:
            sums: float32 [S, D], D a multiple of 8.
            rows: int32 [n]: the rows of `sums` that are wanted.
            room: for a copy of `rows` on the device.
            embeddings: float32 [N, D], n <= N, of which the first n are written.
            stream: the stream.

        Raises:
            ValueError: an array has another type or shape, or a row is not there.
        """
        count, dimensions = checked("sums", sums, np.float32, (None, None)).shape
        most = checked("embeddings", embeddings, np.float32, (None, check_dimensions(dimensions))).shape[0]
        _check_rows("rows", rows, np.dtype(np.int32), most)
        _check_indices("rows", rows, count)
        if not len(rows):
            return
        self.cuda.upload(room, rows, stream)
        arguments: list[Argument] = [sums, room, embeddings, np.int32(dimensions)]
        self.launch("normalize_rows", (len(rows), 1), _POOLING_THREADS, arguments, stream)


_NAMES = (
    *("resize_interleaved", "resize_nv12", "accumulate_rows", "normalize_rows", "select_best"),
    *(f"{name}_{dtype}" for name in ("score_few", "score_many", "exact_distances") for dtype in ("float32", "float16")),
)


def _colors(layout: Layout) -> tuple[str, tuple[int, ...]]:
    """Return the kernel for a layout, and what it takes of it."""
    if isinstance(layout, Interleaved):
        return "resize_interleaved", (int(layout.order == "bgr"),)
    return "resize_nv12", layout.factors()


def check_dimensions(count: int) -> int:
    """Return the size of embeddings if kernels can read it 16 bytes at a time, in FP16 too. Raises ValueError."""
    if count % 8 or not count:
        raise ValueError(f"embeddings have {count} dimensions, expected a multiple of 8: pad them with zeros")
    return count


def _check_rows(name: str, array: NDArray[Any], dtype: np.dtype[Any], most: int = MOST_ROWS) -> None:
    if array.dtype != dtype or array.ndim != 1:
        raise ValueError(f"{name} are {array.dtype} {list(array.shape)}, expected {dtype} [n]")
    if len(array) > min(most, MOST_ROWS):
        raise ValueError(f"there are {len(array)} {name}, more than {min(most, MOST_ROWS)}")


def _check_indices(name: str, rows: NDArray[np.int32], count: int) -> None:
    if wrong := [int(row) for row in rows if not 0 <= row < count]:
        raise ValueError(f"row {wrong[0]} of {name} is not one of {count}")
