"""What the runtime needs of a Python package that drives CUDA."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

from reid.runtime.cuda_driver.ownership import Owned

__all__ = ["NON_BLOCKING", "Package"]

NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING: a stream that does not wait for the default stream, nor makes it wait."""


class Package(Protocol):
    """What the runtime needs of a package. All calls but `retain` need a current context; all raise SessionError."""

    def retain(self, ordinal: int) -> Any:  # noqa: ANN401
        """Start the driver and retain a GPU's primary context."""
        ...

    def push(self, context: Any) -> None:  # noqa: ANN401
        """Make a context current on this thread."""
        ...

    def pop(self) -> None:
        """Make current what was so before the last push."""
        ...

    def stream(self) -> Owned:
        """Create a non-blocking stream."""
        ...

    def allocate(self, size: int) -> Owned:
        """Allocate bytes on the device."""
        ...

    def allocate_host(self, size: int) -> Owned:
        """Allocate bytes of page-locked memory on the host."""
        ...

    def upload(self, address: int, array: NDArray[Any], stream: Owned) -> None:
        """Copy an array to the device, on a stream."""
        ...

    def download(self, array: NDArray[Any], address: int, stream: Owned) -> None:
        """Fill an array from the device, on a stream."""
        ...

    def load(self, image: bytes) -> Owned:
        """Load a module, that is code for the device."""
        ...

    def function(self, module: Owned, name: str) -> Owned:
        """Find a kernel in a module."""
        ...

    def launch(
        self,
        function: Owned,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        parameters: bytes,
        shared: int,
        stream: Owned,
    ) -> None:
        """Launch a kernel on a stream, with its parameters packed as C packs a struct."""
        ...
