"""The weather and the time of day of a track: its light, its air, and how long the camera exposes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from reid.data.synthesis.camera import Camera

__all__ = ["WEATHERS", "Conditions", "Weather", "draw_conditions", "draw_lamp"]

Light: TypeAlias = NDArray[np.float64]
"""Linear RGB, float64 [3]; 1 is about the brightness of a white surface in the sun."""

Range: TypeAlias = tuple[float, float]

LAMPS = ((1.0, 0.62, 0.28), (1.0, 0.82, 0.62), (0.85, 0.95, 1.0), (0.75, 1.0, 0.8))
"""Street lamps: sodium, warm, cold, mercury."""

NOON, EVENING, BLUE = np.array([1.0, 0.96, 0.90]), np.array([1.0, 0.78, 0.52]), np.array([0.82, 0.92, 1.12])


@dataclass(frozen=True, slots=True)
class Weather:
    """What a kind of weather and time of day allows; pairs are ranges of uniform draws.

    Attributes:
        share: how often a track has it.
        sky: brightness of the sky.
        sun: brightness of the sun.
        height: of the sun, in degrees.
        gray: how gray the sky is: 0 is blue, 1 is gray.
        lamp: brightness of the street lamp.
        lights: the share of vehicles that have their lights on.
        wet: how much the road mirrors, and it rains.
        fog: the share of light that is lost on its way.
        shutter: how long it is open, in seconds.
        noise: factor of the sensor's noise.
        exposure: what the camera makes of the light; less than 1 leaves pictures dark.
    """

    share: float
    sky: float
    sun: Range = (0.0, 0.0)
    height: Range = (25.0, 65.0)
    gray: float = 0.85
    lamp: Range = (0.0, 0.0)
    lights: float = 0.7
    wet: Range = (0.0, 0.0)
    fog: Range = (0.0, 0.0)
    shutter: Range = (0.001, 0.006)
    noise: float = 1.5
    exposure: float = 1.0


_SHINING, _SLOW = (0.15, 0.40), (0.008, 0.020)

WEATHERS = {
    "sun": Weather(0.30, sky=0.45, sun=(0.8, 1.5), gray=0.2, lights=0.12, noise=1.0),
    "overcast": Weather(0.22, sky=0.25, lights=0.12, noise=1.0),
    "dusk": Weather(0.12, sky=0.20, sun=(0.2, 0.6), height=(6.0, 18.0), gray=0.1),
    "rain": Weather(0.12, sky=0.16, wet=(0.5, 1.0), fog=(0.08, 0.08)),
    "fog": Weather(0.08, sky=0.22, fog=(0.2, 0.5), noise=1.0),
    "night": Weather(0.10, sky=0.005, lamp=_SHINING, lights=1.0, shutter=_SLOW, noise=3.0, exposure=0.55),
    "wet night": Weather(
        0.06, sky=0.005, lamp=_SHINING, lights=1.0, wet=(0.5, 1.0), shutter=_SLOW, noise=3.0, exposure=0.55
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """What a track is filmed in.

    Attributes:
        sun_direction: unit vector to the sun, float64 [3].
        sun: its light.
        sky: light from above.
        horizon: light from the horizon.
        lamp: light of the nearest street lamp, at 6 m.
        lamp_place: where it is, from the vehicle, float64 [3], meters.
        lights_on: whether vehicles have their lights on.
        wet: how much the road mirrors, and how strongly it rains, 0 to 1.
        fog: the share of light that is lost on its way to the camera.
        exposure: factor from light to the sensor's full scale.
        way: meters that a vehicle moves while the shutter is open.
        noise: standard deviation of the sensor's read noise, as a fraction of the full scale.
    """

    sun_direction: NDArray[np.float64]
    sun: Light
    sky: Light
    horizon: Light
    lamp: Light
    lamp_place: NDArray[np.float64]
    lights_on: bool
    wet: float
    fog: float
    exposure: float
    way: float
    noise: float


def draw_lamp(rng: np.random.Generator) -> Light:
    """Draw the color of a camera's street lamp."""
    return np.array(LAMPS[rng.integers(len(LAMPS))])


def draw_conditions(camera: Camera, lamp: Light, rng: np.random.Generator) -> Conditions:
    """Draw what a track is filmed in; the sun's path and the lamp's color belong to the camera."""
    shares = np.array([weather.share for weather in WEATHERS.values()])
    weather = list(WEATHERS.values())[rng.choice(len(shares), p=shares / shares.sum())]
    direction = _sun_direction(camera, weather, rng)
    evening = weather.height[1] < 25
    sun = rng.uniform(*weather.sun) * (EVENING if evening else NOON)
    sky = weather.sky * rng.uniform(0.8, 1.2) * (weather.gray + (1 - weather.gray) * BLUE)
    lit = rng.uniform(*weather.lamp) * lamp
    level = float((sun * direction[2] + sky + 0.6 * lit).mean())
    return Conditions(
        sun_direction=direction,
        sun=sun,
        sky=sky,
        horizon=1.1 * sky * (EVENING + 0.25 if evening else 1.0),
        lamp=lit,
        lamp_place=np.array([rng.uniform(-1.5, 1.5), np.copysign(4.0, camera.eye[1]), 7.0]),
        lights_on=bool(rng.random() < weather.lights),
        wet=float(rng.uniform(*weather.wet)),
        fog=float(rng.uniform(*weather.fog)),
        exposure=float(0.62 * weather.exposure * rng.uniform(0.75, 1.35) / level),
        way=float(rng.uniform(3, 15) * rng.uniform(*weather.shutter)),
        noise=float(weather.noise * rng.uniform(0.001, 0.005)),
    )


def _sun_direction(camera: Camera, weather: Weather, rng: np.random.Generator) -> NDArray[np.float64]:
    turn = np.arctan2(camera.look.sun[1], camera.look.sun[0]) + rng.uniform(-1.0, 1.0)
    height = np.radians(rng.uniform(*weather.height))
    return np.array([np.cos(turn) * np.cos(height), np.sin(turn) * np.cos(height), np.sin(height)])
