"""Spans of OpenTelemetry, where it is installed and its program has set it up; else nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

__all__ = ["span"]

try:
    from opentelemetry import trace

    _tracer: Any = trace.get_tracer("reid.serve")
except ImportError:
    _tracer = None


def span(name: str) -> AbstractContextManager[object]:
    """Follow a step of a request, within the span around it."""
    if _tracer is None:
        return nullcontext()
    found: AbstractContextManager[object] = _tracer.start_as_current_span(name)
    return found
