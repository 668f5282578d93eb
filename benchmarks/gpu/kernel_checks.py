"""Every kernel beside NumPy and OpenCV, at sizes of real use or, as a program under a sanitizer, at small ones.

Needs neither PyTorch nor CuPy: `compute-sanitizer python kernel_checks.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.cuda import Cuda, DeviceArray, open_cuda
from reid.runtime.galleries.ranking import exact_distances
from reid.runtime.imaging import resize
from reid.runtime.kernels.crops import Interleaved, Layout, Nv12, Picture, crops_of_boxes
from reid.runtime.kernels.library import ADDITION, Kernels
from reid.runtime.kernels.top_k import Conditions, TopK

__all__ = ["LARGE", "SMALL", "Bench", "Check", "Sizes", "check_kernels"]

Check = tuple[str, bool, float]
"""What has to hold, whether it does, and what was found."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much the kernels are given.

    Attributes:
        picture: height and width of a picture.
        boxes: crops of it.
        side: side of what they become.
        gallery: entries of the gallery.
        dimensions: of an embedding.
    """

    picture: tuple[int, int]
    boxes: int
    side: int
    gallery: int
    dimensions: int


LARGE = Sizes((1080, 1920), 64, 256, 20_000, 1536)
SMALL = Sizes((90, 122), 9, 40, 700, 72)


@dataclass(frozen=True, slots=True)
class Bench:
    """The kernels on a GPU, a stream, and arrays to and from it."""

    cuda: Cuda
    kernels: Kernels
    stream: Any

    @classmethod
    def open(cls) -> Bench:
        """Load the kernels on the first GPU."""
        cuda = open_cuda()
        return cls(cuda, Kernels(cuda), cuda.stream())

    def put(self, array: NDArray[Any]) -> DeviceArray:
        """Return an array on the device."""
        buffer = self.cuda.allocate(max(1, array.nbytes))
        self.cuda.upload(buffer, np.ascontiguousarray(array), self.stream)
        return buffer.view(array.shape, array.dtype)

    def get(self, array: DeviceArray) -> NDArray[Any]:
        """Return what an array on the device holds."""
        found = np.empty(array.shape, array.dtype)
        self.cuda.download(found, array.buffer, self.stream)
        self.stream.synchronize()
        return found


def check_kernels(bench: Bench, sizes: Sizes) -> Iterator[Check]:
    """Yield one check after the other."""
    random = np.random.default_rng(0)
    yield from _resizing(bench, sizes, random)
    yield from _pooling(bench, sizes, random)
    for dtype in (np.float32, np.float16):
        yield from _ranking(bench, sizes, random, dtype)
        yield from _conditions(bench, sizes, random, dtype)


def _resizing(bench: Bench, sizes: Sizes, random: np.random.Generator) -> Iterator[Check]:
    height, width = sizes.picture
    boxes = _boxes(sizes, random)
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    whole = Picture(height, width, offset=0, pitch=3 * width)
    for layout, picture in ((Interleaved("rgb"), pixels), (Interleaved("bgr"), pixels[..., ::-1])):
        found = _resized(bench, pixels.reshape(-1), layout, whole, boxes, sizes.side)
        worst = _off_by(found, picture, boxes)
        yield f"crops of a {layout.order} picture are OpenCV's within 1", worst <= 1, worst
    # With full range and without color, red, green and blue are Y, whatever the matrix.
    gray = random.integers(0, 256, (height, width), dtype=np.uint8)
    planes = np.concatenate([gray.reshape(-1), np.full(height * width // 2, 128, np.uint8)])
    video = Picture(height, width, offset=0, pitch=width, chroma=height * width)
    found = _resized(bench, planes, Nv12("bt709", "full"), video, boxes, sizes.side)
    worst = _off_by(found, np.repeat(gray[..., None], 3, axis=2), boxes)
    yield "crops of a gray NV12 picture are OpenCV's within 1", worst <= 1, worst


def _boxes(sizes: Sizes, random: np.random.Generator) -> NDArray[np.int64]:
    """Return boxes, int64 [n, 4], some of which reach over the edge."""
    height, width = sizes.picture
    corners = random.integers((0, 0), (width - 2, height - 2), (sizes.boxes, 2))
    extents = random.integers(2, (width // 2, height // 2), (sizes.boxes, 2))
    return np.concatenate([corners - 1, corners + extents], axis=1)


def _resized(
    bench: Bench, pixels: NDArray[np.uint8], layout: Layout, picture: Picture, boxes: NDArray[np.int64], side: int
) -> NDArray[np.uint8]:
    crops = crops_of_boxes(picture, boxes)
    frames = bench.cuda.allocate(len(boxes) * 3 * side * side).view((len(boxes), 3, side, side), np.uint8)
    room, held = bench.cuda.allocate(crops.nbytes), bench.put(pixels)
    bench.kernels.resize_crops(held, layout, crops, room, frames, bench.stream)
    return bench.get(frames)


def _off_by(frames: NDArray[np.uint8], picture: NDArray[np.uint8], boxes: NDArray[np.int64]) -> int:
    worst = 0
    for frame, (left, top, right, bottom) in zip(frames, boxes, strict=True):
        crop = np.ascontiguousarray(picture[max(top, 0) : bottom, max(left, 0) : right])
        expected = resize(crop, *frame.shape[1:]).transpose(2, 0, 1)
        worst = max(worst, int(np.abs(frame.astype(int) - expected).max()))
    return worst


def _pooling(bench: Bench, sizes: Sizes, random: np.random.Generator) -> Iterator[Check]:
    rows, batches, dimensions = 12, 4, sizes.dimensions
    sums = bench.cuda.allocate(4 * rows * dimensions).view((rows, dimensions), np.float32)
    weights, room = bench.cuda.allocate(4 * rows).view((rows,), np.float32), bench.cuda.allocate(1 << 12)
    expected, expected_weights = np.zeros((rows, dimensions)), np.zeros(rows)
    for number in range(batches):
        pooled = random.normal(size=(rows, dimensions)).astype(np.float32)
        additions = np.zeros(rows, ADDITION)
        additions["row"], additions["fresh"] = random.permutation(rows), number == 0
        additions["weight"] = random.uniform(1, 5, rows)
        held = bench.put(pooled)
        bench.kernels.accumulate(held, additions, room, sums, weights, bench.stream)
        bench.stream.synchronize()  # what is held may go
        expected[additions["row"]] += pooled
        expected_weights[additions["row"]] += additions["weight"]
    worst = float(np.abs(bench.get(sums) - expected).max())
    yield "sums over batches are NumPy's within 1e-5", worst < 1e-5, worst
    worst = float(np.abs(bench.get(weights) - expected_weights).max())
    yield "weights over batches are NumPy's within 1e-5", worst < 1e-5, worst
    wanted = np.array([5, 0, 11, 3], np.int32)
    embeddings = bench.cuda.allocate(4 * 4 * dimensions).view((4, dimensions), np.float32)
    bench.kernels.normalize(sums, wanted, room, embeddings, bench.stream)
    worst = float(np.abs(bench.get(embeddings) - _unit(expected[wanted])).max())
    yield "normalized rows are NumPy's within 1e-6", worst < 1e-6, worst


def _ranking(bench: Bench, sizes: Sizes, random: np.random.Generator, dtype: Any) -> Iterator[Check]:  # noqa: ANN401
    """Rank with equal entries far apart, few and many queries, and a scratch that holds only a part of the gallery."""
    gallery = _unit(random.normal(size=(sizes.gallery, sizes.dimensions))).astype(dtype)
    gallery[-1] = gallery[sizes.gallery // 2] = gallery[7]
    held, name = bench.put(gallery), np.dtype(dtype).name
    for count in (3, 100):
        queries = _unit(random.normal(size=(count, sizes.dimensions)))
        queries[0] = _unit(gallery[7])
        scores = queries.astype(np.float64) @ gallery.T.astype(np.float64)
        search = TopK(bench.kernels, count, 10, scratch=4 * count * (sizes.gallery // 3))
        asked = bench.put(queries)
        matches = search.find(asked, held, bench.stream)
        entries, found = bench.get(matches.entries), bench.get(matches.scores)
        expected = -np.sort(-scores, axis=1)[:, :10]
        worst = float(np.abs(np.take_along_axis(scores, entries, axis=1) - expected).max())
        yield f"{name}, {count} queries: the entries are the best", worst < 1e-6, worst
        worst = float(np.abs(found - expected).max())
        yield f"{name}, {count} queries: the scores are NumPy's within 1e-5", worst < 1e-5, worst
        ties = entries[0, :3].tolist() == [7, sizes.gallery // 2, sizes.gallery - 1]
        yield f"{name}, {count} queries: equal entries are in the gallery's order", ties, float(ties)
        if dtype == np.float32:
            exact = bench.get(search.exact_distances(asked, held, matches, bench.stream))
            wanted = np.array([exact_distances(q[None], gallery[e])[0] for q, e in zip(queries, entries, strict=True)])
            yield f"{count} queries: exact distances have the same bits", bool((exact == wanted).all()), 0.0


def _conditions(bench: Bench, sizes: Sizes, random: np.random.Generator, dtype: Any) -> Iterator[Check]:  # noqa: ANN401
    gallery = _unit(random.normal(size=(sizes.gallery, sizes.dimensions))).astype(dtype)
    queries = _unit(random.normal(size=(5, sizes.dimensions)))
    camera = random.integers(0, 40, sizes.gallery).astype(np.int32)
    time, windows = random.uniform(size=sizes.gallery), random.uniform(size=(5, 40, 2, 2))
    conditions = Conditions(*[bench.put(array) for array in (camera, time, windows)])
    search, held = TopK(bench.kernels, 5, 10), (bench.put(queries), bench.put(gallery))
    matches = search.find(*held, bench.stream, conditions)
    own, at = windows[:, camera], time[:, None]
    allowed = ((own[..., 0] <= at) & (at <= own[..., 1])).any(axis=-1)
    scores = np.where(allowed, queries.astype(np.float64) @ gallery.T.astype(np.float64), -np.inf)
    found = np.take_along_axis(scores, bench.get(matches.entries).astype(np.int64), axis=1)
    worst = float(np.abs(found - -np.sort(-scores, axis=1)[:, :10]).max())
    name = np.dtype(dtype).name
    yield f"{name}: under conditions on camera and time, the entries are the best", worst < 1e-6, worst


def _unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    rows = rows.astype(np.float64)
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


if __name__ == "__main__":
    failed = [check for check in check_kernels(Bench.open(), SMALL) if not check[1]]
    print(failed or "all hold")
    sys.exit(bool(failed))
