from __future__ import annotations

import shutil
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

from reid.runtime.errors import ModelError, ReidError, SessionError
from reid.runtime.opening import open_session
from reid.runtime.sessions.session import run


def frames_and_pooling(count: int = 5, tracklets: int = 2) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(count)
    frames = random.integers(0, 256, (count, 3, 64, 64)).astype(np.uint8)
    return frames, random.uniform(size=(tracklets, count)).astype(np.float32)


def test_the_entry_points_are_the_sessions_of_the_design() -> None:
    assert {"onnxruntime", "openvino", "tensorrt", "tensorrt-rtx", "torch"} <= {
        point.name for point in entry_points(group="reid.sessions")
    }


@pytest.mark.torch
def test_auto_takes_torch_for_a_checkpoint_and_onnxruntime_for_the_rest(checkpoint: Path, bundle: Path) -> None:
    for model, backend in (
        (checkpoint, "PyTorch"),
        (checkpoint / "checkpoint.safetensors", "PyTorch"),
        (checkpoint / "checkpoint.json", "PyTorch"),
        (bundle, "ONNX Runtime"),
        (bundle / "model.fp32.onnx", "ONNX Runtime"),
    ):
        with open_session(model) as session:
            assert str(session.info).startswith(backend), model


@pytest.mark.torch
def test_every_way_to_open_a_model_gives_the_same_embeddings(checkpoint: Path, bundle: Path) -> None:
    frames, pooling = frames_and_pooling()
    outputs, fingerprints = [], set()
    for model, name in (
        (checkpoint, "torch:cpu"),
        (bundle, "onnxruntime:cpu"),
        (bundle / "model.fp32.onnx", "onnxruntime:cpu"),
    ):
        with open_session(model, name) as session:
            outputs.append(run(session, frames, pooling))
            fingerprints.add(session.info.card.fingerprint)
    assert len(fingerprints) == 1
    for output in outputs[1:]:
        np.testing.assert_allclose(output[0], outputs[0][0], atol=1e-5)
        np.testing.assert_allclose(output[1], outputs[0][1], atol=1e-5)


@pytest.mark.torch
def test_outputs_are_what_the_protocol_promises_and_the_callers_own(checkpoint: Path, bundle: Path) -> None:
    frames, pooling = frames_and_pooling(count=4, tracklets=3)
    for model in (checkpoint, bundle):
        with open_session(model) as session:
            frame_embedding, pooled = run(session, frames, pooling)
            assert (frame_embedding.dtype, pooled.dtype) == (np.float32, np.float32)
            assert (frame_embedding.shape, pooled.shape) == ((4, 32), (3, 32))
            np.testing.assert_allclose(np.linalg.norm(frame_embedding, axis=1), 1, atol=1e-5)
            np.testing.assert_allclose(pooled, pooling @ frame_embedding, atol=1e-5)
            kept = frame_embedding.copy()
            run(session, 255 - frames, pooling)
            assert np.array_equal(frame_embedding, kept)
            frame_embedding[:] = 0
            assert np.array_equal(run(session, frames, pooling)[0], kept)


@pytest.mark.parametrize("name", ["tensorrtt", "", ":cpu", "ONNXRUNTIME"])
def test_an_unknown_session_is_refused_with_the_known_ones(bundle: Path, name: str) -> None:
    with pytest.raises(SessionError, match="onnxruntime, openvino, tensorrt, tensorrt-rtx, torch, triton"):
        open_session(bundle, name)


@pytest.mark.parametrize("name", ["onnxruntime:tpu", "onnxruntime:CPU", "onnxruntime:cuda:x"])
def test_an_unknown_device_is_refused_with_the_known_ones(bundle: Path, name: str) -> None:
    with pytest.raises(SessionError, match="cpu, cuda, cuda:N"):
        open_session(bundle, name)


def test_a_missing_model_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent.*no such model"):
        open_session(tmp_path / "absent")


@pytest.mark.torch
def test_a_folder_that_is_no_model_is_refused_by_its_name(tmp_path: Path) -> None:
    for name in ("auto", "onnxruntime", "torch"):
        with pytest.raises(ModelError, match=tmp_path.name):
            open_session(tmp_path, name)


@pytest.mark.torch
def test_a_model_of_another_backend_is_refused_with_the_remedy(checkpoint: Path, bundle: Path) -> None:
    with pytest.raises(ModelError, match="reid-export"):
        open_session(checkpoint, "onnxruntime")
    with pytest.raises(ModelError, match="reid-train"):
        open_session(bundle, "torch")


@pytest.mark.torch
def test_a_precision_that_is_not_there_is_never_replaced_by_another(checkpoint: Path, bundle: Path) -> None:
    for model in (checkpoint, bundle, bundle / "model.fp32.onnx"):
        for precision in ("fp16", "int8", "fp64"):
            with pytest.raises(ReidError, match=r"fp32|--precision"):
                open_session(model, precision=precision)


@pytest.mark.torch
def test_a_damaged_checkpoint_is_refused_by_its_name(checkpoint: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(checkpoint, tmp_path / "run"))
    file = run / "checkpoint.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"checkpoint\.safetensors"):
        open_session(run)


@pytest.mark.gpu
def test_torch_on_a_gpu_equals_torch_on_the_cpu(checkpoint: Path) -> None:
    frames, pooling = frames_and_pooling(count=9)
    with open_session(checkpoint, "torch:cpu") as cpu, open_session(checkpoint, "torch:cuda") as cuda:
        for expected, actual in zip(run(cpu, frames, pooling), run(cuda, frames, pooling), strict=True):
            np.testing.assert_allclose(actual, expected, atol=1e-5)  # TF32 would be off by 1e-3
