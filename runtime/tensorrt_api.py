"""TensorRT's two packages, which share one API: importing them, their versions, and their messages."""

from __future__ import annotations

import gc
import importlib
import re
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from reid.runtime.errors import SessionError

if TYPE_CHECKING:
    import tensorrt_rtx as trt

__all__ = ["Flavor", "import_tensorrt", "logger_for", "release"]

Flavor: TypeAlias = Literal["tensorrt", "tensorrt-rtx"]

_MODULES: dict[Flavor, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
_EXTRAS: dict[Flavor, str] = {"tensorrt": "gpu", "tensorrt-rtx": "rtx"}
_OLDEST: dict[Flavor, tuple[int, ...]] = {"tensorrt": (10,), "tensorrt-rtx": (1, 2)}


def import_tensorrt(flavor: Flavor) -> ModuleType:
    """Import a flavor's package; both have the same API.

    Raises:
        SessionError: the package is not installed, does not load, or is older than this code supports.
    """
    install = f"pip install 'reid[{_EXTRAS[flavor]}]'"
    try:
        api = importlib.import_module(_MODULES[flavor])
    except ModuleNotFoundError:
        raise SessionError(f"{flavor} is not installed: {install}") from None
    except (ImportError, OSError, RuntimeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise SessionError(f"{flavor} does not load ({first}); install it again: {install}") from None
    if release(api.__version__) < _OLDEST[flavor]:
        oldest = ".".join(map(str, _OLDEST[flavor]))
        raise SessionError(f"{flavor} {api.__version__} is older than {oldest}; update it: {install}")
    return api


def logger_for(api: ModuleType, on_message: Callable[[bool, str], None]) -> trt.ILogger:
    """Make a logger that prints nothing and calls `on_message` with (is an error, message); that must not raise."""
    # TensorRT's objects that an earlier failure left wait, when they are deleted, for a lock that TensorRT holds while
    # it calls a logger: the garbage collector must not find them only then.
    gc.collect()
    errors = (api.ILogger.ERROR, api.ILogger.INTERNAL_ERROR)

    class Logger(api.ILogger):  # type: ignore[misc,name-defined] # the API takes nothing but a subclass
        def __init__(self) -> None:
            super().__init__()

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401
            on_message(severity in errors, message)

    logger: trt.ILogger = Logger()
    return logger


def release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, to compare: "10.13.0.35.post1" is (10, 13, 0, 35)."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()
