"""Opening a model: the one place in which a session is found by name, opened, and checked."""

from __future__ import annotations

import logging
import os
from importlib.metadata import entry_points
from pathlib import Path

from reid.runtime.errors import ModelError, SessionError
from reid.runtime.precision import PRECISIONS, Precision
from reid.runtime.self_check import check_session
from reid.runtime.sessions.opened import Opened, Opener
from reid.runtime.sessions.session import Session

__all__ = ["open_session", "open_unchecked"]

logger = logging.getLogger(__name__)


def open_session(model: str | os.PathLike[str], name: str = "auto", precision: Precision = "fp32") -> Session:
    """Open a model with a backend, and check it against the bundle's reference crops if that was not done here before.

    Of an engine that was never run on data, a note is logged.

    Args:
        model: a bundle, an .onnx file that `reid-export` wrote, or a checkpoint or run of `reid-train`.
        name: the name of a backend, with a device behind a colon if wanted: "onnxruntime", "onnxruntime:cpu",
            "torch:cuda". "auto" takes torch for a checkpoint and ONNX Runtime for the rest.
        precision: the precision of the bundle's graph to open.

    Raises:
        ModelError: the model is absent, damaged or of another kind, or does not embed the bundle's reference crops on
            this device as PyTorch did.
        SessionError: no such backend or precision, or the backend cannot run here.
    """
    opened = open_unchecked(model, name, precision)
    if opened.reference is not None:
        try:
            check_session(opened.session, opened.reference)
        except BaseException:
            opened.session.close()
            raise
    if opened.note:
        logger.warning("%s", opened.note)
    return opened.session


def open_unchecked(model: str | os.PathLike[str], name: str = "auto", precision: Precision = "fp32") -> Opened:
    """Open a model as open_session does, but for the check and the note: for whoever judges the session himself."""
    path = Path(model)
    if not path.exists():
        raise ModelError(f"{path}: no such model; give a bundle, an .onnx file, or a run of reid-train")
    if precision not in PRECISIONS:
        raise SessionError(f"unknown precision {precision!r}; choose one of: {', '.join(PRECISIONS)}")
    backend, _, device = (
        ("torch" if _is_checkpoint(path) else "onnxruntime", "", "") if name == "auto" else name.partition(":")
    )
    openers = {point.name: point for point in entry_points(group="reid.sessions")}
    if backend not in openers:
        raise SessionError(f"unknown session {backend!r}; choose one of: {', '.join(sorted(openers))}")
    opener: Opener = openers[backend].load()
    return opener(path, device or None, precision)


def _is_checkpoint(model: Path) -> bool:
    return model.suffix in (".safetensors", ".json") or (model / "checkpoint.safetensors").exists()
