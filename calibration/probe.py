"""The effect of a changed graph on embeddings and mAP, measured on training vehicles that are not calibrated on."""

from __future__ import annotations

import contextlib
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto
from pydantic import FiniteFloat

from reid.evaluation.metrics import Labels, evaluate
from reid.runtime.errors import DataError
from reid.runtime.galleries.ranking import cosine_distance, distance_rows
from reid.runtime.imaging import as_model_input, read_frame
from reid.runtime.model_card import Preprocessing
from reid.runtime.normalization import normalize
from reid.runtime.sessions.onnxruntime import best_device, load_onnxruntime
from reid.runtime.sessions.session import run
from reid.runtime.tracklet import Tracklet

__all__ = ["Effect", "Probe", "choose_probe"]

VEHICLES = 12
IMAGES_PER_VEHICLE = 4

_BATCH_SIZE = 8


@dataclass(frozen=True, slots=True)
class Effect:
    """The difference between a graph and its reference.

    Attributes:
        error: the mean of `1 - cosine similarity` to the reference's embeddings.
        worst: the largest of these.
        map_change: mAP minus the reference's, in points; each image is a query, and all of them are the gallery. None
            if the frames have no labels.
    """

    error: FiniteFloat
    worst: FiniteFloat
    map_change: FiniteFloat | None


def choose_probe(images: Sequence[Tracklet], seed: int) -> tuple[Tracklet, ...]:
    """Choose images of VEHICLES training vehicles, IMAGES_PER_VEHICLE each, from as many cameras as possible.

    If that is more than a quarter of all vehicles, only a quarter is chosen, but at least two.
    """
    by_vehicle: dict[str, dict[str, list[Tracklet]]] = defaultdict(lambda: defaultdict(list))
    for image in sorted(images, key=lambda one: one.id):
        if image.vehicle is not None:
            by_vehicle[image.vehicle][str(image.camera)].append(image)
    random = np.random.default_rng(seed)
    eligible = sorted(vehicle for vehicle, cameras in by_vehicle.items() if len(cameras) > 1)
    wanted = min(VEHICLES, max(2, len(by_vehicle) // 4), len(eligible))
    chosen = random.permutation(eligible)[:wanted].tolist()
    return tuple(image for vehicle in chosen for image in _over_cameras(by_vehicle[vehicle], random))


def _over_cameras(cameras: dict[str, list[Tracklet]], random: np.random.Generator) -> list[Tracklet]:
    shuffled = [[images[index] for index in random.permutation(len(images))] for _, images in sorted(cameras.items())]
    longest = max(map(len, shuffled))
    rounds = [images[turn] for turn in range(longest) for images in shuffled if turn < len(images)]
    return rounds[:IMAGES_PER_VEHICLE]


class Probe:
    """Frames, with a reference graph's embeddings of them.

    Args:
        reference: the FP32 graph.
        frames: the frames, uint8 [n, 3, H, W].
        labels: the vehicles and cameras of the frames; None if they are not known.
    """

    def __init__(self, reference: ModelProto, frames: NDArray[np.uint8], labels: Labels | None) -> None:
        self._frames = frames
        self._labels = labels
        self._expected = _embed(reference, frames)
        self._map = self._mean_average_precision(self._expected)

    @classmethod
    def of(cls, reference: ModelProto, preprocessing: Preprocessing, images: Sequence[Tracklet]) -> Probe:
        """Read the images of choose_probe, or others; those that cannot be read are left out.

        Raises:
            DataError: none of them can be read.
        """
        shown, frames = [], []
        for image in images:
            with contextlib.suppress(DataError):
                frames.append(as_model_input(read_frame(image.frames[0]), preprocessing))
                shown.append(image)
        if not shown:
            raise DataError(
                "none of the images to measure layers on can be read; `reid-data inspect` lists the problems"
            )
        cameras: dict[str | None, set[str | None]] = defaultdict(set)
        for image in shown:
            cameras[image.vehicle].add(image.camera)
        has_matches = any(vehicle and len(seen_by) > 1 for vehicle, seen_by in cameras.items())
        labels = Labels([image.vehicle for image in shown], [image.camera for image in shown]) if has_matches else None
        return cls(reference, np.stack(frames), labels)

    def measure(self, graph: ModelProto) -> Effect:
        """Embed the frames with another graph of the model, and compare.

        An embedding that is not finite, or 0, counts as opposite to the reference's, and mAP as 0.
        """
        actual = _embed(graph, self._frames)
        usable = np.asarray(np.isfinite(actual).all(axis=1) & actual.any(axis=1))
        distances = cosine_distance(np.where(usable[:, None], actual, np.float32(np.nan)), self._expected)
        found = self._mean_average_precision(actual) if usable.all() else 0.0
        change = None if found is None or self._map is None else found - self._map
        return Effect(float(distances.mean()), float(distances.max()), change)

    def _mean_average_precision(self, embeddings: NDArray[np.float32]) -> float | None:
        if self._labels is None:
            return None
        unit = normalize(embeddings)
        return float(evaluate(distance_rows(unit, unit), self._labels, self._labels).summary()["mAP"])


def _embed(graph: ModelProto, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        onnx.save(graph, path)
        with load_onnxruntime(path, best_device()) as session:
            parts = [frames[start : start + _BATCH_SIZE] for start in range(0, len(frames), _BATCH_SIZE)]
            return np.concatenate([run(session, part, np.eye(len(part), dtype=np.float32))[0] for part in parts])
