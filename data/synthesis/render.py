"""The renderer: from a camera, its empty road and vehicles to the crop of one vehicle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from reid.data.synthesis.camera import Camera, Look
from reid.data.synthesis.mesh import Mesh, Points, turned

__all__ = ["SUPERSAMPLING", "Placed", "Window", "develop", "render"]

SUPERSAMPLING = 2
SUBPIXEL_BITS = 4
SUN_STRENGTH, SHININESS = 1.35, 40
HORIZON_SHARE = 0.55
"""Light that reaches a face from the horizon, as a fraction of the light from straight above."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A mesh on the road: its origin at (x, y), meters, turned by `yaw`, radians, counterclockwise."""

    mesh: Mesh
    x: float
    y: float
    yaw: float

    def rotation(self) -> NDArray[np.float64]:
        """Return mesh to world, [3, 3]."""
        return turned(self.yaw)

    def origin(self) -> Points:
        """Return the mesh's origin in the world, [3]."""
        return np.array([self.x, self.y, 0.0])

    def vertices(self) -> Points:
        """Return the mesh's vertices in the world, [V, 3]."""
        return self.mesh.vertices @ self.rotation().T + self.origin()


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a camera's frame that becomes an image: pixels of the frame, and of the image."""

    left: float
    top: float
    scale: float
    """Image pixels per frame pixel."""
    width: int
    height: int


def render(camera: Camera, road: NDArray[np.uint8], objects: Sequence[Placed], window: Window) -> NDArray[np.uint8]:
    """Render `window` of the camera's view of `objects` on `road`, uint8 [H, W, 3], RGB, before `develop`."""
    scale = SUPERSAMPLING * window.scale
    size = (SUPERSAMPLING * window.width, SUPERSAMPLING * window.height)
    affine = np.array([[scale, 0.0, -scale * window.left], [0.0, scale, -scale * window.top]])
    stretched = cv2.warpAffine(road, affine, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    canvas = np.asarray(stretched, dtype=np.uint8)
    ordered = sorted(objects, key=lambda o: -float(np.linalg.norm(o.origin() - camera.eye)))
    _cast_shadows(canvas, camera, ordered, affine)
    for placed in ordered:
        _paint(canvas, camera, placed, affine)
    image = cv2.resize(canvas, (window.width, window.height), interpolation=cv2.INTER_AREA)
    return np.asarray(image, dtype=np.uint8)


def _on_canvas(camera: Camera, points: Points, affine: NDArray[np.float64]) -> NDArray[np.int32]:
    pixels = camera.project(points) @ affine[:, :2].T + affine[:, 2]
    return np.asarray(np.round(pixels * 2**SUBPIXEL_BITS), dtype=np.int32)


def _cast_shadows(
    canvas: NDArray[np.uint8], camera: Camera, objects: Sequence[Placed], affine: NDArray[np.float64]
) -> None:
    """Darken the ground where the sun does not reach and, under the vehicle, where the sky does not."""
    sun = camera.look.sun
    mask = np.full(canvas.shape[:2], 255, np.uint8)
    for placed in objects:
        vertices = placed.vertices()
        cast = vertices - vertices[:, 2:] * (sun / sun[2])
        for points, light in ((cast, 1 - 0.7 * camera.look.sunlight), (vertices * (1, 1, 0), 0.35)):
            outline = cv2.convexHull(_on_canvas(camera, points, affine))
            cv2.fillConvexPoly(mask, outline, round(255 * light), shift=SUBPIXEL_BITS)
    reach = 2 * (canvas.shape[0] // 50) + 3
    soft = cv2.cvtColor(cv2.blur(mask, (reach, reach)), cv2.COLOR_GRAY2RGB)
    cv2.multiply(canvas, soft, dst=canvas, scale=1 / 255)


def _paint(canvas: NDArray[np.uint8], camera: Camera, placed: Placed, affine: NDArray[np.float64]) -> None:
    mesh, rotation = placed.mesh, placed.rotation()
    eye = (camera.eye - placed.origin()) @ rotation
    order = mesh.paint_order(eye)
    colors = _shade(mesh, order, eye, camera.look.sun @ rotation, camera.look).tolist()
    corners = _on_canvas(camera, placed.vertices(), affine)
    for face, color in zip(order.tolist(), colors, strict=True):
        polygon = corners[mesh.starts[face] : mesh.starts[face + 1]]
        cv2.fillConvexPoly(canvas, polygon, color, shift=SUBPIXEL_BITS)


def _shade(mesh: Mesh, faces: NDArray[np.int64], eye: Points, sun: Points, look: Look) -> NDArray[np.float64]:
    """Return the faces' colors, [n, 3]: diffuse sun and sky, the mirrored sky, and the sun's highlight."""
    normals, centers = mesh.normals[faces], mesh.centers[faces]
    highlight, mirror = mesh.materials[faces].T[:, :, None]
    view = _normalized(eye - centers)
    facing = _dot(normals, view)

    sky_seen = HORIZON_SHARE + (1 - HORIZON_SHARE) * np.clip(normals[:, 2:], -0.5, 1)
    near_ground = np.clip(0.7 + 0.4 * centers[:, 2:], 0, 1)
    ambient = (1 - look.sunlight) * sky_seen * near_ground
    direct = SUN_STRENGTH * look.sunlight * np.clip(_dot(normals, sun), 0, None)
    diffuse = mesh.colors[faces] * (ambient + direct) * (1 - 0.5 * mirror)

    mirrored_height = 2 * facing * normals[:, 2:] - view[:, 2:]
    fresnel = mirror * (1 + 0.8 * (1 - np.clip(facing, 0, 1)) ** 3)
    reflection = fresnel * np.clip(0.35 + mirrored_height, 0.1, 1) * look.sky

    glint = np.clip(_dot(normals, _normalized(view + sun)), 0, 1) ** SHININESS
    return np.asarray(np.clip(diffuse + reflection + 255 * highlight * look.sunlight * glint, 0, 255))


def _normalized(vectors: Points) -> Points:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _dot(vectors: Points, others: Points) -> NDArray[np.float64]:
    return np.asarray((vectors * others).sum(axis=1, keepdims=True))


def develop(image: NDArray[np.uint8], look: Look, brightness: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Pass an RGB image, uint8 [H, W, 3], through lens and electronics; `brightness` is the light at that moment."""
    blurred = cv2.GaussianBlur(image, (0, 0), look.blur)
    gray = np.full((3, 3), (1 - look.saturation) / 3)
    mixed = cv2.transform(blurred, np.diag(look.gains * brightness) @ (gray + look.saturation * np.eye(3)))
    curve = 255 * (np.arange(256) / 255) ** look.gamma
    toned = cv2.LUT(mixed, curve.astype(np.float32))
    noise = look.noise * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(toned + noise + 0.5, 0, 255).astype(np.uint8)
