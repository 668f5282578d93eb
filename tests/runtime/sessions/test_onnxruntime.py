from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from reid.runtime.errors import ModelError, SessionError
from reid.runtime.gpu import find_device
from reid.runtime.opening import open_session
from reid.runtime.sessions import onnxruntime as backend
from reid.runtime.sessions.graph import PRECISION_KEY
from reid.runtime.sessions.onnxruntime import load_onnxruntime
from reid.runtime.sessions.onnxruntime_providers import Provider
from reid.runtime.sessions.session import run
from reid.runtime.versions import is_older


@pytest.fixture
def graph(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(bundle / "model.fp32.onnx", tmp_path / "model.onnx"))


def foreign_graph(path: Path) -> Path:
    """A valid graph that `reid-export` did not write."""
    shape = ("x", onnx.TensorProto.FLOAT, [1])
    nodes = [onnx.helper.make_node("Identity", ["x"], ["y"])]
    ends = onnx.helper.make_tensor_value_info(*shape), onnx.helper.make_tensor_value_info("y", *shape[1:])
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "foreign", [ends[0]], [ends[1]]),
        opset_imports=[onnx.helper.make_opsetid("", 18)],
        ir_version=9,
    )
    onnx.save(model, path)
    return path


def test_an_onnx_file_brings_its_card(bundle: Path, graph: Path) -> None:
    card = json.loads((bundle / "model.json").read_text())
    with open_session(graph) as session:
        assert session.info.card.fingerprint == card["fingerprint"]
        assert session.info.card.preprocessing.mean == tuple(card["preprocessing"]["mean"])
        assert session.info.card.dimensions == 32


def test_a_graph_without_a_card_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"foreign\.onnx carries no model card.*reid-export"):
        open_session(foreign_graph(tmp_path / "foreign.onnx"))


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "text"])
def test_a_damaged_graph_is_refused_by_its_name_in_one_line(
    graph: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    content = graph.read_bytes()
    noise = np.random.default_rng(0).bytes(4096)
    graph.write_bytes({"cut": content[: len(content) // 2], "noise": noise, "empty": b"", "text": b"hello"}[damage])
    with pytest.raises(ModelError, match=r"model\.onnx.*export it again") as caught:
        open_session(graph, "onnxruntime:cpu")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_card_that_is_not_its_graphs_is_refused(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    original = json.loads((copy / "model.json").read_text())
    other_size = {**original["preprocessing"], "height": 65}
    for change in (
        {"fingerprint": "0" + original["fingerprint"][1:]},
        {"preprocessing": other_size},
        {"levels": original["levels"][::-1]},
        {"training": {"seed": 99}},
        {"opset": 17},
    ):
        (copy / "model.json").write_text(json.dumps({**original, **change}))
        with pytest.raises(ModelError, match=r"model\.json"):
            open_session(copy)


def test_no_flipped_bit_in_the_card_goes_unnoticed(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    content = (copy / "model.json").read_bytes()
    random = np.random.default_rng(1)
    for position in random.choice(len(content), 40, replace=False):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(random.integers(7))
        (copy / "model.json").write_bytes(damaged)
        try:
            same = json.loads(damaged) == json.loads(content)
        except ValueError:
            same = False
        if not same:
            with pytest.raises(ModelError):
                open_session(copy)


@pytest.mark.parametrize(("device", "remedy"), [("cuda", "onnxruntime:cpu"), ("tensorrt", "--session tensorrt")])
def test_a_provider_that_does_not_start_is_an_error_with_the_remedy_and_no_other_word(
    bundle: Path, device: str, remedy: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if find_device():
        pytest.skip("this machine has a GPU, on which the provider may start")
    with pytest.raises(SessionError, match=remedy) as caught:
        open_session(bundle, f"onnxruntime:{device}")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_provider_that_onnxruntime_was_not_built_with_is_an_error(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(SessionError, match=r"no CUDAExecutionProvider: install onnxruntime-gpu"):
        open_session(bundle, "onnxruntime:cuda")


def test_a_session_that_onnxruntime_moved_to_the_cpu_is_an_error(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "find_provider", lambda device: Provider("CUDAExecutionProvider", "update it", 0))
    monkeypatch.setattr(backend, "_cuda", lambda provider: None)
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, **_: real(path, options, providers=["CPUExecutionProvider"]),
    )
    with pytest.raises(SessionError, match="CUDAExecutionProvider did not start; update it"):
        load_onnxruntime(graph, "cuda")


def test_opening_leaves_the_programs_log_and_output_as_they_are(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other threads print, too, and a program that wants to see ONNX Runtime's log has set its severity."""
    seen = []
    real = onnxruntime.InferenceSession

    def opened(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        seen.append(sys.stdout)
        return real(*arguments, **options)

    monkeypatch.setattr(onnxruntime, "set_default_logger_severity", lambda severity: seen.append(severity))
    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    before = sys.stdout
    load_onnxruntime(graph, "cpu").close()
    assert sys.stdout is before
    # Older ones print that they fall back to the CPU, whatever they are told, and are kept from it.
    assert len(seen) == 1
    assert seen == [sys.stdout] or is_older(onnxruntime.__version__, "1.31")


def test_out_of_memory_halves_the_batch(
    graph: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (8, 3, 64, 64)).astype(np.uint8)
    pooling = np.ones((1, 8), np.float32)
    real = onnxruntime.InferenceSession.run

    def short(self: Any, names: Any, feed: Any) -> Any:  # noqa: ANN401
        if len(feed["frames"]) > 2:
            raise RuntimeError("Failed to allocate memory for requested buffer of size 123")
        return real(self, names, feed)

    with load_onnxruntime(graph, "cpu") as session:
        expected = run(session, frames, pooling)
        monkeypatch.setattr(onnxruntime.InferenceSession, "run", short)
        for actual, right in zip(run(session, frames, pooling), expected, strict=True):
            np.testing.assert_allclose(actual, right, atol=1e-5)
    assert [message.rpartition(" ")[2] for message in caplog.messages] == ["4", "2"]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_int8_on_cuda_is_opened_with_a_note(
    graph: Path, device: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = onnx.load(graph)
    next(entry for entry in model.metadata_props if entry.key == PRECISION_KEY).value = "int8"
    onnx.save(model, graph)
    real = onnxruntime.InferenceSession
    backend._warn_of_int8.cache_clear()
    monkeypatch.setattr(backend, "_cuda", lambda provider: None)
    monkeypatch.setattr(
        backend,
        "find_provider",
        lambda name: Provider("CPUExecutionProvider", "", 0 if name == "cuda" else None),
    )
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, **_: real(path, options, providers=["CPUExecutionProvider"]),
    )
    for _ in range(2):
        load_onnxruntime(graph, device).close()
    notes = [message for message in caplog.messages if "no INT8 convolutions on CUDA" in message]
    assert len(notes) == (device == "cuda")


@pytest.mark.gpu
def test_cuda_equals_the_cpu(bundle: Path) -> None:
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (9, 3, 64, 64)).astype(np.uint8)
    pooling = random.uniform(size=(3, 9)).astype(np.float32)
    with open_session(bundle, "onnxruntime:cpu") as cpu, open_session(bundle, "onnxruntime:cuda") as cuda:
        assert "CUDA" in str(cuda.info)
        for expected, actual in zip(run(cpu, frames, pooling), run(cuda, frames, pooling), strict=True):
            np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.gpu
def test_tf32_is_off_and_would_be_seen(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (9, 3, 64, 64)).astype(np.uint8)
    pooling = np.ones((1, 9), np.float32)
    with open_session(bundle, "onnxruntime:cpu") as cpu:
        expected = run(cpu, frames, pooling).frame_embedding
    options = Provider.options
    monkeypatch.setattr(Provider, "options", lambda self, stream: {**options(self, stream), "use_tf32": "1"})
    with load_onnxruntime(bundle / "model.fp32.onnx", "cuda") as allowed:
        assert np.abs(run(allowed, frames, pooling).frame_embedding - expected).max() > 1e-5


@pytest.mark.gpu
def test_auto_takes_the_gpu_where_there_is_one(bundle: Path) -> None:
    with open_session(bundle) as session:
        assert "CUDA" in str(session.info)
