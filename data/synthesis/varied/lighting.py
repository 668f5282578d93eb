"""The light that a solid's texels send to the eye."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reid.data.synthesis.varied.conditions import Conditions
from reid.data.synthesis.varied.sheets import Floats, Solid

__all__ = ["shade"]

LAMP_REACH = 6.0
"""Meters at which a street lamp is as bright as its light says."""

ROAD_ALBEDO = 0.16
SHININESS, HIGHLIGHT = 90, 5.0
GLOW = 2.5
"""How much brighter than the sensor's full scale a vehicle's lights are."""


def shade(
    solid: Solid, texels: NDArray[np.int64], eye: NDArray[np.float64], light: Conditions, turn: NDArray[np.float64]
) -> Floats:
    """Return linear RGB of texels, float32 [n, 3].

    Diffuse light of sun, sky, road and lamp; sky and houses in the mirror of paint and glass (Schlick's approximation
    of Fresnel's law); highlights of sun and lamp; the vehicle's own lights.

    Args:
        solid: the solid.
        texels: which of its texels, [n].
        eye: where the eye is, in the solid's frame, [3].
        light: the conditions.
        turn: from the solid's frame to the world, [3, 3], a turn around z.
    """
    normals, points, albedo = solid.normals[texels], solid.points[texels], solid.albedo[texels]
    view = _unit(eye.astype(np.float32) - points)
    facing = np.clip(_dot(normals, view), 0, 1)
    sun = (light.sun_direction @ turn).astype(np.float32)
    to_lamp = (light.lamp_place @ turn).astype(np.float32) - points
    lamp = _unit(to_lamp)
    near = (LAMP_REACH**2 / _dot(to_lamp, to_lamp)).astype(np.float32)
    sunlight, lamplight = light.sun.astype(np.float32), light.lamp.astype(np.float32) * near
    ground = ROAD_ALBEDO * (light.sky + light.sun * light.sun_direction[2])
    low = np.clip(0.45 + 0.6 * points[:, 2:], 0, 1)
    ambient = low * _mix(ground, light.sky, 0.5 + 0.5 * normals[:, 2:])
    incoming = ambient + sunlight * np.clip(_dot(normals, sun[None]), 0, None)
    incoming += lamplight * np.clip(_dot(normals, lamp), 0, None)
    mirror = solid.mirror[texels, None]
    fresnel = mirror + (1 - mirror) * np.where(mirror > 0.015, (1 - facing) ** 5, 0)
    mirrored = 2 * facing * normals - view
    gloss = HIGHLIGHT * np.minimum(mirror * 6, 1)
    out = albedo * incoming * (1 - fresnel) + fresnel * _surroundings(mirrored, light, ground)
    for direction, strength in ((sun[None], sunlight), (lamp, lamplight)):
        out += gloss * strength * np.clip(_dot(mirrored, direction), 0, 1) ** SHININESS
    if light.lights_on:
        out += GLOW * solid.glow[texels, None] * albedo / light.exposure
    return np.asarray(out, np.float32)


def _surroundings(direction: Floats, light: Conditions, ground: NDArray[np.float64]) -> Floats:
    """Return what is seen in the mirror: road, a row of houses, sky."""
    up = direction[:, 2:]
    turn = np.arctan2(direction[:, 1:2], direction[:, :1])
    roofs = 0.22 + 0.10 * np.sin(3 * turn) + 0.06 * np.sign(np.sin(11 * turn))
    sky = _mix(light.horizon, light.sky, np.clip(up, 0, 1))
    houses = np.asarray(0.35 * light.horizon, np.float32)
    above = np.clip((up - roofs) / 0.04, 0, 1)
    low = np.clip((up + 0.02) / 0.04, 0, 1)
    scene = houses + above * (1.5 * sky - houses)
    return np.asarray(ground.astype(np.float32) * 0.8 * (1 - low) + low * scene, np.float32)


def _mix(first: NDArray[np.float64], second: NDArray[np.float64], share: Floats) -> Floats:
    return first.astype(np.float32) * (1 - share) + second.astype(np.float32) * share


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.sqrt(_dot(vectors, vectors)), np.float32)


def _dot(vectors: Floats, others: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", vectors, np.broadcast_to(others, vectors.shape))[:, None], np.float32)
