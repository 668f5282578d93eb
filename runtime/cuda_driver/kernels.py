"""Code on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from reid.runtime.cuda_driver.memory import DeviceArray, DeviceBuffer
from reid.runtime.cuda_driver.ownership import Current, Owned, free_with
from reid.runtime.cuda_driver.package import Package

if TYPE_CHECKING:
    from reid.runtime.cuda import Stream

__all__ = ["Argument", "Function", "Module", "packed"]

Argument: TypeAlias = np.generic | DeviceBuffer | DeviceArray
"""A scalar of numpy, of just the type that the kernel takes, or memory, of which it gets the address."""


class Module:
    """Code that is loaded on the device.

    Attributes:
        free: unloads it, once; its kernels are gone then.
    """

    def __init__(self, current: Current, package: Package, module: Owned) -> None:
        """Take a module; call `Cuda.module` instead."""
        self._current, self._package, self._module = current, package, module
        self.free = free_with(self, current, module.release)

    def function(self, name: str) -> Function:
        """Find a kernel by its name. Raises SessionError where there is none."""
        with self._current():
            function = self._package.function(self._module, name)
        return Function(self, self._current, self._package, function)


class Function:
    """A kernel."""

    def __init__(self, module: Module, current: Current, package: Package, function: Owned) -> None:
        """Take a kernel, and keep its module; call `Module.function` instead."""
        self._module, self._current, self._package, self._function = module, current, package, function
        free_with(self, current, function.release)

    def launch(
        self,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[Argument],
        stream: Stream,
        shared: int = 0,
    ) -> None:
        """Put the kernel on a stream.

        Args:
            grid: the number of blocks in x, y, z; what is left out is 1.
            block: the number of threads of a block, likewise.
            arguments: what the kernel takes, in its order.
            stream: a stream that `Cuda.stream` created.
            shared: the bytes of dynamic shared memory.
        """
        parameters = packed(arguments)
        with self._current():
            self._package.launch(self._function, _three(grid), _three(block), parameters, shared, stream.owned)


def _three(sizes: Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (*sizes, 1, 1)[:3]
    return int(x), int(y), int(z)


def packed(arguments: Sequence[Argument]) -> bytes:
    """Pack arguments as C packs a struct: each at a multiple of its own alignment."""
    parameters = bytearray()
    for argument in arguments:
        value = np.uint64(argument.address) if isinstance(argument, (DeviceBuffer, DeviceArray)) else argument
        parameters += bytes(-len(parameters) % value.dtype.alignment) + value.tobytes()
    return bytes(parameters)
