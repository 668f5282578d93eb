"""Opening a session whose GPU decodes, without one: the CPU computes, and the memory of the device is the host's."""

from __future__ import annotations

import ctypes
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from host_cuda import HostPackage
from jpeg_files import jpeg, picture
from numpy.typing import NDArray
from strict_nvimgcodec import NvImageCodec, in_host_memory

import reid.runtime.sessions.onnxruntime_cuda as cuda_module
from reid.runtime.cuda import Cuda, DeviceArray
from reid.runtime.cuda_driver.library import DriverLibrary
from reid.runtime.embedding import embed
from reid.runtime.errors import ModelError, SessionError
from reid.runtime.imaging import as_model_input
from reid.runtime.opening import backend_of, open_session, open_unchecked
from reid.runtime.sessions import onnxruntime as backend
from reid.runtime.tracklet import Tracklet

NAME = "onnxruntime:cpu+nvimgcodec"


class Library:
    """The driver's library: everything happens at once."""

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*arguments: Any) -> int:  # noqa: ANN401
            if name == "cuMemcpyDtoDAsync_v2":
                ctypes.memmove(arguments[0].value, arguments[1].value, arguments[2].value)
            return 0

        return call


class Resizing:
    """The kernel that resizes, done by the CPU."""

    def resize_crops(
        self,
        pixels: DeviceArray,
        layout: object,
        crops: NDArray[np.void],
        room: object,
        frames: DeviceArray,
        stream: object,
    ) -> None:
        size: Any = SimpleNamespace(height=frames.shape[2], width=frames.shape[3])
        held, batch = (
            np.ctypeslib.as_array((ctypes.c_uint8 * one.nbytes).from_address(one.address)).reshape(one.shape)
            for one in (pixels, frames)
        )
        for crop in crops:
            start, shape = int(crop["offset"]), (int(crop["height"]), int(crop["width"]), 3)
            batch[crop["position"]] = as_model_input(held[start : start + int(np.prod(shape))].reshape(shape), size)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> NvImageCodec:
    """The package, on a machine with a GPU and an empty memory of what was checked."""
    cuda, package = Cuda(0, HostPackage(), DriverLibrary(Library())), NvImageCodec(in_host_memory)
    monkeypatch.setattr(backend, "_cuda", lambda provider: cuda)
    monkeypatch.setattr(cuda_module, "find_kernels", lambda cuda: Resizing())
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", package)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return package


def test_the_self_check_takes_the_gpus_pixels(api: NvImageCodec, bundle: Path) -> None:
    with open_session(bundle, "onnxruntime:cpu"):
        assert api.batches == []
    with open_session(bundle, NAME) as session:
        assert session.info.decoder == "nvImageCodec 0.9.0"
        assert sum(api.batches[1:]) == 8
    api.batches.clear()
    with open_session(bundle, NAME):
        assert api.batches == [1]  # it was checked before, and only tried out
    assert api.open == 0


def test_pixels_that_matter_are_refused(api: NvImageCodec, bundle: Path) -> None:
    with open_session(bundle, "onnxruntime:cpu"):
        pass
    api.brighter = 30
    with pytest.raises(ModelError, match=r"with nvImageCodec 0\.9\.0 embeds reference/.* leave out \+nvimgcodec, or"):
        open_session(bundle, NAME)
    open_unchecked(bundle, NAME).session.close()  # for who judges by himself
    assert api.open == 0


def test_what_cannot_be_checked_is_said(
    api: NvImageCodec, bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    graph = shutil.copy(bundle / "model.fp32.onnx", tmp_path)
    with caplog.at_level(logging.WARNING), open_session(graph, NAME):
        assert "no reference crop is a JPEG file that nvImageCodec 0.9.0 decodes" in caplog.text


def test_embeddings_are_those_of_the_same_pixels(api: NvImageCodec, bundle: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{index}.jpg" for index in range(5)]
    for index, file in enumerate(files):
        file.write_bytes(jpeg(picture(60 + index, 80, index)))
    with open_unchecked(bundle, NAME).session as session, open_session(bundle, "onnxruntime:cpu") as other:
        (ours,), (theirs,) = (list(embed(one, [Tracklet("a", tuple(files))])) for one in (session, other))
    assert ours.embedding is not None
    np.testing.assert_allclose(ours.embedding, theirs.embedding, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("onnxruntime:cpu+opencv", "unknown decoder 'opencv'; the only one is nvimgcodec"),
        ("onnxruntime+", "unknown decoder ''"),
        (NAME, r"ONNX Runtime .* on CPU does not decode on a GPU; leave out \+nvimgcodec, or use"),
    ],
)
def test_what_cannot_decode_on_a_gpu_is_refused(bundle: Path, name: str, reason: str) -> None:
    with pytest.raises(SessionError, match=reason):
        open_session(bundle, name)


def test_crops_that_the_cpu_resizes_are_decoded_there(
    api: NvImageCodec, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_module, "find_kernels", lambda cuda: None)
    with pytest.raises(SessionError, match="for the kernels, which reid does not have here; install the CUDA toolkit"):
        open_session(bundle, NAME)
    assert api.open == 0


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt:0", "tensorrt+nvimgcodec", "tensorrt:0+nvimgcodec"])
def test_the_backend_of_a_name(name: str) -> None:
    assert backend_of(name) == "tensorrt"
