"""CUDA without a GPU: device memory is host memory, and the kernels are those of tests/kernels/host.cpp.

So `reid.runtime.cuda` and everything above it run as they are; only the package that drives CUDA is another.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from numpy.typing import NDArray

from reid.runtime.cuda import Cuda
from reid.runtime.cuda_driver.library import DriverLibrary
from reid.runtime.cuda_driver.ownership import Owned

__all__ = ["HostPackage", "Launch", "host_cuda", "host_kernels"]


@dataclass(frozen=True, slots=True)
class Launch:
    """What the driver is asked to launch."""

    name: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    parameters: bytes


@dataclass
class HostPackage:
    """Stands in for pycuda.

    Attributes:
        library: the kernels; without them launches are only noted.
        backwards: whether blocks and threads run backwards.
        launches: every launch.
        current: thread -> how often the context was made current there, and not yet what was before.
    """

    library: ctypes.CDLL | None = None
    backwards: bool = False
    launches: list[Launch] = field(default_factory=list)
    current: Counter[int] = field(default_factory=Counter)

    def retain(self, ordinal: int) -> int:
        return ordinal

    def push(self, context: int) -> None:
        self.current[threading.get_ident()] += 1

    def pop(self) -> None:
        self.current[threading.get_ident()] -= 1

    def stream(self) -> Owned:
        return Owned(None, 1, lambda raw: None)

    def allocate(self, size: int) -> Owned:
        # Aligned like CUDA's memory. Nothing lies behind it, so that a sanitizer sees what reads too far.
        memory = ctypes.c_void_p()
        libc = ctypes.CDLL(None)
        assert libc.posix_memalign(ctypes.byref(memory), ctypes.c_size_t(256), ctypes.c_size_t(max(size, 1))) == 0
        address = memory.value or 0
        ctypes.memset(address, 0xFE, max(size, 1))
        return Owned(address, address, lambda raw: libc.free(ctypes.c_void_p(raw)))

    allocate_host = allocate

    def upload(self, address: int, array: NDArray[Any], stream: Owned) -> None:
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def download(self, array: NDArray[Any], address: int, stream: Owned) -> None:
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def load(self, image: bytes) -> Owned:
        return Owned(None, 0, lambda raw: None)

    def function(self, module: Owned, name: str) -> Owned:
        return Owned(name, 0, lambda raw: None)

    def launch(
        self,
        function: Owned,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        parameters: bytes,
        shared: int,
        stream: Owned,
    ) -> None:
        assert shared == 0
        self.launches.append(Launch(function.raw, grid, block, parameters))
        if self.library is None:
            return
        sizes = (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block)
        wrong = self.library.launch(
            function.raw.encode(), *sizes, parameters, ctypes.c_size_t(len(parameters)), self.backwards
        )
        assert not wrong, f"{function.raw} {grid} {block}: {wrong.decode()}"


def host_cuda(package: HostPackage) -> Cuda:
    """Return CUDA as the runtime uses it, by a stand-in for its package."""
    return Cuda(0, package, DriverLibrary(SimpleNamespace(cuStreamSynchronize=lambda stream: 0)))


def host_kernels() -> ctypes.CDLL | None:
    """Return the kernels that CMake has built for the host; ctest names them in REID_HOST_KERNELS."""
    path = os.environ.get("REID_HOST_KERNELS")
    if path is None:
        return None
    library = ctypes.CDLL(str(Path(path)))
    library.launch.restype = ctypes.c_char_p
    return library
