"""ONNX Runtime on a GPU, with batches that stay there: I/O binding, slots, and arrays of other libraries."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.cuda import Cuda, DeviceMemoryError
from reid.runtime.errors import SessionError
from reid.runtime.kernels.library import Kernels
from reid.runtime.sessions.clocks import Timed
from reid.runtime.sessions.device.crops import find_kernels
from reid.runtime.sessions.device.lanes import DevicePending, Lanes
from reid.runtime.sessions.device.nvimgcodec import open_decoder
from reid.runtime.sessions.device.on_device import DeviceEmbeddings, DeviceRunner
from reid.runtime.sessions.device.slots import LENT, DeviceSlot, DeviceSlots
from reid.runtime.sessions.halving import reserve
from reid.runtime.sessions.host import HostSession
from reid.runtime.sessions.onnxruntime_binding import BoundGraph
from reid.runtime.sessions.session import BatchLimits, Embeddings, SessionInfo
from reid.runtime.sessions.slots import Pending, Slots

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["CudaSession"]


class CudaSession:
    """A `Session` on a GPU that lends slots and takes what is in the GPU's memory. One caller at a time.

    ONNX Runtime makes its GPU the thread's current one, for good: so it runs where the context is current for a while.
    """

    def __init__(self, host: HostSession, graph: BoundGraph, cuda: Cuda) -> None:
        """Take a session that copies, for batches that come from the host or find no room, and its graph on a GPU."""
        self._host, self._graph, self._cuda = host, graph, cuda
        self._most = host.limits.frames  # that find room, as far as is known
        self._resources = contextlib.ExitStack()
        self._resources.callback(graph.close)

    @property
    def info(self) -> SessionInfo:
        """See Session.info."""
        return self._host.info

    @info.setter
    def info(self, info: SessionInfo) -> None:
        self._host.info = info

    @property
    def limits(self) -> BatchLimits:
        """See Session.limits."""
        return self._host.limits

    def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
        """See Session.compute. Where memory is short, the batch is computed in parts."""
        with self._cuda.current():
            return self._host.compute(frames, pooling)

    def slots(self) -> Slots:
        """Return slots in memory that the GPU copies from by itself; see LendsSlots.

        Where they find no room, they hold smaller batches, and so do the session's limits from then on.

        Raises:
            DeviceMemoryError: not even slots of a single frame find room.
        """
        return self._slots

    def decode_on_device(self) -> None:
        """See DecodesOnDevice."""
        slots, lanes = self._slots, self._lanes  # which end before the slots are freed
        with self._cuda.current():
            decoder = open_decoder(self._cuda.ordinal, lanes.uploads)
        self._resources.callback(decoder.close)
        slots.decode_with(decoder)
        self.info = replace(self.info, decoder=decoder.name)

    @cached_property
    def _slots(self) -> DeviceSlots:
        kernels = find_kernels(self._cuda)
        return DeviceSlots(self._reserve(LENT, kernels), self._submit)

    @cached_property
    def _lanes(self) -> Lanes:
        lanes = Lanes(self._cuda, self._graph, self._graph, self._cuda.stream(), self._cuda.stream())
        self._resources.callback(lanes.close)
        self._resources.callback(lanes.synchronize)
        return lanes

    @cached_property
    def _on_device(self) -> DeviceRunner:
        (slot,) = self._reserve(1)
        return DeviceRunner(self._cuda, self._graph, slot, self.info.card)

    def _reserve(self, count: int, kernels: Kernels | None = None) -> list[DeviceSlot]:
        """Return slots for the largest batch that finds room."""
        self._check_open()

        def allocate(most: int, resources: contextlib.ExitStack) -> list[DeviceSlot]:
            limits = self.limits.within(BatchLimits(most, most))
            slots = [DeviceSlot(self._cuda, self.info.card, limits, kernels) for _ in range(count)]
            for slot in slots:
                resources.callback(slot.free)
            return slots

        slots, most = reserve(self.limits.frames, allocate, self._resources)
        self._host.limits = self.limits.within(BatchLimits(most, most))
        return slots

    def _submit(self, slot: DeviceSlot, frames: int, tracklets: int, give_back: Callable[[], None]) -> Pending:
        batch = slot, frames, tracklets
        try:
            self._check_open()
            if frames <= self._most:
                with self._cuda.current():
                    self._lanes.start(*batch)
                return DevicePending(slot.downloading.ended.done, partial(self._finish, *batch), give_back)
        except DeviceMemoryError:
            self._most = frames - 1
        except (SessionError, ValueError) as error:
            return DevicePending.failed(error, give_back)
        return DevicePending(lambda: True, partial(slot.embed_on_host, self.compute, frames, tracklets), give_back)

    def _finish(self, slot: DeviceSlot, frames: int, tracklets: int) -> Timed:
        return self._lanes.finish(slot, frames, tracklets), slot.seconds()

    def run_on_device(self, frames: Any, pooling: Any, stream: int | None = None) -> DeviceEmbeddings:  # noqa: ANN401
        """Embed a batch that is on this GPU, and leave the embeddings there; see TensorRTSession.run_on_device.

        Raises:
            DeviceMemoryError: a smaller batch may fit.
            SessionError: the device failed.
            ValueError: the arrays are not a batch of this model within the limits, not contiguous or not on this GPU,
                or the session is closed.
        """
        self._check_open()
        with self._cuda.current():
            return self._on_device.run(frames, pooling, stream, self.limits)

    def _check_open(self) -> None:
        if self._graph.is_closed:
            raise ValueError("the session is closed; open it again")

    def close(self) -> None:
        """See Session.close."""
        self._host.close()
        # After an error of the device, nothing can be freed, and whoever computed knows why.
        with contextlib.suppress(SessionError), self._cuda.current():
            self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
