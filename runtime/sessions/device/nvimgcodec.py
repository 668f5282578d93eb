"""nvImageCodec: JPEG files decoded on a GPU, many at a time."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from reid.runtime.cuda import Stream
from reid.runtime.cuda_driver.foreign import ForeignArray, read_foreign
from reid.runtime.errors import SessionError
from reid.runtime.installs import how_to_install

__all__ = ["JpegDecoder", "open_decoder"]

_KINDS = ("HW_GPU_ONLY", "GPU_ONLY", "HYBRID_CPU_GPU")
"""What may decode. Its own decoders for the CPU may not: what the GPU leaves is OpenCV's."""
_OPTIONS = ":fancy_upsampling=1"
"""Interpolates Cb and Cr, as libjpeg-turbo does; older versions repeat them unless they are told."""
_MOST_THREADS = 8


class JpegDecoder:
    """A decoder on a GPU.

    Attributes:
        name: the library and its version: "nvImageCodec 0.9.0".
        stream: the stream on which pixels are made; whoever reads them puts that on it, too.
        in_use: to be held until that is there; `close` waits for it.
    """

    def __init__(self, api: ModuleType, ordinal: int, stream: Stream) -> None:
        """Open a decoder on a GPU, by its number; call `open_decoder` instead."""
        self.name = f"nvImageCodec {api.__version__}"
        self.stream, self.in_use = stream, threading.Lock()
        self._api = api
        self._decoder: Any = api.Decoder(
            device_id=ordinal,
            max_num_cpu_threads=max(1, min(_MOST_THREADS, (os.cpu_count() or 1) - 1)),  # the caller works, too
            backends=[api.Backend(getattr(api.BackendKind, kind)) for kind in _KINDS],
            options=_OPTIONS,
        )
        self._as_they_lie = api.DecodeParams(apply_exif_orientation=False)

    def decode(self, files: Sequence[bytes]) -> list[ForeignArray | None]:
        """Decode files to RGB, uint8 [h, w, 3] on the device; None for each that cannot be, or after `close`.

        The arrays are filled once the stream has come so far. Their memory is given back in its order, so that nobody
        may keep them for longer than the stream.

        Raises:
            SessionError: the device failed.
        """
        if self._decoder is None:
            return [None] * len(files)
        streams = [self._parsed(content) for content in files]
        readable = [stream for stream in streams if stream is not None]
        try:
            found = self._decoder.decode(readable, params=self._as_they_lie, cuda_stream=self.stream.handle)
            images = iter([None if image is None else read_foreign(image, self.stream.handle) for image in found])
        except Exception as error:  # pybind11 raises RuntimeError and others
            raise SessionError(f"{self.name} failed: {error}") from None
        return [None if stream is None else next(images) for stream in streams]

    def _parsed(self, content: bytes) -> Any:  # noqa: ANN401 - the package has no types
        try:
            return self._api.CodeStream(content)
        except Exception:  # it says what is wrong with the file, and OpenCV is asked next
            return None

    def close(self) -> None:
        """Give back what it has on the device."""
        with self.in_use:
            self._decoder = None  # nobody else has it


def open_decoder(ordinal: int, stream: Stream) -> JpegDecoder:
    """Open a decoder on a GPU, by its number, whose pixels come in the order of a stream.

    Raises:
        SessionError: nvImageCodec is missing, or does not decode JPEG files on this GPU.
    """
    install = how_to_install("nvidia-nvimgcodec")
    try:
        nvimgcodec = importlib.import_module("nvidia.nvimgcodec")
    except ImportError as error:
        raise SessionError(f"nvImageCodec is not installed ({error}); {install}") from None
    try:
        decoder = JpegDecoder(nvimgcodec, ordinal, stream)
    except Exception as error:  # pybind11 raises RuntimeError and others
        raise SessionError(f"nvImageCodec {nvimgcodec.__version__} does not start: {error}; {install}") from None
    gray = np.full((48, 64, 3), 128, np.uint8)
    (image,) = decoder.decode([cv2.imencode(".jpg", gray)[1].tobytes()])
    if image is None:  # without nvJPEG, it only says so when it decodes
        raise SessionError(f"{decoder.name} decodes no JPEG on GPU {ordinal}, since it finds no nvJPEG; {install}")
    return decoder
