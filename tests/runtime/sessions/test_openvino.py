from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import reid.runtime.sessions.openvino as openvino_backend
from reid.runtime.embedding import Embedded, embed
from reid.runtime.errors import ModelError, SessionError
from reid.runtime.files.reading import sha256_of
from reid.runtime.opening import open_session
from reid.runtime.sessions.openvino import import_openvino, load_openvino
from reid.runtime.sessions.session import BatchLimits, Session, run
from reid.runtime.tracklet import Tracklet


@pytest.fixture
def graph(bundle: Path, tmp_path: Path) -> Path:
    """A graph outside its bundle."""
    return Path(shutil.copy(bundle / "model.fp32.onnx", tmp_path / "model.onnx"))


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """A bundle to damage."""
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


@pytest.fixture(scope="module")
def session(bundle: Path) -> Iterator[Session]:
    with open_session(bundle, "openvino") as opened:
        yield opened


@pytest.fixture(scope="module")
def reference(bundle: Path) -> Iterator[Session]:
    with open_session(bundle, "onnxruntime:cpu") as opened:
        yield opened


def batch(frames: int, tracklets: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    random = np.random.default_rng(frames)
    pixels = random.integers(0, 256, (frames, 3, 64, 64)).astype(np.uint8)
    return pixels, random.uniform(size=(tracklets, frames)).astype(np.float32)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """OpenVINO's requests of the graphs that were loaded."""
    made: list[Any] = []
    compile_graph = openvino_backend._compile

    def keeping(*arguments: Any) -> Any:  # noqa: ANN401
        made.append(compile_graph(*arguments))
        return made[-1]

    monkeypatch.setattr(openvino_backend, "_compile", keeping)
    return made


def compiled(requests: list[Any]) -> Any:  # noqa: ANN401
    return requests[-1].get_compiled_model()


def test_answers_are_those_of_onnx_runtime_at_every_size_of_a_batch(session: Session, reference: Session) -> None:
    assert re.fullmatch(r"OpenVINO [\d.]+ on CPU", str(session.info))
    assert session.info.card == reference.info.card
    for sizes in ((8, 3), (1, 1), (5, 5), (8, 3), (16, 2), (3, 0), (8, 1)):
        for actual, expected in zip(run(session, *batch(*sizes)), run(reference, *batch(*sizes)), strict=True):
            assert actual.dtype == np.float32
            np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_answers_belong_to_the_caller_and_batches_stay_as_they_were(session: Session) -> None:
    frames, pooling = batch(6, 2)
    frames.flags.writeable = False
    kept = run(session, frames, pooling)
    before = [array.copy() for array in kept]
    run(session, 255 - frames, pooling)
    run(session, *batch(9, 4))
    assert np.array_equal(kept[0], before[0])
    kept[1][:] = 0
    assert np.array_equal(run(session, frames, pooling)[1], before[1])


def test_arrays_may_lie_in_memory_in_any_order(session: Session) -> None:
    frames, pooling = batch(4, 3)
    views = run(session, frames[::-1, :, :, ::-1], np.asfortranarray(pooling))
    copies = run(session, np.ascontiguousarray(frames[::-1, :, :, ::-1]), pooling)
    for view, contiguous in zip(views, copies, strict=True):
        assert np.array_equal(view, contiguous)


def test_tracklets_that_straddle_batches_are_embedded_as_by_onnx_runtime(
    veri: Path, session: Session, reference: Session
) -> None:
    images = sorted((veri / "image_test").iterdir())[:23]
    tracklets = [Tracklet(str(start), tuple(images[start : start + 5])) for start in range(0, 23, 5)]

    def embedded(by: Session) -> list[Embedded]:
        return list(embed(by, tracklets, limits=BatchLimits(4, 4), keep_frames=True))

    for actual, expected in zip(embedded(session), embedded(reference), strict=True):
        assert actual.embedding is not None
        assert expected.embedding is not None
        np.testing.assert_allclose(actual.embedding, expected.embedding, atol=1e-5)
        assert actual.frames.keys() == expected.frames.keys()
        for frame, embedding in expected.frames.items():
            np.testing.assert_allclose(actual.frames[frame], embedding, atol=1e-5)


@pytest.mark.parametrize(
    ("frames", "pooling"),
    [
        (np.zeros((4, 3, 64, 64), np.float32), np.eye(4, dtype=np.float32)),
        (np.zeros((4, 3, 64, 64), np.uint8), np.eye(4, dtype=np.float64)),
        (np.zeros((4, 3, 64, 65), np.uint8), np.eye(4, dtype=np.float32)),
        (np.zeros((4, 3, 64, 64), np.uint8), np.eye(5, dtype=np.float32)),
    ],
    ids=["type of frames", "type of pooling", "size", "count"],
)
def test_what_is_no_batch_is_refused_and_not_converted(
    session: Session, frames: NDArray[Any], pooling: NDArray[Any]
) -> None:
    expected = run(session, *batch(4, 2))
    with pytest.raises(ValueError, match=r"not a batch: .*give uint8 \(N, 3, 64, 64\) and float32 \(T, N\)"):
        run(session, frames, pooling)
    for actual, before in zip(run(session, *batch(4, 2)), expected, strict=True):  # the refusal left no trace
        assert np.array_equal(actual, before)


def test_fp32_is_computed_in_fp32_where_the_cpu_has_less_too(graph: Path, requests: list[Any]) -> None:
    with load_openvino(graph):
        hint = compiled(requests).get_property("INFERENCE_PRECISION_HINT")
        assert hint == import_openvino().Type.f32


def test_int8_is_computed_in_int8_and_as_onnx_runtime_does(graph: Path, tmp_path: Path, requests: list[Any]) -> None:
    """Convolutions only: quantized, a head would be computed wrongly, see docs/sessions.md."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Frames(CalibrationDataReader):  # type: ignore[misc]
        batches = iter([dict(zip(("frames", "pooling"), batch(8, 2), strict=True))])

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            return next(self.batches, None)

    quantized = tmp_path / "int8.onnx"
    quantize_static(
        graph,
        quantized,
        Frames(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )
    with load_openvino(quantized) as session, open_session(quantized, "onnxruntime:cpu") as reference:
        nodes = [node.get_rt_info() for node in compiled(requests).get_runtime_model().get_ops()]
        kernels = [n["primitiveType"].astype(str).lower() for n in nodes if n["layerType"].astype(str) == "Convolution"]
        assert len(kernels) > 10
        assert all(kernel.endswith("i8") for kernel in kernels), kernels
        for actual, expected in zip(run(session, *batch(5, 2)), run(reference, *batch(5, 2)), strict=True):
            similarity = (
                (actual * expected).sum(axis=1) / np.linalg.norm(actual, axis=1) / np.linalg.norm(expected, axis=1)
            )
            assert similarity.min() > 0.999


@pytest.mark.parametrize("limit", ["1", "1,4", " 1 "])
def test_threads_are_limited_as_for_openmp(
    graph: Path, limit: str, requests: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    with load_openvino(graph):
        assert compiled(requests).get_property("INFERENCE_NUM_THREADS") == 1


def test_an_empty_limit_is_none(graph: Path, requests: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def threads() -> int:
        with load_openvino(graph):
            return int(compiled(requests).get_property("INFERENCE_NUM_THREADS"))

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    without = threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert threads() == without


def test_an_onnx_file_brings_its_card(bundle: Path, graph: Path) -> None:
    with open_session(graph, "openvino:cpu") as session, open_session(graph, "onnxruntime:cpu") as reference:
        assert session.info.card == reference.info.card
    with pytest.raises(SessionError, match="leave out --precision"):
        open_session(graph, "openvino", "int8")


def test_a_graph_without_a_card_is_refused_with_the_remedy(graph: Path) -> None:
    model = onnx.load(graph)
    del model.metadata_props[:]
    onnx.save(model, graph)
    with pytest.raises(ModelError, match=r"model\.onnx carries no model card.*reid-export"):
        open_session(graph, "openvino")


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "text"])
def test_a_damaged_graph_is_refused_by_its_name_in_one_line_and_no_other_word(
    graph: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    content = graph.read_bytes()
    noise = np.random.default_rng(0).bytes(4096)
    graph.write_bytes({"cut": content[: len(content) // 2], "noise": noise, "empty": b"", "text": b"hello"}[damage])
    with pytest.raises(
        ModelError, match=r"model\.onnx.*(export it again|use a graph that `reid-export` wrote)$"
    ) as caught:
        open_session(graph, "openvino")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_graph_of_unknown_layers_is_refused_in_one_line(graph: Path) -> None:
    model = onnx.load(graph)
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Reluish"
    onnx.save(model, graph)
    with pytest.raises(ModelError, match=r"model\.onnx: OpenVINO cannot read it \(.*\); export it again") as caught:
        open_session(graph, "openvino")
    assert "\n" not in str(caught.value)


def test_a_bundle_is_held_to_its_hashes_and_its_graph_to_the_bundle(copy: Path) -> None:
    original = (copy / "model.json").read_text()
    for change in ({"fingerprint": "0" * 64}, {"training": {"seed": 99}}, {"opset": 17}):
        (copy / "model.json").write_text(json.dumps({**json.loads(original), **change}))
        for model in (copy, copy / "model.fp32.onnx"):
            with pytest.raises(ModelError, match=r"model\.json is not the card of its graph"):
                open_session(model, "openvino")
    (copy / "model.json").write_text(original)
    with (copy / "model.fp32.onnx").open("r+b") as file:
        file.seek(5000)
        file.write(b"\x55")
    for model in (copy, copy / "model.fp32.onnx"):
        with pytest.raises(ModelError, match=r"model\.fp32\.onnx is not the file that was exported"):
            open_session(model, "openvino")


def test_a_bundle_that_is_embedded_unlike_pytorch_did_is_refused(copy: Path) -> None:
    path = copy / "reference" / "embeddings.npy"
    np.save(path, np.roll(np.load(path), 1, axis=1))
    card = json.loads((copy / "model.json").read_text())
    card["files"]["reference/embeddings.npy"] = sha256_of(path)
    (copy / "model.json").write_text(json.dumps(card))
    for model in (copy, copy / "model.fp32.onnx"):
        with pytest.raises(ModelError, match=r"OpenVINO [\d.]+ on CPU embeds .* unlike PyTorch"):
            open_session(model, "openvino")


def test_a_precision_that_the_bundle_does_not_have_is_refused(bundle: Path) -> None:
    with pytest.raises(ModelError, match="has no int8 graph; choose one of: fp32"):
        open_session(bundle, "openvino", "int8")


@pytest.mark.parametrize("device", ["gpu", "CPU", "npu", "cpu:0"])
def test_another_device_is_refused_with_what_there_is(bundle: Path, device: str) -> None:
    with pytest.raises(SessionError, match=rf"no device '{device}' here; use openvino:cpu, or onnxruntime:cuda"):
        open_session(bundle, f"openvino:{device}")


def test_without_the_package_the_error_says_how_to_install_it(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(SessionError, match=r"^openvino is not installed: pip install 'reid\[cpu\]'$"):
        open_session(bundle, "openvino")


def test_a_package_that_does_not_load_is_an_error_of_one_line(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError("libtbb.so.12: cannot open\nshared object file")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(SessionError, match=r"^openvino does not load \(.*\); install it again: pip install"):
        import_openvino()


def test_nothing_is_reported_to_anyone_and_nothing_left_at_home(graph: Path, tmp_path: Path) -> None:
    """In a process of its own, in which the network ends in an exception and the home folder is empty."""
    code = """
import sys
from pathlib import Path

def refuse(event, arguments):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "subprocess", "os.fork", "os.posix_spawn")):
        print(event, arguments)
        raise OSError(event)

from reid.runtime.sessions.openvino import load_openvino

sys.addaudithook(refuse)
with load_openvino(Path(sys.argv[1])):
    import openvino.tools.ovc.telemetry_utils as utils  # what is imported with OpenVINO, and reports
    print(utils.tm.__name__, "openvino_telemetry" in sys.modules)
"""
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(graph)], env={**environment, "HOME": str(home)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "openvino.tools.ovc.telemetry_stub False\n"
    assert list(home.iterdir()) == []
