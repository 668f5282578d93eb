"""The versions of backends' libraries: what reid requires, what is installed, and what to do about the difference."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from reid.runtime.errors import ModelError, ReidError, SessionError
from reid.runtime.sessions.session import BACKEND_TITLES

__all__ = ["graph_refused", "is_older"]

_DISTRIBUTIONS = {"onnxruntime": ("onnxruntime-gpu", "onnxruntime"), "openvino": ("openvino",)}
"""The packages, each on its own, by which a library is installed."""


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
    title, least = BACKEND_TITLES[backend], _least_version(backend)
    if not is_older(found, least):
        return ModelError(f"{graph}: {title} cannot {refusal}; export it again")
    package = next((name for name in _DISTRIBUTIONS[backend] if _installed(name) == found), backend)
    return SessionError(
        f"{graph}: {title} {found} cannot {refusal}; reid needs {least} or newer: pip install '{package}>={least}'"
    )


def is_older(found: str, least: str) -> bool:
    """Return whether a version, such as "1.20.0+cu12", is older than another, such as "1.21"."""
    return _numbers(found) < _numbers(least)


def _numbers(text: str) -> tuple[int, ...]:
    leading = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in leading[0].split(".")) if leading else ()


def _least_version(backend: str) -> str:
    """Return the least version of a library in reid's own requirements, as pip reads them."""
    names = "|".join(_DISTRIBUTIONS[backend])
    found = (re.match(rf"(?:{names})\s*\(?>=\s*([\d.]+)", line) for line in requires("reid") or ())
    return next(match[1] for match in found if match)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
