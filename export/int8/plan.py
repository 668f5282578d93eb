"""The plan of a calibration: which training vehicles it uses for what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reid.calibration.amax import METHODS, Method
from reid.calibration.probe import choose_probe
from reid.calibration.scales import ScaleFile
from reid.calibration.selection import CalibrationSet, select_frames
from reid.data.dataset import Dataset
from reid.data.held_out import held_out_data
from reid.export.engines.options import EngineOptions
from reid.runtime.model_card import ModelCard
from reid.runtime.tracklet import Tracklet

__all__ = ["CalibrationPlan", "CalibrationRequest"]


@dataclass(frozen=True, slots=True)
class CalibrationRequest:
    """A user's request for a calibration, before any model is known.

    Attributes:
        data: the data set whose training split is calibrated on and measured on.
        frames: the number of frames to calibrate on.
        seed: the seed of their choice.
        methods: the methods to choose amax by.
        scales: an earlier measurement to use again; None to measure.
        journal: the file from which an interrupted measurement resumes; None for none.
        allow_evaluation_data: whether to use query and gallery images if there is no training split.
        engines: the options to build engines with whose measured time is minimized; None to minimize the
            multiply-accumulates in FP16.
    """

    data: Dataset
    frames: int = 256
    seed: int = 0
    methods: tuple[Method, ...] = METHODS
    scales: ScaleFile | None = None
    journal: Path | None = None
    allow_evaluation_data: bool = False
    engines: EngineOptions | None = None


@dataclass(frozen=True, slots=True)
class CalibrationPlan:
    """Three sets of training vehicles, kept apart: to calibrate on, to measure layers on, and to judge the result by.

    The vehicles to judge by are always set aside, even if another data set judges or nobody does: so scales measured on
    their own and those measured for a search are of the same frames.

    Attributes:
        request: the request that the plan was made from.
        card: the model's card.
        seed: the seed of all choices.
        held_out: the vehicles that the model's own training held out, to judge the result by; None if there are none.
        probe: the images to measure layers on.
        spared: the vehicles not to calibrate on: those held out and the probe's.
    """

    request: CalibrationRequest
    card: ModelCard
    seed: int
    held_out: Dataset | None
    probe: tuple[Tracklet, ...]
    spared: frozenset[str]

    @classmethod
    def of(cls, request: CalibrationRequest, card: ModelCard) -> CalibrationPlan:
        """Assign the vehicles of the training split."""
        # An earlier measurement brings its own seed: the probe must not share a vehicle with that one's frames.
        seed = request.scales.calibration.seed if request.scales else request.seed
        held_out = held_out_data(request.data, card)
        set_aside = _vehicles(held_out.gallery.images if held_out else ())
        probe = choose_probe([image for image in request.data.train.images if image.vehicle not in set_aside], seed)
        return cls(request, card, seed, held_out, probe, set_aside | _vehicles(probe))

    def choose_frames(self, count: int) -> CalibrationSet:
        """Choose frames to calibrate on. Raise DataError if there are none."""
        return select_frames(
            self.request.data,
            count,
            self.seed,
            exclude_vehicles=self.spared,
            allow_evaluation_data=self.request.allow_evaluation_data,
        )


def _vehicles(images: Iterable[Tracklet]) -> frozenset[str]:
    return frozenset(str(image.vehicle) for image in images)
