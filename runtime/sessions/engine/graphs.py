"""CUDA graphs of batches that come again and again: one call launches all of an engine's kernels.

A graph holds the sizes, addresses and state of the context that it was captured from, so that every graph has a context
of its own; they share the memory for the results of layers. Source: NVIDIA, TensorRT documentation, "CUDA Graphs".
"""

from __future__ import annotations

import contextlib
import gc
import logging
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reid.runtime.cuda import Cuda
from reid.runtime.errors import SessionError
from reid.runtime.sessions.device.batch import Batch
from reid.runtime.sessions.engine.contexts import Contexts

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["Graphs"]

logger = logging.getLogger(__name__)

_MOST_GRAPHS = 16
_MOST_SEEN = 256


@dataclass(frozen=True, slots=True)
class _Graph:
    executable: int
    context: trt.IExecutionContext


class Graphs:
    """Runs batches: one that was run before is captured, and launched as a graph from then on.

    Where capturing fails, batches are enqueued as without graphs, and the log says so once.
    """

    def __init__(self, cuda: Cuda, contexts: Contexts, *, captures: bool) -> None:
        """Take what enqueues batches, and whether to capture any."""
        self._cuda, self._contexts, self._captures = cuda, contexts, captures
        self._seen: OrderedDict[Batch, None] = OrderedDict()
        self._graphs: OrderedDict[Batch, _Graph] = OrderedDict()

    def run(self, batch: Batch) -> None:
        """Put a batch on the contexts' stream. Raises as Contexts.enqueue does."""
        if batch in self._graphs and self._launch(batch):
            return
        if not (self._captures and batch in self._seen and self._run_and_capture(batch)):
            self._contexts.enqueue(batch)
            self._remember(batch)

    def _launch(self, batch: Batch) -> bool:
        self._graphs.move_to_end(batch)
        try:
            self._cuda.library.launch(self._graphs[batch].executable, self._contexts.stream.handle)
        except SessionError as error:
            self._give_up(error)
            return False
        return True

    def _give_up(self, error: SessionError) -> None:
        # The error's text alone: whoever keeps the error keeps the context.
        logger.warning("batches run without CUDA graphs, which is slower: %s", str(error))
        self._captures = False
        self.clear()  # the memory that graphs hold may be what is missing

    def _remember(self, batch: Batch) -> None:
        self._seen[batch] = None
        if len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)

    def _run_and_capture(self, batch: Batch) -> bool:
        """Run a batch in a context of its own, and capture it; return whether it was run at all."""
        has_run = False
        try:
            context = self._contexts.make(batch.profile)
            self._contexts.bind(context, batch)
            self._contexts.execute(context)  # what TensorRT has to do after new sizes must not be captured
            has_run = True
            executable = self._capture(context)
        except SessionError as error:
            self._give_up(error)
            self._contexts.stream.synchronize()  # before the context goes, which may be running
            return has_run
        self._graphs[batch] = _Graph(executable, context)
        if len(self._graphs) > _MOST_GRAPHS:
            self._drop_oldest()
        return True

    def _capture(self, context: trt.IExecutionContext) -> int:
        library, stream = self._cuda.library, self._contexts.stream.handle
        with _without_collection():
            library.begin_capture(stream)
            try:
                self._contexts.execute(context)
            except BaseException:
                with contextlib.suppress(SessionError):  # which ends the capture, too
                    library.destroy_graph(library.end_capture(stream))
                raise
            graph = library.end_capture(stream)
        try:
            return library.instantiate(graph)
        finally:
            library.destroy_graph(graph)

    def _drop_oldest(self) -> None:
        _, oldest = self._graphs.popitem(last=False)
        self._contexts.stream.synchronize()  # it may be running
        self._cuda.library.destroy_executable(oldest.executable)

    def clear(self) -> None:
        """Free all graphs."""
        while self._graphs:
            self._drop_oldest()


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Keep the garbage collector from freeing memory of the device meanwhile, which would end a capture."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
