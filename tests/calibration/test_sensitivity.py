from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from reid.calibration.intermediates import run_with_intermediates
from reid.calibration.journal import Journal
from reid.calibration.layers import Layers
from reid.calibration.probe import Effect, Probe
from reid.calibration.quantize import quantize
from reid.calibration.ranges import METHODS, TensorRange, collect_ranges
from reid.calibration.sensitivity import Sensitivity, measure_sensitivity

from .conftest import scaled

METHOD_ERRORS = {"max": 1.0, "percentile": 0.8, "entropy": 2.0, "mse": 0.7}
"""Of every tensor but one, relative to that tensor's own."""


@dataclass
class Arithmetic:
    """A probe to which the error of a graph is the sum of those of the tensors that are quantized in it."""

    ranges: dict[str, TensorRange]
    own: dict[str, float]
    odd: str
    measured: int = 0
    seen: list[dict[str, float]] = field(default_factory=list)

    def error(self, tensor: str, threshold: float) -> float:
        methods = {name: found.value for name, found in self.ranges[tensor].thresholds.items()}
        method = min(methods, key=lambda name: abs(methods[name] - threshold))
        if tensor == self.odd:  # here what is best elsewhere is worst
            return self.own[tensor] * {"mse": 1.0, "percentile": 0.95, "max": 0.5, "entropy": 0.6}[method]
        return self.own[tensor] * METHOD_ERRORS[method]

    def measure(self, graph: ModelProto) -> Effect:
        self.measured += 1
        scales = {tensor.name: tensor for tensor in graph.graph.initializer}
        thresholds = {
            node.input[0]: 127 * float(numpy_helper.to_array(scales[node.input[1]]))
            for node in graph.graph.node
            if node.op_type == "QuantizeLinear"
        }
        self.seen.append(thresholds)
        total = sum(self.error(tensor, threshold) for tensor, threshold in thresholds.items())
        return Effect(total, 2 * total, -100 * total)


@pytest.fixture
def arithmetic(layers: Layers, ranges: dict[str, TensorRange]) -> Arithmetic:
    """Ranges of which no two are alike."""
    spread = {
        name: found.model_copy(
            update={
                "thresholds": {
                    method: found.thresholds[method].model_copy(update={"value": 1.0 + step})
                    for step, method in enumerate(METHODS)
                }
            }
        )
        for name, found in ranges.items()
    }
    own = {name: 0.001 * (1 + index) for index, name in enumerate(layers.tensors)}
    return Arithmetic(spread, own, odd=layers.tensors[-1])


def measure(probe: Any, model: ModelProto, layers: Layers, journal: Journal, **more: Any) -> Sensitivity:  # noqa: ANN401
    return measure_sensitivity(model, layers, probe.ranges, probe, journal, **more)


def test_the_best_method_gives_the_ranges_and_the_worst_tensor_its_own(
    arithmetic: Arithmetic, model: ModelProto, layers: Layers
) -> None:
    found = measure(arithmetic, model, layers, Journal(None, {}))
    for method, error in found.method_errors.items():
        thresholds = {name: arithmetic.ranges[name].thresholds[method].value for name in layers.tensors}
        expected = sum(arithmetic.error(name, threshold) for name, threshold in thresholds.items())
        assert error == pytest.approx(expected)
    assert min(found.method_errors, key=lambda method: found.method_errors[method]) == "mse"
    assert [one.layer for one in found.layers] == [layer.name for layer in layers.layers]
    for one, layer in zip(found.layers, layers.layers, strict=True):
        odd = layer.reads == arithmetic.odd
        assert (one.tensor, one.op, one.method) == (layer.reads, layer.op, "max" if odd else "mse")
        assert one.share == layer.macs / layers.macs
        assert one.error == pytest.approx(arithmetic.own[layer.reads] * (0.5 if odd else 0.7))
        assert (one.worst, one.map_change) == pytest.approx((2 * one.error, -100 * one.error))
        assert found.thresholds[layer.reads] == arithmetic.ranges[layer.reads].thresholds[one.method].value
    assert found.errors == {one.layer: one.error for one in found.layers}


def test_a_range_is_changed_only_where_that_helps_all_who_read_the_tensor(
    arithmetic: Arithmetic, model: ModelProto, layers: Layers
) -> None:
    shared = max(layers.tensors, key=lambda name: sum(layer.reads == name for layer in layers.layers))
    readers = [layer for layer in layers.layers if layer.reads == shared]
    assert len(readers) > 1
    arithmetic.odd = shared
    arithmetic.own[shared] = 1.0
    harmed = readers[0].node
    measure_plainly = arithmetic.measure

    def contrary(graph: ModelProto) -> Effect:
        """To one reader, the range that is better for the others does more harm than it does them good."""
        effect = measure_plainly(graph)
        (threshold,) = [value for name, value in arithmetic.seen[-1].items() if name == shared] or [0.0]
        (node,) = (node for node in graph.graph.node if node.name == harmed)
        hurt = any("dequantized" in name for name in node.input) and abs(threshold - 4.0) > 0.1 and threshold
        return Effect(effect.error + 10 * bool(hurt), effect.worst, effect.map_change)

    arithmetic.measure = contrary  # type: ignore[method-assign]
    found = measure(arithmetic, model, layers, Journal(None, {}))
    assert {one.method for one in found.layers if one.tensor == shared} == {"mse"}


def test_one_method_leaves_nothing_to_choose(arithmetic: Arithmetic, model: ModelProto, layers: Layers) -> None:
    found = measure(arithmetic, model, layers, Journal(None, {}), methods=("entropy",))
    assert arithmetic.measured == 1 + len(layers.layers)
    assert {one.method for one in found.layers} == {"entropy"}


def test_a_second_run_measures_nothing_and_says_the_same(
    arithmetic: Arithmetic, model: ModelProto, layers: Layers, tmp_path: Path
) -> None:
    progress: list[tuple[int, int]] = []

    def run(facts: Any = 0, on_measured: Callable[[int, int], None] = lambda *_: None) -> Sensitivity:  # noqa: ANN401
        journal = Journal(tmp_path / "journal.json", {"facts": facts})
        return measure(arithmetic, model, layers, journal, on_measured=on_measured)

    first = run(on_measured=lambda done, total: progress.append((done, total)))
    done = [one for one, _ in progress]
    assert done == sorted(done)
    assert progress[-1] == (done[-1], done[-1])
    spent = arithmetic.measured
    assert run() == first
    assert arithmetic.measured == spent
    assert run(facts=1) == first
    assert arithmetic.measured == 2 * spent


def test_a_measurement_that_was_stopped_goes_on(
    arithmetic: Arithmetic, model: ModelProto, layers: Layers, tmp_path: Path
) -> None:
    expected = measure(arithmetic, model, layers, Journal(None, {}))
    whole, arithmetic.measured = arithmetic.measured, 0
    measure_plainly = arithmetic.measure
    path, stops = tmp_path / "journal.json", 0

    def stop(graph: ModelProto) -> Effect:
        if arithmetic.measured and arithmetic.measured % 10 == 0 and stops == arithmetic.measured // 10 - 1:
            raise KeyboardInterrupt
        return measure_plainly(graph)

    arithmetic.measure = stop  # type: ignore[method-assign]
    while True:
        try:
            found = measure(arithmetic, model, layers, Journal(path, {}))
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops >= 2
    assert found == expected
    assert arithmetic.measured == whole


def test_a_layer_that_is_hostile_to_int8_stands_out(
    model: ModelProto, layers: Layers, frames: NDArray[np.uint8], tmp_path: Path
) -> None:
    """One channel is scaled by 1,000 and undone in the next layer, which then reads mostly zeros."""
    guilty = "backbone.layer3.0.conv2"
    (reads,) = (layer.reads for layer in layers.layers if layer.name == guilty)
    graph = tmp_path / "graph.onnx"
    onnx.save(model, graph)
    ((_, values),) = run_with_intermediates(graph, [frames], only={reads})
    busiest = int(values.max(axis=(0, 2, 3)).argmax())
    hostile = scaled(model, "model.backbone.layer3.0.conv1", f"model.{guilty}", 1000, channel=busiest)
    onnx.save(hostile, graph)
    ranges = collect_ranges(graph, [frames], set(layers.tensors))
    probe, journal = Probe(hostile, frames, None), Journal(None, {})
    found = measure_sensitivity(hostile, layers, ranges, probe, journal, methods=("max", "entropy"))
    assert found.errors[guilty] > 5 * max(error for name, error in found.errors.items() if name != guilty)
    # Errors of single layers add up to nearly that of all.
    assert 0.3 < sum(found.errors.values()) / min(found.method_errors.values()) < 3
    # A range that is chosen for a tensor helps those who read it, and the whole.
    first = min(found.method_errors, key=lambda method: found.method_errors[method])
    plain = measure_sensitivity(hostile, layers, ranges, probe, journal, methods=(first,))
    for tensor in layers.tensors:
        readers = [layer.name for layer in layers.layers if layer.reads == tensor]
        better, before = (sum(one.errors[name] for name in readers) for one in (found, plain))
        changed = found.thresholds[tensor] != plain.thresholds[tensor]
        assert better < 0.9 * before if changed else better == before
    assert found.thresholds != plain.thresholds
    chosen = quantize(hostile, layers, list(found.errors), found.thresholds)
    assert probe.measure(chosen).error < 1.1 * found.method_errors[first]
