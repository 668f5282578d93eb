"""What reaches the terminal: text that it shows and never obeys, and results that arrive whole or end in an error."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import TYPE_CHECKING

from reid.runtime.errors import ReidError

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "check_output",
    "prepare_streams",
    "print_error",
    "print_result",
    "print_tables",
]


def prepare_streams() -> None:
    """Let both streams take every text, and keep files from getting the number of a stream that is closed."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_error(text: str) -> None:
    """Print to standard error, if it takes anything."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr or io.StringIO())


def print_result(text: str) -> None:
    """Print a line, or several, that are the result.

    Raises:
        ReidError: standard output is closed or full.
    """
    check_output()
    try:
        print(text, flush=True)
    except OSError as error:
        raise _lost(error) from None


def print_tables(*parts: RenderableType, width: int | None = None) -> None:
    """Print tables that are the result.

    Args:
        parts: the tables, and lines between them, which stay whole however long: they may be commands to copy. Their
            cells are taken as they are: see `text.printable`.
        width: the width in a file or a pipe, in characters; None for that of a common terminal.

    Raises:
        ReidError: standard output is closed or full.
    """
    from rich.console import Console

    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    # Rich ends the process by itself where standard output is closed: it writes to memory, in the same encoding.
    memory = io.TextIOWrapper(io.BytesIO(), encoding=getattr(sys.stdout, "encoding", None))
    console = Console(
        file=memory,
        force_terminal=is_terminal,
        width=None if is_terminal else width,
        markup=False,
        emoji=False,
        highlight=False,
    )
    with console.capture() as captured:
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, str))
    print_result(captured.get().removesuffix("\n"))


def check_output() -> None:
    """Raise ReidError where standard output is closed, or cannot take what was printed to it."""
    if sys.stdout is None:
        raise ReidError("standard output is closed; send it to a file, or to /dev/null")
    try:
        sys.stdout.flush()
    except OSError as error:
        raise _lost(error) from None


def _lost(error: OSError) -> ReidError:
    # What is left in the buffer would be tried again, and reported in lines of its own, when the process ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ReidError(
        f"standard output takes no more ({error.strerror}); send it to a file with space, or to a reader that reads all"
    )
