"""Which package drives CUDA here: pycuda where it is installed, else cuda-bindings."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from reid.runtime.cuda_driver.bindings import CudaBindings
from reid.runtime.cuda_driver.package import Package
from reid.runtime.cuda_driver.pycuda import PyCuda
from reid.runtime.errors import SessionError
from reid.runtime.installs import how_to_install

__all__ = ["find_package"]

_OLDEST_PYCUDA = (2025, 1, 2)  # the first that knows CUDA 13's cuCtxCreate


def find_package() -> Package:
    """Return the package that is installed. Raises SessionError where none is, or pycuda is too old or broken."""
    problems = []
    for name, load in (("pycuda", _pycuda), ("cuda-bindings", _cuda_bindings)):
        found = _loaded(name, load)
        if not isinstance(found, str):
            return found
        problems.append(found)
    raise SessionError(f"{' and '.join(problems)}: {how_to_install('pycuda')}")


def _loaded(name: str, load: Callable[[], Package]) -> Package | str:
    try:
        return load()
    except ModuleNotFoundError:
        return f"{name} is not installed"
    except (ImportError, OSError, RuntimeError) as error:
        return f"{name} does not load ({error})"


def _pycuda() -> Package:
    version = tuple(importlib.import_module("pycuda").VERSION)
    if version < _OLDEST_PYCUDA:
        raise ImportError(f"{'.'.join(map(str, version))} is older than {'.'.join(map(str, _OLDEST_PYCUDA))}")
    return PyCuda(importlib.import_module("pycuda.driver"))


def _cuda_bindings() -> Package:
    return CudaBindings(importlib.import_module("cuda.bindings.driver"))
