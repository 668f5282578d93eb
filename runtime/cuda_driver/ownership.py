"""What is taken from CUDA's driver and has to be given back to it."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from reid.runtime.errors import SessionError

__all__ = ["Current", "Owned", "free_with", "keep_forever"]

Current: TypeAlias = Callable[[], AbstractContextManager[None]]
"""Makes a context current while a block runs: `Cuda.current`."""


@dataclass(slots=True)
class Owned:
    """A thing of the driver that has to be given back.

    Attributes:
        raw: the package's object for it.
        handle: the driver's handle or address.
        free: gives `raw` back.
    """

    raw: Any
    handle: int
    free: Callable[[Any], object] = field(repr=False)

    def release(self) -> None:
        """Give it back, with its context current: pycuda does so when its object is deleted."""
        raw, self.raw = self.raw, None
        self.free(raw)


def free_with(owner: object, current: Current, free: Callable[[], object]) -> weakref.finalize[..., object]:
    """Return what frees once, with the context current: when called, when its owner is deleted, or at exit."""
    return weakref.finalize(owner, _free, current, free)


def _free(current: Current, free: Callable[[], object]) -> None:
    try:
        with current():
            free()
    except SessionError:  # the context died of an error, or is that of the process that forked this one
        keep_forever(free)  # where pycuda cannot make a context current to delete something, it ends the process


def keep_forever(thing: object) -> None:
    """Let an object never be deleted, not even at exit."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
