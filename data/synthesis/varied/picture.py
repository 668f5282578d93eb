"""The light that reaches a camera: road, shadows, vehicles in motion, what stands in front, fog and rain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from reid.data.synthesis.camera import Camera
from reid.data.synthesis.mesh import turned
from reid.data.synthesis.render import SUPERSAMPLING, Window
from reid.data.synthesis.varied.conditions import Conditions
from reid.data.synthesis.varied.lighting import shade
from reid.data.synthesis.varied.occluders import Standing
from reid.data.synthesis.varied.raster import texels_seen
from reid.data.synthesis.varied.sheets import Floats, Solid, linear

__all__ = ["Moving", "expose"]

SUBPIXEL_BITS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Moving:
    """A solid on the road: its origin at (x, y), meters, turned by `yaw`, radians, counterclockwise."""

    solid: Solid
    x: float
    y: float
    yaw: float

    def turn(self) -> NDArray[np.float64]:
        """Return the solid's frame to the world, [3, 3]."""
        return turned(self.yaw)

    def corners(self) -> NDArray[np.float64]:
        """Return the corners of the faces in the world, [F, 4, 3]."""
        return self.solid.points[self.solid.corners] @ self.turn().T + (self.x, self.y, 0.0)


def expose(
    camera: Camera,
    road: Floats,
    objects: Sequence[Moving],
    standing: Sequence[Standing],
    window: Window,
    light: Conditions,
) -> Floats:
    """Return the light on `window` of the sensor, linear RGB, float32 [H, W, 3].

    Args:
        camera: the camera.
        road: the empty road's share of light that it sends back, float32 [FRAME_HEIGHT, FRAME_WIDTH, 3].
        objects: the vehicles.
        standing: what stands in front of them.
        window: the part of the frame.
        light: the conditions.
    """
    scale, size = SUPERSAMPLING * window.scale, (SUPERSAMPLING * window.width, SUPERSAMPLING * window.height)
    affine = np.array([[scale, 0.0, -scale * window.left], [0.0, scale, -scale * window.top]])
    empty = cv2.warpAffine(road, affine, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    ordered = sorted(objects, key=lambda one: -float(np.hypot(one.x - camera.eye[0], one.y - camera.eye[1])))
    canvas = np.asarray(empty * _ground_light(camera, ordered, affine, size, light), np.float32)
    for one in ordered:
        _drive(canvas, camera, one, affine, light)
    brightness = light.sky + 0.5 * light.sun + 0.4 * light.lamp
    for thing in standing:
        _stand(canvas, camera, thing, affine, brightness)
    image = cv2.resize(canvas, (window.width, window.height), interpolation=cv2.INTER_AREA)
    return np.asarray(image + light.fog * ((light.sky + 0.3 * light.lamp).astype(np.float32) - image), np.float32)


def _ground_light(
    camera: Camera, objects: Sequence[Moving], affine: NDArray[np.float64], size: tuple[int, int], light: Conditions
) -> Floats:
    """Return the light on the ground, [H, W, 3]: less of it in shadows, and in the dark beyond the lamp."""
    sunny, open_sky = (np.ones((size[1], size[0]), np.float32) for _ in range(2))
    cast = np.array([*(light.sun_direction[:2] / light.sun_direction[2]), 1.0])
    for one in objects:
        corners = one.corners().reshape(-1, 3)
        for mask, points, left in (
            (sunny, corners - corners[:, 2:] * cast, 0.0),
            (open_sky, corners * (1, 1, 0), 0.25),
        ):
            outline = cv2.convexHull(_fixed(camera, points, affine))
            cv2.fillConvexPoly(mask, outline, left, shift=SUBPIXEL_BITS)
    reach = 2 * (size[1] // 50) + 3
    soft_sun, soft_sky = cv2.blur(sunny, (reach, reach)), cv2.blur(open_sky, (2 * reach + 1, 2 * reach + 1))
    around = (light.sky + 0.7 * light.lamp).astype(np.float32) * soft_sky[..., None]
    bright = around + (light.sun * light.sun_direction[2]).astype(np.float32) * soft_sun[..., None]
    return np.asarray(bright * (1 - 0.45 * light.wet), np.float32)


def _on_canvas(camera: Camera, points: NDArray[np.float64], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    return camera.project(points) @ affine[:, :2].T + affine[:, 2]


def _fixed(camera: Camera, points: NDArray[np.float64], affine: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.asarray(np.round(_on_canvas(camera, points, affine) * 2**SUBPIXEL_BITS), np.int32)


def _drive(canvas: Floats, camera: Camera, one: Moving, affine: NDArray[np.float64], light: Conditions) -> None:
    """Lay a vehicle, and its image in a wet road, on the canvas; only the texels that are seen are lit."""
    size = canvas.shape[1], canvas.shape[0]
    views = [_seen(camera, one, affine, size)]
    if light.wet:
        views.insert(0, _seen(camera, one, affine, size, mirrored=True))
    used = np.zeros(len(one.solid.points), np.bool_)
    for seen in views:
        used[seen[seen >= 0]] = True
    texels = np.flatnonzero(used)
    colors = np.zeros((len(used), 3), np.float32)
    eye = (camera.eye - (one.x, one.y, 0.0)) @ one.turn()
    colors[texels] = shade(one.solid, texels, eye, light, one.turn())
    layers = [(colors[np.maximum(seen, 0)], (seen >= 0).astype(np.float32)) for seen in views]
    if light.wet:
        _lay(canvas, *layers[0], 0.4 * light.wet)
    _lay(canvas, *_moved(*layers[-1], camera, one, affine, light), 1.0)


def _seen(
    camera: Camera, one: Moving, affine: NDArray[np.float64], size: tuple[int, int], *, mirrored: bool = False
) -> NDArray[np.int64]:
    """Return the texel of a vehicle that each pixel shows; `mirrored` in a wet road."""
    flip = np.array([1.0, 1.0, -1.0 if mirrored else 1.0])
    corners = one.corners() * flip
    normals = one.solid.normals[one.solid.corners].mean(axis=1) @ one.turn().T * flip
    away = camera.eye - corners.mean(axis=1)
    facing = (away * normals).sum(axis=1) > 0
    pixels = _on_canvas(camera, corners.reshape(-1, 3), affine).reshape(-1, 4, 2)
    return texels_seen(one.solid, pixels, np.sqrt((away**2).sum(axis=1)), facing, size)


def _moved(
    layer: Floats, cover: Floats, camera: Camera, one: Moving, affine: NDArray[np.float64], light: Conditions
) -> tuple[Floats, Floats]:
    """Smear a layer along the vehicle's way while the shutter is open."""
    step = one.turn()[:, 0] * light.way / 2
    place = np.array([one.x, one.y, 0.7])
    start, end = _on_canvas(camera, np.stack([place - step, place + step]), affine)
    reach = int(np.ceil(np.abs(end - start).max() / 2))
    if reach < 1:
        return layer, cover
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    shift = np.round((end - start) / 2).astype(int)
    cv2.line(kernel, (reach - shift[0], reach - shift[1]), (reach + shift[0], reach + shift[1]), 1.0)
    kernel /= kernel.sum()
    covered = np.concatenate([layer * cover[..., None], cover[..., None]], axis=-1)
    smeared = np.asarray(cv2.filter2D(covered, -1, kernel, borderType=cv2.BORDER_REPLICATE), np.float32)
    part = smeared[..., 3]
    return np.asarray(smeared[..., :3] / np.maximum(part, 1e-3)[..., None], np.float32), part


def _lay(canvas: Floats, layer: Floats, cover: Floats, opacity: float) -> None:
    canvas *= 1 - opacity * cover[..., None]
    canvas += opacity * layer * cover[..., None]


def _stand(
    canvas: Floats, camera: Camera, thing: Standing, affine: NDArray[np.float64], light: NDArray[np.float64]
) -> None:
    low, high = _on_canvas(camera, np.array([(*thing.foot, 0.0), (*thing.foot, thing.size[1])]), affine)
    rows, columns = thing.picture.shape[:2]
    tall = low[1] - high[1]
    wide = tall * thing.size[0] / thing.size[1]
    place = np.array([[wide / columns, 0.0, low[0] - wide / 2], [0.0, tall / rows, high[1]]])
    size = (canvas.shape[1], canvas.shape[0])
    warped = cv2.warpAffine(thing.picture, place, size, flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0, 0))
    _lay(canvas, (linear(warped[..., :3]) * light).astype(np.float32), (warped[..., 3] / 255).astype(np.float32), 1.0)
