"""What is timed, and how it is found by a text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Opener", "Subject", "load_opener"]


class Subject(Protocol):
    """An opened model.

    It may also have `device_memory_mib()`, the most memory that it had on its device so far, and `commands`, what else
    it does by name: each takes the request and returns the reply, both dicts for JSON.
    """

    facts: Mapping[str, str]
    """What it is: "backend", "device", "precision"."""

    most_frames: int
    """The largest batch."""

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed frames [N, 3, H, W], as RGB; return [N, D] in host memory, complete."""

    def close(self) -> None:
        """Release what it holds."""


Opener: TypeAlias = Callable[[dict[str, Any]], Subject]
"""Opens the model that an `open` request names: "model", "threads", "most_frames" and what else the two agree on."""


def load_opener(text: str) -> Opener:
    """Import a module or a script, and return one of its functions.

    Raises:
        ValueError: the text has no colon.
    """
    place, colon, name = text.rpartition(":")
    if not colon:
        raise ValueError(f"{text!r} is no opener: write module:function or path/script.py:function")
    module = _load_script(Path(place)) if place.endswith(".py") else import_module(place)
    opener: Opener = getattr(module, name)
    return opener


def _load_script(file: Path) -> ModuleType:
    spec = spec_from_file_location("_script", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be imported")
    module = sys.modules[spec.name] = module_from_spec(spec)  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module
