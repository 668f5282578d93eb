"""Engines that TensorRT builds and runs on a GPU, beside the same graphs in ONNX Runtime on the CPU."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from reid.export.engines.build import build_engine
from reid.export.engines.options import EngineOptions
from reid.export.fp16 import write_fp16_graph
from reid.export.graphs import ExportedGraph, save_graph
from reid.runtime.bundle import Bundle, Graph
from reid.runtime.cuda import open_cuda
from reid.runtime.engine_card import Profile
from reid.runtime.precision import Precision
from reid.runtime.sessions.engine.session import TensorRTSession
from reid.runtime.sessions.onnxruntime import load_onnxruntime
from reid.runtime.sessions.session import run
from reid.runtime.sessions.tensorrt import load_engine

pytestmark = pytest.mark.gpu

PROFILES = (Profile((1, 16, 16), (1, 8, 16)), Profile((1, 1, 2), (1, 1, 2)))
AT_MOST = {"fp32": 1e-5, "fp16": 2e-2, "int8": 2e-2}
"""How far components of unit vectors may be apart: FP32 without TF32, or what FP16 and INT8 round differently."""


def graph_in(precision: Precision, bundle: Path, folder: Path) -> Path:
    """Write the bundle's FP32 graph in another precision; what INT8's ranges are is no matter here."""
    import onnx

    from reid.calibration.layers import find_layers
    from reid.calibration.quantize import quantize

    fp32, path = bundle / "model.fp32.onnx", folder / f"{precision}.onnx"
    if precision == "fp32":
        shutil.copy(fp32, path)
        return path
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64), dtype=np.uint8)
    write_fp16_graph(fp32, path, frames)
    if precision == "int8":
        layers = find_layers(onnx.load(fp32))
        names = [layer.name for layer in layers]
        save_graph(quantize(onnx.load(path), layers, names, dict.fromkeys(layers.inputs, 4.0)), path, "int8")
    return path


@pytest.fixture(scope="module", params=["fp32", "fp16", "int8"])
def opened(
    request: pytest.FixtureRequest, bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TensorRTSession, Path, float]:
    pytest.importorskip("tensorrt")
    folder, card = tmp_path_factory.mktemp("engines"), Bundle.open(bundle).card
    graph = graph_in(request.param, bundle, folder)
    options = EngineOptions("tensorrt", profiles=PROFILES, optimization_level=1)
    sidecar = build_engine(ExportedGraph(Graph.of(request.param, graph)), folder / "engines", card, options)
    (engine,) = (folder / "engines").glob("*.engine")
    return load_engine(engine, sidecar, card), graph, AT_MOST[request.param]


def batch(frames: int, tracklets: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng((frames, tracklets))
    pixels = random.integers(0, 256, (frames, 3, 64, 64)).astype(np.uint8)
    pooling = random.uniform(size=(tracklets, frames)).astype(np.float32)
    return pixels, pooling / pooling.sum(axis=1, keepdims=True)


def test_every_way_to_run_it_gives_what_the_graph_gives(opened: tuple[TensorRTSession, Path, float]) -> None:
    session, graph, at_most = opened
    slots = session.slots()
    with load_onnxruntime(graph, "cpu") as reference:
        for count, tracklets in ((1, 1), (2, 2), (16, 5), (16, 6), (16, 7), (16, 8), (3, 2), (16, 5)):
            frames, pooling = batch(count, tracklets)
            slot = slots.lend()
            for position, frame in enumerate(frames):
                slot.place(position, frame.transpose(1, 2, 0))
            slot.pooling[:tracklets, :count] = pooling
            pending = slots.submit(slot, count, tracklets)
            expected = run(reference, frames, pooling)
            for found in (run(session, frames, pooling), pending.result()):
                for actual, wanted in zip(found, expected, strict=True):
                    np.testing.assert_allclose(actual, wanted, atol=at_most)


def test_arrays_of_torch_stay_on_the_gpu(opened: tuple[TensorRTSession, Path, float]) -> None:
    torch = pytest.importorskip("torch")
    session, _, _ = opened
    frames, pooling = batch(16, 4)
    stream = torch.cuda.Stream()
    expected = run(session, frames, pooling)
    with torch.cuda.stream(stream):
        # One byte in, so that it is not aligned.
        held = torch.zeros(frames.size + 1, dtype=torch.uint8, device="cuda")[1:].view(frames.shape)
        held.copy_(torch.from_numpy(frames))
        rows = torch.from_numpy(pooling).cuda()
        found = session.run_on_device(held, rows, stream=stream.cuda_stream)
        by_interface = torch.as_tensor(found.pooled, device="cuda").clone()
        by_dlpack = torch.from_dlpack(found.pooled)
        assert by_dlpack.data_ptr() == found.pooled.address
        for one in (by_interface, by_dlpack):
            np.testing.assert_allclose(one.cpu().numpy(), expected.pooled, atol=1e-5)
    found = session.run_on_device(held, rows)
    np.testing.assert_allclose(torch.from_dlpack(found.pooled).cpu().numpy(), expected.pooled, atol=1e-5)


def test_wrong_types_are_refused_and_no_context_is_left_current(opened: tuple[TensorRTSession, Path, float]) -> None:
    session, _, _ = opened
    library = open_cuda().library
    before = library.current_context()
    frames, pooling = batch(4, 2)
    for wrong in ((frames.astype(np.float32), pooling), (frames, pooling.astype(np.float64))):
        with pytest.raises(ValueError, match="not a batch"):
            run(session, *wrong)
    run(session, frames, pooling)
    session.close()
    assert library.current_context() == before
    with pytest.raises(ValueError, match="session is closed"):
        run(session, frames, pooling)
