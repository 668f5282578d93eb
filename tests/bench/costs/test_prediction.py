"""What is predicted of other devices: from published figures that are what they say, and no better than they are."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reid.bench.costs.devices import find_known_device, known_devices
from reid.bench.costs.efficiency import (
    Efficiency,
    Figure,
    learn,
    learnt,
    leave_one_out,
    published_figures,
    published_sources,
)
from reid.bench.costs.predict import Prediction, predict
from reid.bench.costs.record import GraphCost, LayerCost, Roofline
from reid.bench.costs.resnet50 import resnet50_cost
from reid.bench.costs.roofline import attainable_frames_per_s, layer_times
from reid.bench.costs.sentences import above_the_peak, how_well_predicted, prediction_lines
from reid.runtime.errors import ReidError
from reid.runtime.precision import Precision

_PRECISIONS = ("fp32", "fp16", "int8")


def graph(*layers: tuple[float, float, float, Precision]) -> GraphCost:
    made = tuple(
        LayerCost(name="", op="Conv", flops=flops, weight_bytes=weights, activation_bytes=moved, precision=precision)
        for flops, weights, moved, precision in layers
    )
    sums = [sum(getattr(one, name) for one in made) for name in ("flops", "weight_bytes", "activation_bytes")]
    return GraphCost(flops=sums[0], weight_bytes=sums[1], activation_bytes=sums[2], layers=made)


def test_a_layer_takes_the_longer_of_computing_and_moving() -> None:
    peaks = Roofline(operations_per_s={"fp32": 100, "fp16": 400}, bytes_per_s=10, source="made up")
    cost = graph((100, 10, 1, "fp32"), (100, 10, 1, "fp16"))
    # With 4 frames: computing 4 s and 1 s; moving 14 bytes each, 1.4 s.
    assert attainable_frames_per_s(cost, peaks, 4) == pytest.approx(4 / (4 + 1.4))
    times = layer_times(cost, peaks, 4)
    assert Efficiency(matrix=0.5, vector=0.8, launch_s=0.25).seconds(times) == pytest.approx(4 / 0.8 + 1 / 0.5 + 0.5)
    assert attainable_frames_per_s(graph((1, 1, 1, "int8")), peaks, 1) is None


@given(batch=st.integers(1, 512), name=st.sampled_from(sorted(known_devices())), precision=st.sampled_from(_PRECISIONS))
def test_a_prediction_is_a_range_below_the_peak(batch: int, name: str, precision: Precision) -> None:
    device = known_devices()[name]
    if precision not in device.tera_operations_per_s:
        return
    cost = resnet50_cost(precision)
    found, more = predict(cost, device, precision, batch), predict(cost, device, precision, batch + 1)
    assert found.low_ms < found.value_ms < found.high_ms
    assert found.value_ms < more.value_ms
    assert more.value_ms / (batch + 1) < found.value_ms / batch  # a larger batch serves its frames no worse
    bound = attainable_frames_per_s(cost, device.roofline, batch)
    assert bound is not None
    assert found.frames_per_s[1] < bound


def test_every_published_figure_is_within_its_range() -> None:
    """Also without what its own chip has taught."""
    ratios = [error.ratio for error in leave_one_out()]
    for error in leave_one_out():
        predicted = error.figure.seconds / error.ratio
        assert predicted * min(ratios) <= error.figure.seconds * 1.0001
        assert error.figure.seconds <= predicted * max(ratios) * 1.0001
    assert 0.5 < min(ratios) < 1 < max(ratios) < 2
    close = [ratio for ratio in ratios if 0.75 < ratio < 1.35]
    assert len(close) > 0.7 * len(ratios)


def test_no_figure_of_its_own_chip_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a chip's figures are replaced by nonsense, its predictions stay."""
    before = {error.figure.device: error.seconds for error in leave_one_out()}
    nonsense = tuple(
        figure.model_copy(update={"batch_ms": 1e6, "frames_per_s": None})
        if known_devices()[figure.device].chip == "GA10B"
        else figure
        for figure in published_figures()
    )
    monkeypatch.setattr("reid.bench.costs.efficiency.published_figures", lambda: nonsense)
    after = {error.figure.device: error.seconds for error in leave_one_out.__wrapped__()}
    assert {name for name in before if before[name] == after[name]} == {"orin-nx", "agx-orin"}


@pytest.mark.parametrize("made", [Efficiency(0.3, 0.7, 2e-6), Efficiency(0.6, 0.9, 1e-5)])
def test_what_made_the_figures_is_learnt_from_them(made: Efficiency) -> None:
    figures = [
        Figure(device=name, precision=precision, batch=batch, batch_ms=milliseconds, source="", what="")
        for name in ("t4", "a30", "orin-nx")
        for precision in _PRECISIONS
        for batch in (1, 64)
        for milliseconds in [
            1e3 * made.seconds(layer_times(resnet50_cost(precision), known_devices()[name].roofline, batch))
        ]
    ]
    found = learn(figures)
    for name in ("matrix", "vector", "launch_s"):
        assert getattr(found, name) == pytest.approx(getattr(made, name), rel=0.02)


def test_efficiencies_are_shares() -> None:
    assert 0 < learnt().matrix < 1
    assert 0 < learnt().vector < 1


def test_published_figures_name_their_source() -> None:
    for figure in published_figures():
        assert figure.source in published_sources()
        assert figure.device in known_devices()
        assert (figure.batch_ms is None) != (figure.frames_per_s is None)
        assert math.isfinite(figure.seconds)


def test_devices_are_dense_and_name_their_source() -> None:
    """INT8 is twice FP16 on tensor cores, four times where FP16 accumulates in FP32 at half the rate."""
    for device in known_devices().values():
        peaks = device.tera_operations_per_s
        assert peaks["fp32"] < peaks["fp16"]
        if "int8" in peaks:
            assert round(peaks["int8"] / peaks["fp16"], 1) == (4 if device.name == "rtx-4090" else 2)
        assert len(device.source) > 10


def test_a_precision_without_a_published_peak_is_refused() -> None:
    with pytest.raises(
        ReidError, match="no peak of Jetson Thor T5000 in int8 is published; predict one of these: fp32, fp16"
    ):
        predict(resnet50_cost("int8"), find_known_device("thor"), "int8", 1)


def test_an_unknown_device_is_refused_with_the_closest() -> None:
    with pytest.raises(ReidError, match=r"no device 'orinnx' is known; did you mean 'orin-nx'\?"):
        find_known_device("orinnx")


def test_every_number_is_called_predicted() -> None:
    device = find_known_device("orin-nx")
    lines = prediction_lines(device, [predict(resnet50_cost("fp16"), device, "fp16", 8)])
    assert lines[0] == "Jetson Orin NX 16GB: predicted from published peaks, not measured"
    for number in re.findall(r"([a-z]+) [\d.,]+ (?:ms|frames/s)", lines[1]):
        assert number in ("predicted", "to")
    assert any(line.startswith("NVIDIA T4, INT8, batches of 1: +") for line in how_well_predicted(leave_one_out()))


def test_fp32_is_said_to_be_unchecked() -> None:
    device = find_known_device("t4")
    found = [predict(resnet50_cost(precision), device, precision, 1) for precision in _PRECISIONS]
    assert [one.checked for one in found] == [False, True, True]
    assert "not checked" in prediction_lines(device, found)[1]
    assert isinstance(found[0], Prediction)


def test_a_share_above_the_peak_is_explained() -> None:
    assert above_the_peak(99.9) == ""
    assert above_the_peak(112.4).startswith("112 % of the measured peaks: ")
