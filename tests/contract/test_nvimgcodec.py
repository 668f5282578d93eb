"""The stand-in for nvImageCodec is held to the facts about its versions, and to the package where that is installed.

The package also decodes without a GPU, with decoders of its own for the CPU, to which the same API leads.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, TypeAlias

import cv2
import numpy as np
import pytest
from bindings import NVIMGCODEC, file_of
from facts import facts_of
from jpeg_files import jpeg, picture, turned
from strict_nvimgcodec import NvImageCodec, in_host_memory

import reid.runtime.sessions.device.nvimgcodec as module
from reid.runtime.imaging import decode

Decoded: TypeAlias = Callable[..., list[Any]]

STAND_IN: Any = NvImageCodec(in_host_memory)
KIND = STAND_IN.BackendKind.GPU_ONLY
SAMPLINGS = [0x111111, 0x211111, 0x221111, 0x121111]


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda api: api.Decoder(device=0), id="a misspelt argument"),
        pytest.param(lambda api: api.Decoder(device_id=0, backends=[KIND], stream=1), id="an argument of no version"),
        pytest.param(lambda api: api.Decoder(device_id=0, backend_kinds=[KIND]), id="an argument of 0.6"),
        pytest.param(lambda api: api.DecodeParams(sample_format=1), id="an argument of 0.9"),
        pytest.param(lambda api: api.CodeStream(b"", b"", b""), id="too many arguments"),
        pytest.param(lambda api: api.Backend(kind=KIND), id="another argument"),
    ],
)
def test_the_stand_in_refuses_what_a_version_refuses(call: Any) -> None:  # noqa: ANN401
    with pytest.raises(TypeError, match="incompatible function arguments"):
        call(STAND_IN)


def test_the_stand_in_refuses_what_only_some_versions_take_by_position() -> None:
    decoder = STAND_IN.Decoder(device_id=0, backends=[KIND], options=":fancy_upsampling=1")
    with pytest.raises(TypeError, match="incompatible function arguments"):
        decoder.decode([], None, 0)


def test_every_member_that_is_read_of_an_image_is_there() -> None:
    for name in NVIMGCODEC:
        facts = json.loads(file_of(name).read_text())
        assert {"CPU_ONLY", "GPU_ONLY", "HW_GPU_ONLY", "HYBRID_CPU_GPU"} == set(facts["BackendKind"]["enumerators"])
        assert facts["Image"]["properties"]["__cuda_array_interface__"] == "dict"


@pytest.fixture(scope="module")
def package() -> ModuleType:
    try:
        return importlib.import_module("nvidia.nvimgcodec")
    except ImportError:
        pytest.skip("needs nvidia-nvimgcodec, which is not installed")


@pytest.fixture
def decoded(package: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Decoded:
    """The runtime's decoder, but for what decodes and where the pixels are."""
    monkeypatch.setattr(module, "_KINDS", ("CPU_ONLY",))
    monkeypatch.setattr(module, "read_foreign", lambda image, stream: np.asarray(image))

    def decode_with(files: list[bytes], options: str = module._OPTIONS) -> list[Any]:
        monkeypatch.setattr(module, "_OPTIONS", options)
        stream: Any = SimpleNamespace(handle=0)
        return module.JpegDecoder(package, package.NVIMGCODEC_DEVICE_CPU_ONLY, stream).decode(files)

    return decode_with


def test_the_package_that_is_installed_says_what_is_stored(package: ModuleType) -> None:
    stored = {name.rpartition(".")[0]: name for name in NVIMGCODEC}
    if (name := stored.get(f"nvimgcodec-{package.__version__}")) is None:
        pytest.skip(f"nothing is stored about nvImageCodec {package.__version__}")
    assert facts_of(package) == json.loads(file_of(name).read_text())


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_package_makes_the_pixels_of_the_stand_in(decoded: Decoded, sampling: int) -> None:
    """They are OpenCV's, if Cb and Cr are interpolated as the runtime asks for it."""
    content = jpeg(picture(91, 121), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling)
    expected = decode(content, "a")
    for found in decoded([content, turned(content, 6)]):
        np.testing.assert_array_equal(found, expected)
    (coarse,) = decoded([content], ":fancy_upsampling=0")
    assert (np.abs(coarse.astype(int) - expected).max() > 1) == (sampling != SAMPLINGS[0])


def test_the_package_has_nothing_of_files_that_are_damaged(decoded: Decoded) -> None:
    content = jpeg(picture(91, 121))
    damaged = [b"", b"\xff\xd8", b"\xff\xd8damaged", content[: len(content) // 2]]
    first, *between, last = decoded([content, *damaged, content])
    assert between == [None] * len(damaged)
    np.testing.assert_array_equal(first, last)
