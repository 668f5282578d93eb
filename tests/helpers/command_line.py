"""What tests of the command lines share: a command that runs, and the way in which it has to fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Run: TypeAlias = Callable[..., tuple[int, str, str]]
"""(arguments ...) -> (exit code, standard output, standard error)"""


def assert_one_line_of_error(code: int, out: str, err: str) -> str:
    """Check that a command failed as the design says; return the sentence."""
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 1
    assert out == ""
    assert len(lines) == 1, err
    assert err.endswith(lines[0] + "\n")
    assert "Traceback" not in err
    return lines[0]
