"""The way of a batch through a GPU, and the batch that is on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from reid.runtime.cuda import Cuda, Stream
from reid.runtime.errors import SessionError
from reid.runtime.graph_names import FRAME_EMBEDDING, POOLED, POOLING
from reid.runtime.sessions.clocks import BatchSeconds, Timed
from reid.runtime.sessions.device.batch import Batch, Computes, Runs
from reid.runtime.sessions.device.slots import DeviceSlot
from reid.runtime.sessions.session import Embeddings

__all__ = ["DevicePending", "Lanes"]


@dataclass(frozen=True, slots=True)
class Lanes:
    """The way of a batch through the device: upload, compute and download, each on a stream of its own.

    Attributes:
        cuda: the GPU.
        contexts: what computes, and on which stream.
        graphs: how it is put there.
        uploads: the stream of uploads.
        downloads: the stream of downloads.
    """

    cuda: Cuda
    contexts: Computes
    graphs: Runs
    uploads: Stream
    downloads: Stream

    def start(self, slot: DeviceSlot, frames: int, tracklets: int) -> None:
        """Put a slot's batch on its way; `slot.downloading` ends with it. Raises as Graphs.run does."""
        profile = self.contexts.profile_for(frames, tracklets)
        most = min(len(slot.pooling), self.contexts.profiles[profile].tracklets[2])
        rows = min(most, 1 << (tracklets - 1).bit_length())  # fewer sizes: more batches find a graph
        self.uploads.wait(slot.computing.ended)
        try:
            with slot.uploading.on(self.uploads):
                slot.upload(self.cuda, frames, self.uploads)
                self.cuda.upload(slot.buffers[POOLING], slot.packed(frames, tracklets, rows), self.uploads)
            self.contexts.stream.wait(slot.uploading.ended)
            with slot.computing.on(self.contexts.stream):
                self.graphs.run(Batch(profile, frames, rows, slot.addresses()))
        except SessionError:
            self.uploads.synchronize()  # before anybody fills the slot again
            raise
        self.downloads.wait(slot.computing.ended)
        outputs = slot.outputs(frames, tracklets)
        with slot.downloading.on(self.downloads):
            self.cuda.download(outputs.frame_embedding, slot.buffers[FRAME_EMBEDDING], self.downloads)
            self.cuda.download(outputs.pooled, slot.buffers[POOLED], self.downloads)

    def finish(self, slot: DeviceSlot, frames: int, tracklets: int) -> Embeddings:
        """Wait for a slot's batch, and return copies of its outputs."""
        slot.downloading.ended.synchronize()
        outputs = slot.outputs(frames, tracklets)
        return Embeddings(outputs.frame_embedding.copy(), outputs.pooled.copy())

    def synchronize(self) -> None:
        """Wait until nothing is on its way."""
        for stream in (self.uploads, self.contexts.stream, self.downloads):
            stream.synchronize()

    def close(self) -> None:
        """Free the streams of copies."""
        self.uploads.free()
        self.downloads.free()


@dataclass(slots=True, eq=False)
class DevicePending:
    """A batch on its way. See Pending.

    Attributes:
        is_done: returns whether `wait` would not wait.
        wait: waits for the embeddings, or raises what went wrong.
        give_back: gives the slot back.
        seconds: see Pending.seconds.
    """

    is_done: Callable[[], bool]
    wait: Callable[[], Timed]
    give_back: Callable[[], None]
    seconds: BatchSeconds = field(default_factory=BatchSeconds)

    @classmethod
    def failed(cls, error: Exception, give_back: Callable[[], None]) -> DevicePending:
        """Return a batch that did not get on its way; its result is the error."""

        def wait() -> Timed:
            raise error

        return cls(lambda: True, wait, give_back)

    def done(self) -> bool:
        """See Pending.done."""
        return self.is_done()

    def result(self) -> Embeddings:
        """See Pending.result."""
        try:
            embeddings, self.seconds = self.wait()
        finally:
            self.give_back()
        return embeddings
