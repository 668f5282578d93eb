"""Crops on the device beside OpenCV, by which training and the CPU resize."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import pytest
from kernel_device import KernelDevice
from numpy.typing import NDArray

from reid.runtime.imaging import resize
from reid.runtime.kernels.crops import Interleaved, Layout, Nv12, Picture, crops_of_boxes, crops_of_pictures

Bytes = NDArray[np.uint8]

SIZES = [(1, 1), (1, 7), (9, 1), (2, 2), (3, 5), (33, 31), (64, 64), (128, 128), (127, 129), (300, 17), (61, 250)]
"""Height and width of crops: single pixels and rows, the frame's size, twice as large, odd, far larger and smaller."""


def noise(height: int, width: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def resized(
    device: KernelDevice, pixels: Bytes, crops: NDArray[np.void], size: tuple[int, int], layout: Layout
) -> Bytes:
    """Resize on the device, to frames as pictures: RGB [n, H, W, 3]."""
    frames = device.put(np.full((len(crops), 3, *size), 77, np.uint8))
    device.kernels.resize_crops(device.put(pixels), layout, crops, device.room(), frames, device.stream)
    return device.get(frames).transpose(0, 2, 3, 1)


def difference(first: Bytes, second: Bytes) -> int:
    return int(np.abs(first.astype(int) - second.astype(int)).max())


@pytest.mark.parametrize("size", [(64, 64), (65, 33), (1, 1)])
@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_packed_crops_of_all_sizes_become_what_opencv_makes_of_them(
    device: KernelDevice, order: Literal["rgb", "bgr"], size: tuple[int, int]
) -> None:
    images = [noise(*each, seed=index) for index, each in enumerate(SIZES)]
    pixels, pictures = [], []
    for image in images:  # with rows apart by more than their length
        height, width, _ = image.shape
        pitch = 3 * width + 5
        pictures.append(Picture(height, width, offset=sum(map(len, pixels)), pitch=pitch))
        rows = np.full((height, pitch), 200, np.uint8)
        rows[:, : 3 * width] = image.reshape(height, -1)
        pixels.append(rows.ravel()[: (height - 1) * pitch + 3 * width])
    frames = resized(device, np.concatenate(pixels), crops_of_pictures(pictures), size, Interleaved(order))
    for image, frame in zip(images, frames, strict=True):
        rgb = image if order == "rgb" else image[..., ::-1].copy()
        assert difference(frame, resize(rgb, *size)) <= 1, image.shape


def test_a_crop_of_the_frame_s_size_is_copied(device: KernelDevice) -> None:
    image = noise(40, 56)
    frames = resized(device, image.ravel(), crops_of_pictures([Picture(40, 56, 0, 168)]), (40, 56), Interleaved())
    assert np.array_equal(frames[0], image)


def test_half_the_size_is_the_mean_of_four(device: KernelDevice) -> None:
    image = noise(64, 96)
    frames = resized(device, image.ravel(), crops_of_pictures([Picture(64, 96, 0, 288)]), (32, 48), Interleaved())
    sums = image.astype(int).reshape(32, 2, 48, 2, 3).sum((1, 3))
    assert np.array_equal(frames[0], (sums + 2) // 4)


BOXES = np.array(
    [(0, 0, 90, 70), (10, 20, 50, 60), (-15, -4, 22, 9), (80, 60, 200, 300), (89, 69, 90, 70), (3, 5, 4, 70)]
)
"""In a picture of 90 x 70: all of it, inside, over the edges, one pixel, one column."""


def test_boxes_in_a_frame_are_clipped_as_numpy_slices_them(device: KernelDevice) -> None:
    image = noise(70, 90)
    crops = crops_of_boxes(Picture(70, 90, offset=0, pitch=270), BOXES)
    frames = resized(device, image.ravel(), crops, (48, 32), Interleaved())
    for (left, top, right, bottom), frame in zip(BOXES, frames, strict=True):
        cut = image[max(top, 0) : bottom, max(left, 0) : right]
        assert difference(frame, resize(np.ascontiguousarray(cut), 48, 32)) <= 1


def nv12(height: int, width: int, seed: int = 0) -> Bytes:
    """A picture as `cv2.COLOR_YUV2RGB_NV12` takes it: [height * 3 / 2, width]."""
    return np.random.default_rng(seed).integers(0, 256, (height * 3 // 2, width), np.uint8)


def in_floats(image: Bytes, layout: Nv12) -> Bytes:
    """RGB of an NV12 picture [H * 3 / 2, W] by the matrices that ITU-R's standards print, in float64."""
    rows = len(image) * 2 // 3
    color = image[rows:].reshape(rows // 2, -1, 2).repeat(2, 0).repeat(2, 1).astype(float) - 128
    luma = image[:rows].astype(float)
    if layout.range == "limited":
        luma, color = np.maximum(luma - 16, 0) * 255 / 219, color * 255 / 224
    cr_to_red, cb_to_green, cr_to_green, cb_to_blue = {
        "bt601": (1.402, -0.344136, -0.714136, 1.772),
        "bt709": (1.5748, -0.187324, -0.468124, 1.8556),
        "bt2020": (1.4746, -0.164553, -0.571353, 1.8814),
    }[layout.matrix]
    cb, cr = color[..., 0], color[..., 1]
    rgb = np.stack([luma + cr_to_red * cr, luma + cb_to_green * cb + cr_to_green * cr, luma + cb_to_blue * cb], -1)
    return np.rint(rgb.clip(0, 255)).astype(np.uint8)


@pytest.mark.parametrize("range_", ["limited", "full"])
@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
def test_nv12_becomes_what_its_matrix_and_range_say(
    device: KernelDevice, matrix: Literal["bt601", "bt709", "bt2020"], range_: Literal["limited", "full"]
) -> None:
    image, layout = nv12(48, 64), Nv12(matrix, range_)
    crops = crops_of_pictures([Picture(48, 64, 0, 64, chroma=48 * 64)])
    frames = resized(device, image.ravel(), crops, (48, 64), layout)
    assert difference(frames[0], in_floats(image, layout)) <= 1
    if (matrix, range_) == ("bt601", "limited"):
        assert difference(frames[0], cv2.cvtColor(image, cv2.COLOR_YUV2RGB_NV12)) <= 1


def test_boxes_in_nv12_find_their_color_wherever_they_begin(device: KernelDevice) -> None:
    """The planes lie apart and their rows are longer than the picture, as decoders leave them."""
    image = nv12(70, 90)
    smooth = cv2.GaussianBlur(image, (0, 0), 3)
    pitch, chroma = 128, 80 * 128
    pixels = np.full(chroma + 35 * pitch, 9, np.uint8)
    pixels[: 70 * pitch].reshape(70, pitch)[:, :90] = smooth[:70]
    pixels[chroma:].reshape(35, pitch)[:, :90] = smooth[70:]
    crops = crops_of_boxes(Picture(70, 90, offset=0, pitch=pitch, chroma=chroma), BOXES)
    frames = resized(device, pixels, crops, (32, 48), Nv12("bt601", "limited"))
    rgb = cv2.cvtColor(smooth, cv2.COLOR_YUV2RGB_NV12)
    for (left, top, right, bottom), frame in zip(BOXES, frames, strict=True):
        cut = rgb[max(top, 0) : bottom, max(left, 0) : right]
        assert difference(frame, resize(np.ascontiguousarray(cut), 32, 48)) <= 2  # 1 by the color, 1 by the size


def test_frames_that_no_crop_becomes_stay_as_they_are(device: KernelDevice) -> None:
    image = noise(20, 20)
    crops = crops_of_boxes(Picture(20, 20, 0, 60), np.array([(0, 0, 20, 20), (5, 5, 9, 9)]))
    crops["position"] = (3, 1)
    frames = device.put(np.full((5, 3, 16, 16), 77, np.uint8))
    device.kernels.resize_crops(device.put(image.ravel()), Interleaved(), crops, device.room(), frames, device.stream)
    result = device.get(frames)
    assert (result[[0, 2, 4]] == 77).all()
    assert difference(result[3].transpose(1, 2, 0), resize(image, 16, 16)) <= 1
    assert difference(result[1].transpose(1, 2, 0), resize(image[5:9, 5:9].copy(), 16, 16)) <= 1
