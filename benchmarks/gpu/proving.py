"""A section's record: what it notes and checks is in its file at once, so that nothing is lost where it is stopped."""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

__all__ = ["Proof", "Skipped", "prove", "write_json"]


_LEAST = 3  # seconds in which a part of a section can be done


class Skipped(Exception):  # noqa: N818 - not an error
    """The section cannot run here; the message says why."""


class Proof:
    """The record of a running section.

    Args:
        file: where the record is kept, as JSON.
        work: the folder for files that other sections read, too.
        seconds: the time that the section is given.

    Attributes:
        work: see above.
    """

    def __init__(self, file: Path, work: Path, seconds: float) -> None:
        self.work = work
        self._file = file
        self._ends = time.monotonic() + seconds
        self._facts: dict[str, Any] = {}
        self._failed: list[str] = []
        self._write("running")

    @functools.cached_property
    def small(self) -> bool:
        """Whether sizes are small because it runs on a CPU: there is no GPU, or PROVE_DRY is set."""
        import torch

        return bool(os.environ.get("PROVE_DRY")) or not torch.cuda.is_available()

    @property
    def device(self) -> str:
        """PyTorch's, and ONNX Runtime's, name of the device: "cuda" or "cpu"."""
        return "cpu" if self.small else "cuda"

    @property
    def seconds_left(self) -> float:
        """The seconds until the section is stopped."""
        return self._ends - time.monotonic()

    def needs_gpu(self) -> None:
        """Raise Skipped where there is none."""
        if self.small:
            raise Skipped("no GPU")

    def needs_kernels(self) -> None:
        """Raise Skipped where there is no GPU, or where reid was installed without nvcc."""
        self.needs_gpu()
        built = files("reid.runtime.kernels").joinpath("kernels.fatbin").is_file()
        if not built and shutil.which("nvcc") is None:
            raise Skipped("reid was installed without nvcc, and so without kernels")

    def note(self, name: str, value: object) -> None:
        """Record a fact; its name says the unit."""
        self._facts[name] = round(value, 6) if isinstance(value, float) else value
        self._write("running")

    def check(self, name: str, holds: bool, found: object = None) -> None:
        """Record what has to hold, with what was found; the section goes on either way, and fails at its end."""
        self._facts[name] = {"holds": bool(holds)} if found is None else {"holds": bool(holds), "found": found}
        if not holds:
            self._failed.append(name)
        self._write("running")

    def attempt(self, name: str, task: Callable[..., object], *arguments: object) -> None:
        """Record what a task returns, or, as a failure, what it raises: one part's slip must not end the others'.

        A part is left out where hardly any time is left, since a section that has to be stopped has failed.
        """
        if self.seconds_left < _LEAST:
            self.note(name, "left out: no time is left")
            return
        try:
            found = task(*arguments)
            if found is not None:
                self.note(name, found)
        except Skipped as why:
            self.note(name, f"skipped: {why}")
        except Exception as error:
            traceback.print_exc()
            self.check(name, False, _sentence(error))

    def finish(self, error: Exception | None = None) -> None:
        """Record the end: passed, skipped or failed, and why."""
        if isinstance(error, Skipped):
            self._write("skipped", str(error))
        elif error:
            self._write("failed", "; ".join([_sentence(error), *self._failed]))
        else:
            self._write("failed" if self._failed else "passed", "; ".join(self._failed))

    def _write(self, state: str, reason: str = "") -> None:
        write_json(self._file, {"state": state, "reason": reason, **self._facts})


def prove(body: Callable[[Proof], None]) -> None:
    """Run a section with the record that run_sections.py has asked for: FILE WORK SECONDS."""
    proof = Proof(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
    error: Exception | None = None
    try:
        body(proof)
    except Exception as raised:
        error = raised
        if not isinstance(raised, Skipped):
            traceback.print_exc()
    proof.finish(error)


def write_json(file: Path, value: object) -> None:
    """Replace a file as a whole."""
    beside = file.with_name(file.name + ".new")
    beside.write_text(json.dumps(value, indent=1, default=str) + "\n")
    beside.replace(file)


def _sentence(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:400]
