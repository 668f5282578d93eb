"""A graph that a backend's library does not take: whether the library is too old for it, and what to do."""

from __future__ import annotations

from pathlib import Path

from reid.runtime.errors import ModelError, ReidError, SessionError
from reid.runtime.installs import how_to_update
from reid.runtime.sessions.session import BACKEND_TITLES
from reid.runtime.versions import is_older, least_version

__all__ = ["graph_refused"]


def graph_refused(graph: Path, backend: str, found: str, *, refusal: str) -> ReidError:
    """Return the error for a graph that a library does not take.

    Args:
        graph: the graph's file.
        backend: the name of the library: "onnxruntime" or "openvino".
        found: the version of the library that is loaded.
        refusal: what the library cannot do with the graph, and why: "load it (FAIL: ...)".

    Returns:
        A SessionError with the command that updates the library, where that is older than reid requires; else a
        ModelError.
    """
    title, least = BACKEND_TITLES[backend], least_version(backend)
    if not is_older(found, least):
        return ModelError(f"{graph}: {title} cannot {refusal}; export it again")
    update = how_to_update(backend, found)
    return SessionError(f"{graph}: {title} {found} cannot {refusal}; reid needs {least} or newer: {update}")
