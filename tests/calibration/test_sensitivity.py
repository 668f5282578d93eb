from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from reid.calibration.amax import METHODS, TensorAmax, collect_amax
from reid.calibration.intermediates import run_with_intermediates
from reid.calibration.journal import Journal
from reid.calibration.layers import QuantizableLayers
from reid.calibration.probe import Effect, Probe
from reid.calibration.quantize import quantize
from reid.calibration.sensitivity import Sensitivity, SensitivityMeter
from reid.runtime.progress import SILENT, Progress

from .conftest import scaled

METHOD_ERRORS = {"max": 1.0, "percentile": 0.8, "entropy": 2.0, "mse": 0.7}
"""Of every tensor but one, relative to that tensor's own."""


@dataclass
class Arithmetic:
    """A probe to which the error of a graph is the sum of the errors of the tensors that are quantized in it."""

    tensors: dict[str, TensorAmax]
    own: dict[str, float]
    odd: str
    measured: int = 0
    seen: list[dict[str, float]] = field(default_factory=list)

    def error(self, tensor: str, value: float) -> float:
        methods = {name: found.value for name, found in self.tensors[tensor].by_method.items()}
        method = min(methods, key=lambda name: abs(methods[name] - value))
        if tensor == self.odd:  # the method that is best elsewhere is worst here
            return self.own[tensor] * {"mse": 1.0, "percentile": 0.95, "max": 0.5, "entropy": 0.6}[method]
        return self.own[tensor] * METHOD_ERRORS[method]

    def measure(self, graph: ModelProto) -> Effect:
        self.measured += 1
        scales = {tensor.name: tensor for tensor in graph.graph.initializer}
        amax = {
            node.input[0]: 127 * float(numpy_helper.to_array(scales[node.input[1]]))
            for node in graph.graph.node
            if node.op_type == "QuantizeLinear"
        }
        self.seen.append(amax)
        total = sum(self.error(tensor, value) for tensor, value in amax.items())
        return Effect(total, 2 * total, -100 * total)


@dataclass
class Counter:
    """A Progress that counts."""

    stages: list[tuple[str, int, str]] = field(default_factory=list)
    steps: int = 0

    def begin(self, stage: str, total: int, unit: str = "frames") -> None:
        self.stages.append((stage, total, unit))

    def advance(self, steps: int = 1) -> None:
        self.steps += steps


@pytest.fixture
def arithmetic(layers: QuantizableLayers, tensors: dict[str, TensorAmax]) -> Arithmetic:
    """The amax of tensors by the methods, no two of them alike."""
    spread = {
        name: found.model_copy(
            update={
                "by_method": {
                    method: found.by_method[method].model_copy(update={"value": 1.0 + step})
                    for step, method in enumerate(METHODS)
                }
            }
        )
        for name, found in tensors.items()
    }
    own = {name: 0.001 * (1 + index) for index, name in enumerate(layers.inputs)}
    return Arithmetic(spread, own, odd=layers.inputs[-1])


def measure(probe: Any, model: ModelProto, layers: QuantizableLayers, journal: Journal, **more: Any) -> Sensitivity:  # noqa: ANN401
    return SensitivityMeter(model, layers, probe.tensors, probe, journal).measure(**more)


def test_the_best_method_chooses_amax_and_the_worst_tensor_gets_its_own(
    arithmetic: Arithmetic, model: ModelProto, layers: QuantizableLayers
) -> None:
    found = measure(arithmetic, model, layers, Journal(None, {}))
    for method, error in found.method_errors.items():
        amax = {name: arithmetic.tensors[name].by_method[method].value for name in layers.inputs}
        expected = sum(arithmetic.error(name, value) for name, value in amax.items())
        assert error == pytest.approx(expected)
    assert min(found.method_errors, key=lambda method: found.method_errors[method]) == "mse"
    assert [one.layer for one in found.layers] == [layer.name for layer in layers]
    for one, layer in zip(found.layers, layers, strict=True):
        odd = layer.input == arithmetic.odd
        assert (one.tensor, one.op, one.method) == (layer.input, layer.op, "max" if odd else "mse")
        assert one.fraction == layer.macs / layers.macs
        assert one.error == pytest.approx(arithmetic.own[layer.input] * (0.5 if odd else 0.7))
        assert (one.worst, one.map_change) == pytest.approx((2 * one.error, -100 * one.error))
        assert found.amax[layer.input] == arithmetic.tensors[layer.input].by_method[one.method].value
    assert found.errors == {one.layer: one.error for one in found.layers}


def test_a_layer_with_nearly_all_of_the_error_does_not_choose_for_the_others(
    arithmetic: Arithmetic, model: ModelProto, layers: QuantizableLayers
) -> None:
    arithmetic.own[arithmetic.odd] = 10.0
    found = measure(arithmetic, model, layers, Journal(None, {}))
    assert min(found.method_errors, key=lambda method: found.method_errors[method]) == "max"
    for one in found.layers:
        assert one.method == ("max" if one.tensor == arithmetic.odd else "mse")
        assert one.error == pytest.approx(arithmetic.own[one.tensor] * (0.5 if one.tensor == arithmetic.odd else 0.7))


def test_an_amax_is_changed_only_if_that_helps_all_readers_of_the_tensor(
    arithmetic: Arithmetic, model: ModelProto, layers: QuantizableLayers
) -> None:
    shared = max(layers.inputs, key=lambda name: sum(layer.input == name for layer in layers))
    readers = [layer for layer in layers if layer.input == shared]
    assert len(readers) > 1
    arithmetic.odd = shared
    arithmetic.own[shared] = 1.0
    harmed = readers[0].node
    measure_plainly = arithmetic.measure

    def contrary(graph: ModelProto) -> Effect:
        """Harm one reader, with the amax that is better for the others, more than it helps these."""
        effect = measure_plainly(graph)
        (value,) = [value for name, value in arithmetic.seen[-1].items() if name == shared] or [0.0]
        (node,) = (node for node in graph.graph.node if node.name == harmed)
        hurt = any("dequantized" in name for name in node.input) and abs(value - 4.0) > 0.1 and value
        return Effect(effect.error + 10 * bool(hurt), effect.worst, effect.map_change)

    arithmetic.measure = contrary  # type: ignore[method-assign]
    found = measure(arithmetic, model, layers, Journal(None, {}))
    assert {one.method for one in found.layers if one.tensor == shared} == {"mse"}


def test_one_method_leaves_nothing_to_choose(
    arithmetic: Arithmetic, model: ModelProto, layers: QuantizableLayers
) -> None:
    found = measure(arithmetic, model, layers, Journal(None, {}), methods=("entropy",))
    assert arithmetic.measured == 1 + len(layers)
    assert {one.method for one in found.layers} == {"entropy"}


def test_a_second_run_measures_nothing_and_says_the_same(
    arithmetic: Arithmetic, model: ModelProto, layers: QuantizableLayers, tmp_path: Path
) -> None:
    def run(facts: Any = 0, progress: Progress = SILENT) -> Sensitivity:  # noqa: ANN401
        journal = Journal(tmp_path / "journal.json", {"facts": facts})
        return measure(arithmetic, model, layers, journal, progress=progress)

    counter = Counter()
    first = run(progress=counter)
    assert counter.stages == [("sensitivity", counter.steps, "measurements")]
    assert counter.steps == 2 * len(METHODS) + len(layers) + 6
    spent = arithmetic.measured
    assert run() == first
    assert arithmetic.measured == spent
    assert run(facts=1) == first
    assert arithmetic.measured == 2 * spent


def test_a_measurement_that_was_stopped_resumes(
    arithmetic: Arithmetic, model: ModelProto, layers: QuantizableLayers, tmp_path: Path
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
    model: ModelProto, layers: QuantizableLayers, frames: NDArray[np.uint8], tmp_path: Path
) -> None:
    """One channel is scaled by 1,000 and undone in the next layer, which then reads mostly zeros."""
    guilty = "backbone.layer3.0.conv2"
    (read,) = (layer.input for layer in layers if layer.name == guilty)
    graph = tmp_path / "graph.onnx"
    onnx.save(model, graph)
    ((_, values),) = run_with_intermediates(graph, [frames], only={read})
    busiest = int(values.max(axis=(0, 2, 3)).argmax())
    hostile = scaled(model, "model.backbone.layer3.0.conv1", f"model.{guilty}", 1000, channel=busiest)
    onnx.save(hostile, graph)
    tensors = collect_amax(graph, [frames], set(layers.inputs))
    probe, journal = Probe(hostile, frames, None), Journal(None, {})
    found = SensitivityMeter(hostile, layers, tensors, probe, journal).measure(("max", "entropy"))
    assert found.errors[guilty] > 5 * max(error for name, error in found.errors.items() if name != guilty)
    # Errors of single layers add up to nearly that of all.
    assert 0.3 < sum(found.errors.values()) / min(found.method_errors.values()) < 3
    # An amax that is chosen by another method helps.
    first = min(found.method_errors, key=lambda method: found.method_errors[method])
    plain = SensitivityMeter(hostile, layers, tensors, probe, journal).measure((first,))
    assert sum(found.errors.values()) < sum(plain.errors.values())
    assert found.amax != plain.amax
    chosen = quantize(hostile, layers, list(found.errors), found.amax)
    assert probe.measure(chosen).error < 1.1 * found.method_errors[first]


def test_a_stored_sensitivity_of_before_has_other_names() -> None:
    former = {
        "layers": [
            {
                "layer": "conv1", "op": "Conv", "share": 0.25, "error": 0.5, "worst": 0.75, "map_change": None,
                "tensor": "x", "method": "mse",
            }
        ],
        "method_errors": {"mse": 0.5},
        "thresholds": {"x": 2.5},
    }  # fmt: skip
    found = Sensitivity.model_validate_json(json.dumps(former))
    assert (found.layers[0].fraction, found.amax) == (0.25, {"x": 2.5})
    assert Sensitivity.model_validate_json(found.model_dump_json()) == found
    assert {"fraction", "amax"} <= {
        *json.loads(found.model_dump_json()),
        *json.loads(found.layers[0].model_dump_json()),
    }
