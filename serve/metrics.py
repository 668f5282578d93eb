"""What the service counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_FRAMES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one service, in a registry of its own.

    Attributes:
        requests: the requests that were answered, by route and status.
        seconds: how long they took, by route.
        refusals: the requests that were refused, by reason.
        batches: the frames of each batch.
    """

    def __init__(self) -> None:
        """Begin at zero."""
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("reid_requests", "Requests that were answered.", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "reid_request_seconds", "Seconds to answer a request.", ["route"], buckets=_SECONDS, registry=registry
        )
        self.refusals = Counter("reid_refusals", "Requests that were refused.", ["reason"], registry=registry)
        self.batches = Histogram("reid_batch_frames", "Frames in a batch.", buckets=_FRAMES, registry=registry)

    def watch(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Read a value whenever the metrics are asked for."""
        Gauge(name, meaning, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """Return all of them as Prometheus reads them."""
        return generate_latest(self._registry)
