"""What the scripts print and leave: figures as JSON, with the machine that they depend on, and tables."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reid.bench.machine.gathering import gather_environment
from reid.bench.meters.opening import open_meters
from reid.runtime.files.storage import atomic_write

__all__ = ["command", "environment", "markdown_table", "script_parser", "write_result"]


def script_parser(help_text: str | None) -> argparse.ArgumentParser:
    """Return a command line with the option `--json`.

    Args:
        help_text: the text of `--help`.
    """
    parser = argparse.ArgumentParser(description=help_text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the result there, and its table, if it has one, beside it"
    )
    return parser


def command() -> str:
    """Return the command that repeats this run anywhere: of files and folders it has the name."""
    script, *words = (Path(word).name if os.sep in word else word for word in sys.argv)
    return shlex.join(["python", f"benchmarks/{script}", *words])


def environment() -> dict[str, Any]:
    """Return the machine, its software and the variables that change speed, as `reid-bench` stores them."""
    return gather_environment(open_meters()).model_dump(mode="json", exclude_defaults=True)


def write_result(file: Path, result: Mapping[str, Any], table: str = "") -> None:
    """Write a JSON file, and a table beside it, if there is one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if table:
        atomic_write(file.with_suffix(".md"), table.encode())
    atomic_write(file, (json.dumps(result, indent=2) + "\n").encode())


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1) -> str:
    """Return a table whose first columns are texts, and whose others are figures."""
    rule = [*["---"] * texts, *["---:"] * (len(head) - texts)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *rows))
