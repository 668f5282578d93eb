"""A graph in ONNX Runtime whose inputs and outputs lie where the caller says, on the device: I/O binding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from reid.runtime.cuda import Stream
from reid.runtime.engine_card import Profile
from reid.runtime.model_card import ModelCard
from reid.runtime.sessions.device.batch import TENSORS, Batch
from reid.runtime.sessions.onnxruntime_errors import run_error
from reid.runtime.sessions.onnxruntime_providers import Provider, import_onnxruntime
from reid.runtime.sessions.session import BatchLimits

__all__ = ["BoundGraph"]


class BoundGraph:
    """What enqueues batches, as an engine's Contexts do.

    Attributes:
        profiles: one, of every batch within the session's limits.
        stream: the stream that ONNX Runtime's session was given to compute on.
    """

    def __init__(
        self,
        session: Any,  # noqa: ANN401 - ONNX Runtime has no stubs
        provider: Provider,
        graph: Path,
        stream: Stream,
        card: ModelCard,
        limits: BatchLimits,
    ) -> None:
        """Take ONNX Runtime's session of a graph's file, on the provider."""
        self.stream = stream
        self.profiles = (Profile((1, limits.frames, limits.frames), (1, limits.tracklets, limits.tracklets)),)
        self._session, self._provider, self._graph, self._card = session, provider, graph, card
        self._options = import_onnxruntime().RunOptions()
        # A run returns as soon as its work is on the stream.
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def profile_for(self, frames: int, tracklets: int) -> int:
        """Return the only profile."""
        return 0

    def enqueue(self, batch: Batch) -> None:
        """Put a batch on the stream.

        Raises:
            DeviceMemoryError: a smaller batch may fit.
            SessionError: the device or the graph failed.
        """
        size, depth = self._card.preprocessing, self._card.dimensions
        binding = self._session.io_binding()
        tensors = (
            (binding.bind_input, np.uint8, (batch.frames, 3, size.height, size.width)),
            (binding.bind_input, np.float32, (batch.tracklets, batch.frames)),
            (binding.bind_output, np.float32, (batch.frames, depth)),
            (binding.bind_output, np.float32, (batch.tracklets, depth)),
        )
        for name, (bind, dtype, shape), address in zip(TENSORS, tensors, batch.addresses, strict=True):
            bind(name, self._provider.kind, self._provider.ordinal or 0, dtype, shape, address)
        try:
            self._session.run_with_iobinding(binding, self._options)
        except Exception as error:  # ONNX Runtime's exceptions share no base class
            raise run_error(error, self._graph, self._provider, batch.frames) from None

    run = enqueue
    """As the Graphs of an engine run batches."""

    @property
    def is_closed(self) -> bool:
        """Whether the session was released."""
        return self._session is None

    def close(self) -> None:
        """Release the session, and then its stream."""
        self._session = None
        self.stream.free()
