"""Machines as text: the files that a meter reads, one a line."""

from __future__ import annotations

from pathlib import Path

TREES = Path(__file__).parents[1] / "bench" / "meters" / "trees"


def plant(folder: Path, text: str) -> str:
    r"""Write the files of a machine ("path = text", with \n and \t for line ends and tabs), and return its root."""
    for line in text.splitlines():
        if line and not line.startswith("#"):
            path, _, content = line.partition(" = ")
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content.replace("\\n", "\n").replace("\\t", "\t") + "\n")
    return str(folder)


def recorded(folder: Path, name: str) -> str:
    """Plant a machine of tests/bench/meters/trees, and return its root."""
    return plant(folder, (TREES / f"{name}.txt").read_text())
