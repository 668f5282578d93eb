from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from reid.calibration.probe import IMAGES_PER_VEHICLE, VEHICLES, Probe, choose_probe
from reid.data.layout import open_dataset
from reid.evaluation.metrics import Labels
from reid.runtime.bundle import Bundle
from reid.runtime.errors import DataError
from reid.runtime.sessions.onnxruntime import load_onnxruntime
from reid.runtime.sessions.session import run
from reid.runtime.tracklet import Tracklet

LABELS = Labels(["a", "a", "a", "b", "b", "c"], ["1", "2", "2", "1", "3", "1"])


def image(number: int, vehicle: str | None, camera: str | None) -> Tracklet:
    return Tracklet(f"{number:04}", (Path(f"{number:04}.jpg"),), camera, vehicle)


images_of = st.lists(
    st.tuples(st.sampled_from([None, *"abcdefghijklmnopqrstuvwxyz"]), st.sampled_from([None, "1", "2", "3"])),
    max_size=150,
)


@settings(max_examples=200, deadline=None)
@given(images_of, st.integers(0, 5))
def test_a_probe_is_of_few_vehicles_that_two_cameras_saw(seen: list[tuple[str | None, str | None]], seed: int) -> None:
    images = [image(number, *labels) for number, labels in enumerate(seen)]
    probe = choose_probe(images, seed)
    assert probe == choose_probe(images[::-1], seed)
    assert len(set(probe)) == len(probe)
    assert set(probe) <= set(images)
    by_vehicle = Counter(one.vehicle for one in probe)
    known = {one.vehicle for one in images} - {None}
    assert None not in by_vehicle
    assert len(by_vehicle) <= min(VEHICLES, max(2, len(known) // 4))
    for vehicle, count in by_vehicle.items():
        every = Counter(one.camera for one in images if one.vehicle == vehicle)
        chosen = Counter(one.camera for one in probe if one.vehicle == vehicle)
        assert count == min(IMAGES_PER_VEHICLE, every.total())
        assert 2 <= len(chosen) == min(len(every), IMAGES_PER_VEHICLE)
    eligible = [vehicle for vehicle in known if len({one.camera for one in images if one.vehicle == vehicle}) > 1]
    assert bool(probe) == bool(eligible)


def changed(model: ModelProto, change: float) -> ModelProto:
    """Give the model with one weight of a head changed."""
    other = ModelProto()
    other.CopyFrom(model)
    (tensor,) = (tensor for tensor in other.graph.initializer if tensor.name == "model.heads.1.weight")
    weights = numpy_helper.to_array(tensor).copy()
    weights += np.float32(change) * np.random.default_rng(0).normal(size=weights.shape).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    return other


def embed(model: ModelProto, frames: NDArray[np.uint8], folder: Path) -> NDArray[np.float64]:
    onnx.save(model, folder / "graph.onnx")
    with load_onnxruntime(folder / "graph.onnx", "cpu") as session:
        return run(session, frames, np.eye(len(frames), dtype=np.float32))[0].astype(np.float64)


def mean_average_precision(embeddings: NDArray[np.float64], labels: Labels) -> float:
    """By the definition, query by query: same vehicle is right, same vehicle and camera does not count."""
    precisions = []
    for query, (vehicle, camera) in enumerate(zip(labels.vehicles, labels.cameras, strict=True)):
        order = sorted(range(len(embeddings)), key=lambda one: -float(embeddings[query] @ embeddings[one]))
        counted = [one for one in order if (labels.vehicles[one], labels.cameras[one]) != (vehicle, camera)]
        right = [labels.vehicles[one] == vehicle for one in counted]
        if any(right):
            precisions.append(np.mean([sum(right[: rank + 1]) / (rank + 1) for rank, hit in enumerate(right) if hit]))
    return float(100 * np.mean(precisions))


def test_a_graph_is_as_far_off_as_its_embeddings_are(
    model: ModelProto, frames: NDArray[np.uint8], tmp_path: Path
) -> None:
    probe = Probe(model, frames, LABELS)
    for change in (0.01, 0.3):
        other = changed(model, change)
        expected, actual = embed(model, frames, tmp_path), embed(other, frames, tmp_path)
        away = 1 - (expected * actual).sum(axis=1)
        found = probe.measure(other)
        assert found.error == pytest.approx(away.mean(), abs=1e-6)
        assert found.worst == pytest.approx(away.max(), abs=1e-6)
        fall = mean_average_precision(actual, LABELS) - mean_average_precision(expected, LABELS)
        assert found.map_change == pytest.approx(fall, abs=1e-3)


def test_the_reference_itself_is_no_different(model: ModelProto, frames: NDArray[np.uint8]) -> None:
    found = Probe(model, frames, LABELS).measure(model)
    assert (found.error, found.worst, found.map_change) == (0, 0, 0)
    assert Probe(model, frames, None).measure(model).map_change is None


def without_heads(model: ModelProto) -> ModelProto:
    """Give the model with heads of 0."""
    other = ModelProto()
    other.CopyFrom(model)
    for tensor in other.graph.initializer:
        if tensor.name.startswith("model.heads."):
            tensor.CopyFrom(numpy_helper.from_array(0 * numpy_helper.to_array(tensor), tensor.name))
    return other


def test_what_is_not_finite_or_0_is_as_far_as_can_be(
    model: ModelProto, frames: NDArray[np.uint8], tmp_path: Path
) -> None:
    found = Probe(model, frames, LABELS).measure(changed(model, float("nan")))
    assert (found.error, found.worst) == (2, 2)
    expected = embed(model, frames, tmp_path)
    assert found.map_change == pytest.approx(-mean_average_precision(expected, LABELS), abs=1e-3)
    dead = Probe(model, frames, LABELS).measure(without_heads(model))
    assert (dead.error, dead.worst, dead.map_change) == (2, 2, found.map_change)


def test_what_cannot_be_read_is_left_out(bundle: Path, model: ModelProto, veri: Path, tmp_path: Path) -> None:
    size = Bundle.open(bundle).card.preprocessing
    images = choose_probe(open_dataset(veri, needs="query").train.images, 0)
    assert len(images) >= 8
    lost = Tracklet("lost", (tmp_path / "absent.jpg",), "1", images[0].vehicle)
    assert Probe.of(model, size, [lost, *images]).measure(model).map_change == 0
    unanswerable = [images[0]]
    assert Probe.of(model, size, unanswerable).measure(model).map_change is None
    with pytest.raises(DataError, match="none of the images to measure layers on"):
        Probe.of(model, size, [lost])
