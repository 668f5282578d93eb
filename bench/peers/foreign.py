"""Peers in environments of their own: a Python interpreter, and a script that opens the model in its way."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from reid.bench.models import GivenModel
from reid.bench.subjects import Candidate
from reid.runtime.errors import ReidError

__all__ = ["foreign_peer"]

_USAGE = "write NAME=PYTHON:SCRIPT, or NAME=SCRIPT for this environment"

_FUNCTION = "open_subject"
"""The script's function, (request) -> subject, as `reid.bench.host.subject` says."""


def foreign_peer(text: str, models: Sequence[GivenModel]) -> Candidate:
    """Return the peer that `NAME=PYTHON:SCRIPT` describes; it gets the first model that is no checkpoint, if any.

    Raises:
        ReidError: the text is none such, or there is no such interpreter or script.
    """
    name, _, place = text.partition("=")
    python, _, script = place.rpartition(":")
    if not name.strip() or not script:
        raise ReidError(f"--peer {text!r} names no peer: {_USAGE}")
    if not Path(script).is_file():
        raise ReidError(f"--peer {text!r}: there is no script {script}; {_USAGE}")
    interpreter = shutil.which(python) if python else sys.executable
    if interpreter is None:
        raise ReidError(f"--peer {text!r}: there is no interpreter {python}; {_USAGE}")
    model = next((model for model in models if model.kind != "checkpoint"), models[0])
    opener = f"{Path(script).absolute()}:{_FUNCTION}"
    # Not resolved: the interpreter of an environment is a link, and its place is how it finds its packages.
    return Candidate(name.strip(), "peer", "fp32", model, opener, python=str(Path(interpreter).absolute()))
