"""nvImageCodec without a GPU, refusing what its bindings refuse: each call has to suit every version that is known.

Its pixels are OpenCV's, as those of the package are without a GPU; see tests/contract/test_nvimgcodec.py.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from strict_cuda import Access, Driver, Failed

__all__ = ["NvImageCodec", "Room", "in_host_memory", "on_driver"]

_FACTS = [json.loads(file.read_text()) for file in Path(__file__).parents[1].glob("contract/facts/nvimgcodec-*.json")]

Room = Callable[[NDArray[np.uint8], int], tuple[int, Callable[[], None]]]
"""(pixels, stream) -> the address at which the stream will have written them, and what gives the memory back."""


def _check(name: str, function: str, *arguments: object, **named: object) -> None:
    """Raise TypeError where a version has no overload that takes the arguments."""
    for facts in _FACTS:
        signatures = [_signature(one) for one in facts[name]["functions"][function]]
        if not any(_takes(signature, arguments, named) for signature in signatures):
            raise TypeError(f"{name}.{function}: incompatible function arguments {arguments} {named}")


def _signature(text: str) -> inspect.Signature:
    scope: dict[str, Any] = {}
    exec(f"from __future__ import annotations\ndef function{text}: ...", scope)
    return inspect.signature(scope["function"])


def _takes(signature: inspect.Signature, arguments: Sequence[object], named: dict[str, object]) -> bool:
    try:
        signature.bind(*arguments, **named)
    except TypeError:
        return False
    return True


class NvImageCodec:
    """The package.

    Attributes:
        room: gives memory on the device.
        refused: files that it does not decode.
        brighter: how much brighter its pixels are than OpenCV's.
        has_nvjpeg: whether it finds nvJPEG, without which it decodes nothing.
        batches: the number of files of each call.
        open: how many decoders there are.
    """

    __version__ = "0.9.0"
    BackendKind = Enum("BackendKind", list(_FACTS[0]["BackendKind"]["enumerators"]))

    def __init__(self, room: Room) -> None:
        self.room, self.refused, self.brighter, self.has_nvjpeg = room, set[bytes](), 0, True
        self.batches, self.open = list[int](), 0

    def CodeStream(self, *arguments: Any) -> Any:  # noqa: ANN401, N802
        _check("CodeStream", "__init__", *arguments)
        if not arguments[0].startswith(b"\xff\xd8\xff"):
            raise RuntimeError("Failed to create code stream")
        return SimpleNamespace(content=arguments[0])

    def Backend(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401, N802
        _check("Backend", "__init__", *arguments, **named)
        assert isinstance(arguments[0], self.BackendKind)
        assert arguments[0].name != "CPU_ONLY", "its own decoders for the CPU differ from OpenCV's"
        return arguments[0]

    def DecodeParams(self, **named: Any) -> Any:  # noqa: ANN401, N802
        _check("DecodeParams", "__init__", **named)
        assert named["apply_exif_orientation"] is False
        return SimpleNamespace(**named)

    def Decoder(self, **named: Any) -> _Decoder:  # noqa: ANN401, N802
        _check("Decoder", "__init__", **named)
        assert named["device_id"] == 0
        assert named["options"] == ":fancy_upsampling=1"
        assert named["backends"], "all of them, those of the CPU among them"
        return _Decoder(self)


class _Decoder:
    def __init__(self, api: NvImageCodec) -> None:
        self._api = api
        api.open += 1

    def __del__(self) -> None:
        self._api.open -= 1

    def decode(self, *arguments: Any, **named: Any) -> list[_Image | None]:  # noqa: ANN401
        _check("Decoder", "decode", *arguments, **named)
        (sources,) = arguments
        self._api.batches.append(len(sources))
        return [self._decoded(source.content, named["cuda_stream"]) for source in sources]

    def _decoded(self, content: bytes, stream: int) -> _Image | None:
        if not self._api.has_nvjpeg or content in self._api.refused:
            return None
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        pixels = cv2.add(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.full(image.shape, self._api.brighter, np.uint8))
        return _Image(np.asarray(pixels, np.uint8), stream, self._api.room)


class _Image:
    def __init__(self, pixels: NDArray[np.uint8], stream: int, room: Room) -> None:
        self._free = lambda: None  # where there is no room
        address, self._free = room(pixels, stream)
        facts = {"shape": pixels.shape, "strides": None, "typestr": "|u1", "data": (address, False), "version": 3}
        self.__cuda_array_interface__ = {**facts, "stream": stream or 1}

    def __del__(self) -> None:
        self._free()


def on_driver(driver: Driver) -> Room:
    """Give memory of a strict driver, which is freed in the order of its stream."""

    def room(pixels: NDArray[np.uint8], stream: int) -> tuple[int, Callable[[], None]]:
        address = driver.allocate(pixels.nbytes)

        def write() -> None:
            driver.at(address, pixels.shape, np.uint8)[:] = pixels

        def free() -> None:
            try:
                driver.stream(stream)
                driver.free(address)
            except Failed:
                driver.faults.append("an image was kept for longer than its stream or context")

        driver.put(stream, write, [Access(address, pixels.nbytes, True)])
        return address, free

    return room


def in_host_memory(pixels: NDArray[np.uint8], stream: int) -> tuple[int, Callable[[], None]]:
    """Give memory of the host, which stands for the device's."""
    held = [np.ascontiguousarray(pixels)]
    return held[0].ctypes.data, held.clear
