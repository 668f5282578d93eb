"""A session that runs an engine on a GPU, for arrays on the host, slots, and arrays on the device."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reid.runtime.cuda import DeviceMemoryError, open_cuda
from reid.runtime.engine_card import EngineCard
from reid.runtime.errors import ModelError, ReidError, SessionError
from reid.runtime.gpu import Device
from reid.runtime.kernels.library import Kernels
from reid.runtime.model_card import ModelCard
from reid.runtime.sessions.clocks import Timed
from reid.runtime.sessions.device.crops import find_kernels
from reid.runtime.sessions.device.lanes import DevicePending, Lanes
from reid.runtime.sessions.device.nvimgcodec import open_decoder
from reid.runtime.sessions.device.on_device import DeviceEmbeddings, DeviceRunner
from reid.runtime.sessions.device.slots import LENT, DeviceSlot, DeviceSlots
from reid.runtime.sessions.engine.contexts import Contexts
from reid.runtime.sessions.engine.creation import context_creator
from reid.runtime.sessions.engine.graphs import Graphs
from reid.runtime.sessions.engine.loading import LoadedEngine, map_plan
from reid.runtime.sessions.halving import Halving, reserve
from reid.runtime.sessions.session import BatchLimits, Embeddings, SessionInfo
from reid.runtime.sessions.slots import Pending, Slots
from reid.runtime.tensorrt_api import TensorRT

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["TensorRTSession"]

logger = logging.getLogger(__name__)


class TensorRTSession:
    """An engine on a GPU. Callers of several threads wait for each other.

    Attributes:
        path: the engine's file.
        info: the facts about the session.
        ordinal: the number of the GPU that it runs on.
    """

    def __init__(
        self, path: Path, engine: EngineCard, card: ModelCard, api: TensorRT, gpu: Device, ordinal: int
    ) -> None:
        """Deserialize an engine that `check_engine` has passed, in the GPU's primary context, shared with PyTorch.

        Raises:
            DeviceMemoryError: not even a batch of one frame finds room.
            ModelError: the engine does not load.
            SessionError: there is nothing to drive CUDA with, or it failed.
        """
        self.path, self.ordinal = path, ordinal
        self.info = SessionInfo(engine.flavor, api.__version__, gpu.name, engine.precision, card)
        largest = max(engine.profiles, key=lambda profile: (profile.frames[2], profile.tracklets[2]))
        self._largest = BatchLimits(largest.frames[2], largest.tracklets[2])
        self._in_parts = Halving(self._embed, self._largest.frames)
        self._lock = threading.Lock()
        self._is_closed = False
        self._resources = contextlib.ExitStack()
        self._cuda = open_cuda(ordinal)
        try:
            with self._cuda.current():
                self._open(engine, api)
        except ReidError as error:
            failure = type(error)(str(error))  # whose traceback does not keep TensorRT's objects
        else:
            return
        self.close()
        raise failure

    def _open(self, engine: EngineCard, api: TensorRT) -> None:
        loaded = self._load(engine, api)
        create = context_creator(api, loaded, engine, self.info, self._resources)
        size = self.info.card.preprocessing
        contexts = Contexts(self._cuda, loaded, create, engine.profiles, (3, size.height, size.width))
        self._resources.callback(contexts.close)
        contexts.create()
        # TensorRT-RTX captures by itself.
        graphs = Graphs(self._cuda, contexts, captures=engine.flavor == "tensorrt")
        self._resources.callback(graphs.clear)
        self._lanes = Lanes(self._cuda, contexts, graphs, self._cuda.stream(), self._cuda.stream())
        self._resources.callback(self._lanes.close)
        self._slot, *lent = self._reserve(contexts, find_kernels(self._cuda))
        self._resources.callback(self._lanes.synchronize)
        self._slots = DeviceSlots(lent, self._submit)
        self._on_device = DeviceRunner(self._cuda, contexts, self._slot, self.info.card)

    def _load(self, engine: EngineCard, api: TensorRT) -> LoadedEngine:
        try:
            with map_plan(self.path, at_most=engine.engine_bytes) as plan:
                loaded = LoadedEngine(api, plan, host_code=engine.version_compatible)
        except (ModelError, OSError, ValueError) as error:
            problem = f"{self.path} does not load on {self.info} ({error})"
            raise ModelError(f"{problem}; rebuild it: {engine.rebuild(self.path)}") from None
        self._resources.callback(loaded.close)
        return loaded

    def _reserve(self, contexts: Contexts, kernels: Kernels | None) -> list[DeviceSlot]:
        """Allocate memory for the largest batch that finds room."""

        def allocate(most: int, resources: contextlib.ExitStack) -> list[DeviceSlot]:
            self._in_parts.most = most
            is_short = most < self._largest.frames
            resources.callback(contexts.reserve(self.limits, by_shapes=is_short).free)
            # The first one is for `compute`, which takes frames that are resized already, and tells no times.
            own = self._new_slot(resources, None, is_timed=False)
            return [own, *(self._new_slot(resources, kernels) for _ in range(LENT))]

        slots, _ = reserve(self._largest.frames, allocate, self._resources)
        return slots

    def _new_slot(
        self, resources: contextlib.ExitStack, kernels: Kernels | None, *, is_timed: bool = True
    ) -> DeviceSlot:
        slot = DeviceSlot(self._cuda, self.info.card, self.limits, kernels, is_timed=is_timed)
        resources.callback(slot.free)
        return slot

    @property
    def limits(self) -> BatchLimits:
        """The largest batch; where the GPU's memory is too small for what the engine takes, less than that."""
        most = self._in_parts.most
        return self._largest.within(BatchLimits(most, most))

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        with self._lock:
            if self._is_closed:
                raise ValueError("the session is closed; open it again")
            with self._cuda.current():
                yield

    def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
        """See Session.compute.

        Raises:
            DeviceMemoryError: not even a single frame finds room.
            SessionError: the batch fits no profile of the engine, or the device failed.
            ValueError: the session is closed.
        """
        with self._using():
            return Embeddings(*self._in_parts(frames, pooling))

    def _embed(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
        if len(pooling) > len(frames):  # a part of a batch, which may fit no profile so
            frame_embedding = self._embed(frames, np.zeros((1, len(frames)), np.float32)).frame_embedding
            return Embeddings(frame_embedding, pooling @ frame_embedding)
        self._slot.put(frames, pooling)
        self._lanes.start(self._slot, len(frames), len(pooling))
        return self._lanes.finish(self._slot, len(frames), len(pooling))

    def slots(self) -> Slots:
        """Return slots in memory that the GPU copies from by itself; see LendsSlots."""
        return self._slots

    def decode_on_device(self) -> None:
        """See DecodesOnDevice."""
        with self._using():
            decoder = open_decoder(self._cuda.ordinal, self._lanes.uploads)
            self._resources.callback(decoder.close)
            self._slots.decode_with(decoder)
            self.info = replace(self.info, decoder=decoder.name)

    def _submit(self, slot: DeviceSlot, frames: int, tracklets: int, give_back: Callable[[], None]) -> Pending:
        try:
            with self._using():
                return self._start(slot, frames, tracklets, give_back)
        except (SessionError, ValueError) as error:
            return DevicePending.failed(error, give_back)

    def _start(self, slot: DeviceSlot, frames: int, tracklets: int, give_back: Callable[[], None]) -> Pending:
        try:
            self._lanes.start(slot, frames, tracklets)
        except DeviceMemoryError:
            found = slot.embed_on_host(self._in_parts, frames, tracklets)
            return DevicePending(lambda: True, lambda: found, give_back)

        def is_done() -> bool:
            with self._using():
                return slot.downloading.ended.done()

        def wait() -> Timed:
            with self._using():
                return self._lanes.finish(slot, frames, tracklets), slot.seconds()

        return DevicePending(is_done, wait, give_back)

    def run_on_device(self, frames: Any, pooling: Any, stream: int | None = None) -> DeviceEmbeddings:  # noqa: ANN401
        """Embed a batch that is on this GPU, and leave the embeddings there.

        Nothing is copied, but for arrays that do not begin at a multiple of 256 bytes, which are copied on the device.

        Args:
            frames: uint8 [N, 3, H, W], as `run` takes them: an object with `__cuda_array_interface__` or `__dlpack__`,
                contiguous.
            pooling: float32 [T, N], likewise.
            stream: the handle of the stream that the caller works on; 0 is the default stream. The arrays are read in
                the order of that stream, and what is returned is filled in its order. With None, the arrays are read in
                the order of the default stream, and what is returned is filled already.

        Returns:
            Arrays that PyTorch, CuPy and Numba take without a copy; their memory is freed when nobody holds them.

        Raises:
            DeviceMemoryError: there is no room for the embeddings.
            SessionError: the batch fits no profile of the engine, or the device failed.
            ValueError: the arrays are not a batch of this model within the limits, not contiguous or not on this GPU,
                or the session is closed.
        """
        with self._using():
            return self._on_device.run(frames, pooling, stream, self.limits)

    def close(self) -> None:
        """See Session.close. Waits for what other threads compute."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            # After an error of the device, nothing can be freed, and whoever computed knows why.
            with contextlib.suppress(SessionError), self._cuda.current():
                self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
