"""Execution contexts of an engine: one a profile, all of them in one block of memory, on one stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from reid.runtime.cuda import Cuda, DeviceBuffer, DeviceMemoryError
from reid.runtime.engine_card import Profile
from reid.runtime.errors import SessionError
from reid.runtime.graph_names import FRAMES, POOLING
from reid.runtime.sessions.device.batch import TENSORS, Batch
from reid.runtime.sessions.engine.loading import LoadedEngine
from reid.runtime.sessions.session import BatchLimits

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["Contexts"]


class Contexts:
    """What enqueues batches.

    They share the memory in which layers keep their results, since they run one after the other, on one stream.

    Attributes:
        profiles: the engine's profiles.
        stream: the stream.
    """

    def __init__(
        self,
        cuda: Cuda,
        loaded: LoadedEngine,
        create: Callable[[], trt.IExecutionContext | None],
        profiles: Sequence[Profile],
        image_shape: tuple[int, int, int],
    ) -> None:
        """Take what creates contexts; `create` does.

        Args:
            cuda: the GPU, whose context is current.
            loaded: the engine.
            create: creates an execution context of the engine that gets its memory later; None where it cannot.
            profiles: the engine's profiles.
            image_shape: 3, height and width of a frame.
        """
        self.profiles = profiles
        self.stream = cuda.stream()
        self._cuda, self._loaded, self._create, self._image_shape = cuda, loaded, create, image_shape
        self._scratch: DeviceBuffer | None = None
        self._by_shapes = False
        self._contexts: list[trt.IExecutionContext] = []

    def create(self) -> None:
        """Create a context for each profile, without memory; `reserve` gives them some.

        Raises:
            SessionError: TensorRT does not create them.
        """
        for index in range(len(self.profiles)):
            self._contexts.append(self.make(index))

    def make(self, profile: int) -> trt.IExecutionContext:
        """Create one more context for a profile, in the same memory. Raises SessionError where that fails."""
        context = self._create()
        if context is None:
            raise self._error("makes no execution context")
        if not self._switch(context, profile):
            del context  # which the error would keep, until no CUDA context is current
            raise self._error(f"does not switch to profile {profile}")
        self._lend_scratch(context)
        return context

    def _lend_scratch(self, context: trt.IExecutionContext) -> None:
        # TensorRT refuses less than a profile may need until it knows the sizes of a batch; see _check_room.
        if self._scratch and not self._by_shapes:
            context.set_device_memory(self._scratch.address, self._scratch.size)

    def _switch(self, context: trt.IExecutionContext, profile: int) -> bool:
        if context.active_optimization_profile == profile:
            return True
        try:
            has_switched = bool(context.set_optimization_profile_async(profile, self.stream.handle))
        except RuntimeError:  # so the bindings say that it failed
            return False
        self.stream.synchronize()
        return has_switched

    def reserve(self, limits: BatchLimits, *, by_shapes: bool) -> DeviceBuffer:
        """Give the contexts memory for batches within limits.

        Args:
            limits: the largest batch.
            by_shapes: whether to take no more than these limits need, instead of what the profiles may need. It takes a
                moment of every batch that has another size than the one before.

        Raises:
            DeviceMemoryError: there is not as much.
        """
        sizes = [self._size(index, limits, by_shapes=by_shapes) for index in range(len(self.profiles))]
        self._scratch = self._cuda.allocate(max(1, *sizes, 1))
        self._by_shapes = by_shapes
        for context in self._contexts:
            self._lend_scratch(context)
        return self._scratch

    def _size(self, index: int, limits: BatchLimits, *, by_shapes: bool) -> int:
        profile = self.profiles[index]
        if not by_shapes:
            return int(self._loaded.engine.get_device_memory_size_for_profile_v2(index))
        frames, tracklets = min(limits.frames, profile.frames[2]), min(limits.tracklets, profile.tracklets[2])
        if not profile.fits(frames, tracklets):
            return 0  # not needed within these limits
        self._set_shapes(self._contexts[index], frames, tracklets)
        return int(self._contexts[index].update_device_memory_size_for_shapes())

    def profile_for(self, frames: int, tracklets: int) -> int:
        """Return the profile that takes a batch, and whose best sizes are nearest to it.

        Raises:
            SessionError: none takes it.
        """
        fitting = [index for index, profile in enumerate(self.profiles) if profile.fits(frames, tracklets)]
        if not fitting:
            raise SessionError(
                f"{frames} frames of {tracklets} tracklets fit no profile of the engine (at most "
                f"{max(profile.frames[2] for profile in self.profiles)} frames); use a smaller batch, or build the "
                "engine with another profile"
            )
        return min(fitting, key=lambda index: _distance(self.profiles[index], frames, tracklets))

    def enqueue(self, batch: Batch) -> None:
        """Put a batch on the stream. Raises DeviceMemoryError or SessionError where TensorRT does not take it."""
        context = self._contexts[batch.profile]
        self.bind(context, batch)
        self.execute(context)

    def bind(self, context: trt.IExecutionContext, batch: Batch) -> None:
        """Tell a context a batch's sizes and addresses."""
        self._set_shapes(context, batch.frames, batch.tracklets)
        if self._by_shapes:
            self._check_room(context)
        for name, address in zip(TENSORS, batch.addresses, strict=True):
            if not context.set_tensor_address(name, address):
                raise self._error(f"takes no {name} at {address:#x}")

    def _set_shapes(self, context: trt.IExecutionContext, frames: int, tracklets: int) -> None:
        for name, shape in ((FRAMES, (frames, *self._image_shape)), (POOLING, (tracklets, frames))):
            if not context.set_input_shape(name, shape):
                raise self._error(f"takes no {name} of {shape}")

    def _check_room(self, context: trt.IExecutionContext) -> None:
        assert self._scratch is not None
        if context.update_device_memory_size_for_shapes() > self._scratch.size:
            raise DeviceMemoryError("the engine needs more memory for this batch than is reserved; use a smaller one")
        context.set_device_memory(self._scratch.address, self._scratch.size)

    def execute(self, context: trt.IExecutionContext) -> None:
        """Enqueue what a context is bound to."""
        if not context.execute_async_v3(self.stream.handle):
            raise self._error("did not run")

    def _error(self, what: str) -> SessionError:
        reason = self._loaded.reason()
        if "out of memory" in reason.lower():
            return DeviceMemoryError(
                f"the engine {what} ({reason}); end other programs on the GPU, or use a smaller batch"
            )
        return SessionError(f"the engine {what} ({reason}); build it again")

    def close(self) -> None:
        """Free the contexts; their memory is for whoever reserved it to free."""
        self._contexts.clear()
        del self._create  # it holds the engine
        self.stream.free()


def _distance(profile: Profile, frames: int, tracklets: int) -> tuple[int, int]:
    return abs(profile.frames[1] - frames), abs(profile.tracklets[1] - tracklets)
