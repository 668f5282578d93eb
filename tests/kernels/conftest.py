"""A device for the tests of kernels: a GPU, and the host's stand-in for one."""

from __future__ import annotations

import pytest
from host_cuda import HostPackage, host_cuda, host_kernels
from kernel_device import KernelDevice

from reid.runtime.cuda import open_cuda
from reid.runtime.kernels import library
from reid.runtime.kernels.library import Kernels

_HOST = host_kernels()


@pytest.fixture(
    params=[*(("host", "host backwards") if _HOST else ()), pytest.param("gpu", marks=pytest.mark.gpu)],
)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> KernelDevice:
    """The GPU, and under ctest (`make kernels`) the host with the kernels that CMake has built for it."""
    if request.param == "gpu":
        cuda = open_cuda()
    else:
        monkeypatch.setattr(library, "fat_binary", lambda: b"")
        cuda = host_cuda(HostPackage(_HOST, backwards=request.param == "host backwards"))
    return KernelDevice(cuda, Kernels(cuda), cuda.stream())
