"""Amax: the histogram against the samples themselves, every method against a naive computation."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from reid.calibration.amax import (
    METHODS,
    PERCENTILE,
    Method,
    TensorAmax,
    _divergences,
    collect_amax,
    collect_histograms,
)
from reid.calibration.histogram import BINS, Histogram
from reid.runtime.errors import DataError, ModelError

Samples = NDArray[np.float32]


def gathered(*parts: Samples) -> Histogram:
    histogram = Histogram()
    for part in parts:
        assert histogram.add(part)
    return histogram


def normal(size: int = 60_000) -> Samples:
    return np.random.default_rng(0).normal(size=size).astype(np.float32)


def with_outlier_channel() -> Samples:
    """64 channels of a ReLU, one of which is a thousand times as large."""
    values = np.maximum(normal(64 * 1000).reshape(64, 1000), 0)
    values[17] *= 1000
    return values


DISTRIBUTIONS: dict[str, Callable[[], Samples]] = {
    "normal": normal,
    "laplace": lambda: np.random.default_rng(1).laplace(size=60_000).astype(np.float32) * 1e-3,
    "relu": lambda: np.maximum(normal() - 2, 0),
    "outlier channel": with_outlier_channel,
    "one outlier": lambda: np.append(normal(400_000), np.float32(100)),
    "two values": lambda: np.repeat(np.array([0.1, -7], np.float32), 500),
}


@pytest.fixture(params=DISTRIBUTIONS)
def samples(request: pytest.FixtureRequest) -> Samples:
    return DISTRIBUTIONS[request.param]()


def identity_graph(path: Path, *nodes: onnx.NodeProto, outputs: Sequence[str]) -> Path:
    """Write a graph that passes the frames on as float32, as "values", and then runs `nodes`."""
    graph = helper.make_graph(
        [helper.make_node("Cast", ["frames"], ["values"], name="cast", to=TensorProto.FLOAT), *nodes],
        "test",
        [
            helper.make_tensor_value_info("frames", TensorProto.UINT8, ["n", 3, 4, 4]),
            helper.make_tensor_value_info("pooling", TensorProto.FLOAT, ["t", "n"]),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.array(100, np.float32), "hundred")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    nodes = [
        helper.make_node("Sub", ["values", "hundred"], ["moved"], name="sub"),
        helper.make_node("Relu", ["moved"], ["positive"], name="relu"),
    ]
    return identity_graph(tmp_path / "graph.onnx", *nodes, outputs=["positive"])


@pytest.fixture
def frames() -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (9, 3, 4, 4), dtype=np.uint8)


def test_bins_hold_what_numpy_counts(samples: Samples) -> None:
    histogram = gathered(samples)
    magnitudes = np.abs(samples[samples != 0]).astype(np.float64)
    assert histogram.amax == magnitudes.max()
    assert histogram.zeros == (samples == 0).sum()
    assert histogram.amax <= histogram.width * BINS <= 2 * histogram.amax
    expected, _ = np.histogram(magnitudes, bins=BINS, range=(0, histogram.width * BINS))
    np.testing.assert_array_equal(histogram.counts, expected)


@settings(max_examples=30, deadline=None)
@example([0.25], [0], random.Random(0))
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40),
    st.lists(st.integers(0, 40), max_size=5),
    st.randoms(use_true_random=False),
)
def test_neither_order_nor_batches_make_a_difference(
    values: list[float], cuts: list[int], chance: random.Random
) -> None:
    whole = gathered(np.array(values, np.float32))
    shuffled = sorted(values, key=lambda _: chance.random())
    parts = gathered(*np.split(np.array(shuffled, np.float32), sorted(cuts)))
    assert (whole.amax, whole.zeros, whole.exponent) == (parts.amax, parts.zeros, parts.exponent)
    np.testing.assert_array_equal(whole.counts, parts.counts)


def test_a_value_that_is_not_finite_is_not_counted() -> None:
    histogram = gathered(normal())
    before = histogram.counts.copy()
    for value in (np.nan, np.inf, -np.inf):
        assert not histogram.add(np.array([1, value], np.float32))
    np.testing.assert_array_equal(histogram.counts, before)


def quantized(values: NDArray[Any], amax: float) -> NDArray[np.float64]:
    scale = amax / 127
    return np.clip(np.round(values.astype(np.float64) / scale), -127, 127) * scale


def relative_error(values: Samples, amax: float) -> float:
    difference = quantized(values, amax) - values
    return math.sqrt((difference**2).sum() / (values.astype(np.float64) ** 2).sum())


def test_expected_errors_and_fractions_are_those_of_the_samples(samples: Samples) -> None:
    histogram = gathered(samples)
    amax = histogram.amax * np.array([1, 0.9, 0.5, 0.1, 0.01])
    expected = [relative_error(samples, value) for value in amax]
    np.testing.assert_allclose(np.sqrt(histogram.squared_errors(amax)), expected, rtol=0.02, atol=2e-5)
    magnitudes = np.abs(samples[samples != 0])
    fractions = [(magnitudes > value).mean() for value in amax]
    np.testing.assert_allclose([histogram.fraction_above(t) for t in amax], fractions, atol=2e-3)


def of_samples(tmp_path: Path, samples: Samples) -> TensorAmax:
    """Measure a graph that computes the samples: as its constant, added to frames that are 0."""
    path = tmp_path / "constant.onnx"
    model = onnx.load(
        identity_graph(path, helper.make_node("Add", ["zero", "x"], ["sum"], name="add"), outputs=["sum"])
    )
    model.graph.node.insert(1, helper.make_node("ReduceSum", ["values"], ["zero"], name="reduce", keepdims=0))
    model.graph.initializer.append(numpy_helper.from_array(samples, "x"))
    onnx.save(model, path)
    return collect_amax(path, [np.zeros((1, 3, 4, 4), np.uint8)], {"sum"})["sum"]


def test_errors_are_exactly_those_of_the_bins_centers(samples: Samples) -> None:
    histogram = gathered(samples)
    filled = np.flatnonzero(histogram.counts)
    centers, weights = (filled + 0.5) * histogram.width, histogram.counts[filled]
    amax = histogram.amax * np.geomspace(1, 1e-4, 30)
    expected = [np.average((quantized(centers, t) - centers) ** 2, weights=weights) for t in amax]
    square = np.average(centers**2, weights=weights)
    np.testing.assert_allclose(histogram.squared_errors(amax), expected / square, rtol=1e-6, atol=1e-11)


@pytest.mark.parametrize("name", ["normal", "laplace", "relu", "outlier channel", "one outlier"])
def test_mse_is_as_good_as_the_best_of_brute_force(tmp_path: Path, name: str) -> None:
    samples = DISTRIBUTIONS[name]()
    found = of_samples(tmp_path, samples).by_method["mse"]
    best = min(relative_error(samples, t) for t in np.abs(samples).max() * np.geomspace(1, 1 / 50, 150))
    assert relative_error(samples, found.value) <= 1.01 * best
    assert found.error == pytest.approx(relative_error(samples, found.value), rel=0.02)


def test_no_method_has_a_smaller_expected_error_than_mse(samples: Samples, tmp_path: Path) -> None:
    amax = of_samples(tmp_path, samples).by_method
    assert min(found.error for found in amax.values()) >= 0.995 * amax["mse"].error


def test_percentile_is_numpys_of_the_values_other_than_zero(samples: Samples, tmp_path: Path) -> None:
    found = of_samples(tmp_path, samples).by_method["percentile"]
    expected = np.percentile(np.abs(samples[samples != 0]), PERCENTILE, method="inverted_cdf")
    assert 0 <= found.value - expected <= gathered(samples).width
    assert found.clipped <= 1 - PERCENTILE / 100


def divergence_by_loops(counts: list[int], kept: int) -> float:
    """Follow the slides: P with the outliers in its last bin, Q quantized to 128 levels and spread again."""
    p = counts[:kept]
    p[-1] += sum(counts[kept:])
    q = [0.0] * kept
    for level in range(128):
        inside = range(level * kept // 128, (level + 1) * kept // 128)
        filled = [index for index in inside if p[index] > 0]
        for index in filled:
            q[index] = sum(counts[i] for i in inside) / len(filled)
    if not any(q):
        return math.inf
    q = [max(value, 0.5) if p[index] else 0.0 for index, value in enumerate(q)]
    all_p, all_q = sum(p), sum(q)
    return sum(a / all_p * math.log(a / all_p * all_q / b) for a, b in zip(p, q, strict=True) if a)


def entropy_by_loops(samples: Samples) -> float:
    magnitudes = np.abs(samples[samples != 0]).astype(np.float64)
    peak = float(magnitudes.max())
    fine = 2.0 ** math.ceil(math.log2(peak)) / BINS
    width = fine * math.ceil(math.ceil(peak / fine) / 2048)
    counts = np.histogram(magnitudes, bins=math.ceil(peak / width), range=(0, width * math.ceil(peak / width)))[0]
    divergences = {kept: divergence_by_loops(counts.tolist(), kept) for kept in range(128, len(counts) + 1)}
    return min(min(divergences, key=divergences.__getitem__) * width, peak)


@pytest.mark.parametrize("name", ["laplace", "one outlier"])
def test_entropy_is_that_of_a_plain_loop(tmp_path: Path, name: str) -> None:
    samples = DISTRIBUTIONS[name]()[-4000:]
    expected = entropy_by_loops(samples)
    assert of_samples(tmp_path, samples).by_method["entropy"].value == pytest.approx(expected, rel=1e-9)
    assert expected < np.abs(samples).max()


@pytest.mark.parametrize("filled", [0.02, 0.5, 1.0])
def test_the_divergence_of_every_range_is_that_of_a_plain_loop(filled: float) -> None:
    """Also where levels are empty, where the last bin is, and where a count is small beside its neighbors'."""
    random = np.random.default_rng(5)
    counts = random.geometric(0.01, 300) ** 2 * (random.random(300) < filled)
    expected = [divergence_by_loops(counts.tolist(), kept) for kept in range(128, 301)]
    np.testing.assert_allclose(_divergences(counts.astype(float)), expected, rtol=0, atol=1e-12)


def test_a_tensor_that_is_zero_everywhere_has_an_amax_of_0(tmp_path: Path) -> None:
    found = of_samples(tmp_path, np.zeros(100, np.float32))
    assert (found.largest, found.zeros) == (0, 1)
    for method in METHODS:
        assert (found.by_method[method].value, found.by_method[method].clipped) == (0, 0)


@pytest.mark.parametrize("method", METHODS)
def test_zeros_make_no_difference_to_any_amax(tmp_path: Path, method: Method) -> None:
    values = np.abs(normal(5000))
    dense, sparse = (of_samples(tmp_path, np.append(values, np.zeros(n, np.float32))) for n in (0, 95_000))
    assert sparse.zeros == pytest.approx(0.95)
    assert sparse.by_method[method] == dense.by_method[method]


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_is_not_clipped(tmp_path: Path, method: Method) -> None:
    found = of_samples(tmp_path, np.full(1000, 6, np.float32))
    assert found.by_method[method].value == 6


@pytest.mark.parametrize("sizes", [[9], [1] * 9, [4, 4, 1]])
def test_the_amax_of_a_graph_does_not_depend_on_the_batches(
    graph: Path, frames: NDArray[np.uint8], sizes: list[int]
) -> None:
    found = collect_amax(graph, np.split(frames, np.cumsum(sizes)[:-1]))
    assert list(found) == ["values", "moved", "positive"]
    assert found == collect_amax(graph, iter([frames[::-1]]))
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    (positive,) = session.run(["positive"], {"frames": frames, "pooling": np.eye(9, dtype=np.float32)})
    assert found["positive"].largest == positive.max()
    assert found["positive"].zeros == (positive == 0).mean()
    assert found["moved"].largest == np.abs(frames.astype(float) - 100).max()


def test_only_the_tensors_asked_for_are_collected(graph: Path, frames: NDArray[np.uint8]) -> None:
    assert collect_histograms(graph, [frames], {"moved"}).keys() == {"moved"}
    with pytest.raises(ModelError, match="computes no float tensor 'other'"):
        collect_amax(graph, [frames], {"moved", "other"})


def test_no_frames_are_an_error(graph: Path) -> None:
    with pytest.raises(DataError, match="no frames"):
        collect_amax(graph, [])


@pytest.mark.parametrize(("operator", "kind"), [("Log", "NaN"), ("Exp", "infinite")])
def test_a_value_that_is_not_finite_names_tensor_and_frames(tmp_path: Path, operator: str, kind: str) -> None:
    path = identity_graph(
        tmp_path / "graph.onnx",
        helper.make_node("Sub", ["hundred", "values"], ["left"], name="sub"),
        helper.make_node(operator, ["left" if operator == "Log" else "values"], ["broken"], name="broken"),
        outputs=["broken"],
    )
    batches = [np.full((n, 3, 4, 4), value, np.uint8) for n, value in ((2, 10), (3, 20), (2, 200))]
    collect_amax(path, batches[:2])
    with pytest.raises(ModelError, match=f"broken is {kind} within frames 6 to 7 of the calibration set"):
        collect_amax(path, batches)
