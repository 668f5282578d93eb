"""The contexts on this thread's stack, straight from the driver: what a session must leave as it found it."""

from __future__ import annotations

import ctypes

__all__ = ["context_stack"]


def context_stack() -> list[int]:
    """Return the contexts of this thread, top first, and leave them as they are."""
    driver = ctypes.CDLL("libcuda.so.1")
    popped: list[int] = []
    context = ctypes.c_void_p()
    while driver.cuCtxPopCurrent_v2(ctypes.byref(context)) == 0 and context.value:
        popped.append(context.value)
        context = ctypes.c_void_p()
    for address in reversed(popped):
        driver.cuCtxPushCurrent_v2(ctypes.c_void_p(address))
    return popped
