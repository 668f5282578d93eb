"""LanceDB, imported when it is used; its failures end here, as errors of one line."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from typing import Any

from reid.runtime.errors import DataError, ReidError
from reid.runtime.installs import how_to_install, how_to_reinstall

__all__ = ["import_lancedb", "one_line_errors"]

_LOG = "LANCE_LOG"
_LONGEST = 300


def import_lancedb() -> Any:  # noqa: ANN401 - a module without types
    """Import LanceDB, which then logs errors only unless LANCE_LOG says otherwise. Raises ReidError if it is absent."""
    is_ours = _LOG not in os.environ
    if is_ours:
        os.environ[_LOG] = "error"  # read once, when it is imported
    try:
        return importlib.import_module("lancedb")
    except ModuleNotFoundError:
        raise ReidError(f"lancedb is not installed: {how_to_install('lancedb')}") from None
    except (ImportError, OSError) as error:
        raise ReidError(f"lancedb does not load ({error}); install it again: {how_to_reinstall('lancedb')}") from None
    finally:
        if is_ours:
            os.environ.pop(_LOG, None)


@contextlib.contextmanager
def one_line_errors(where: object, remedy: str) -> Iterator[None]:
    """Turn what LanceDB and Arrow raise into DataError: they have no types of their own, and a panic is no Exception.

    Args:
        where: the gallery, as it is to be named.
        remedy: what to do.
    """
    try:
        yield
    except ReidError:
        raise
    except Exception as error:
        raise DataError(f"{where}: {_reason(error)}; {remedy}") from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise DataError(f"{where}: LanceDB failed ({_reason(error)}); {remedy}") from None


def _reason(error: BaseException) -> str:
    """Return what is said of a failure, without the places in Rust where it came from."""
    said = str(error).split(", /")[0].strip().splitlines()
    return (said[0] if said else type(error).__name__)[:_LONGEST]
