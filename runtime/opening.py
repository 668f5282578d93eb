"""Opening a model: the one place in which a session is found by name, opened, and checked."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path

from reid.runtime.errors import ModelError, SessionError
from reid.runtime.image_headers.plain_jpeg import plain_jpeg_size
from reid.runtime.imaging import read_image
from reid.runtime.precision import PRECISIONS, Precision
from reid.runtime.self_check import check_session
from reid.runtime.sessions.opened import Opened, Opener
from reid.runtime.sessions.session import Session
from reid.runtime.sessions.slots import DecodesOnDevice

__all__ = ["backend_of", "is_checkpoint", "open_session", "open_unchecked"]

logger = logging.getLogger(__name__)

_DECODER = "nvimgcodec"


def open_session(model: str | os.PathLike[str], name: str = "auto", precision: Precision = "fp32") -> Session:
    """Open a model with a backend, and check it against the bundle's reference crops if that was not done here before.

    Of an engine that was never run on data, a note is logged.

    Args:
        model: a bundle, an .onnx file that `reid-export` wrote, or a checkpoint or run of `reid-train`.
        name: the name of a backend, with a device behind a colon if wanted: "onnxruntime", "onnxruntime:cpu",
            "torch:cuda". "auto" takes torch for a checkpoint and ONNX Runtime for the rest. With "+nvimgcodec" at the
            end, as in "tensorrt:0+nvimgcodec", the GPU decodes JPEG files; its pixels may differ from the CPU's.
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
    name, plus, decoder = name.partition("+")
    if plus and decoder != _DECODER:
        raise SessionError(f"unknown decoder {decoder!r}; the only one is {_DECODER}, as in tensorrt+{_DECODER}")
    backend, _, device = (
        ("torch" if is_checkpoint(path) else "onnxruntime", "", "") if name == "auto" else name.partition(":")
    )
    openers = {point.name: point for point in entry_points(group="reid.sessions")}
    if backend not in openers:
        raise SessionError(f"unknown session {backend!r}; choose one of: {', '.join(sorted(openers))}")
    opener: Opener = openers[backend].load()
    opened = opener(path, device or None, precision)
    return _decoding_on_device(opened) if plus else opened


def backend_of(name: str) -> str:
    """Return the backend in a session's name: "tensorrt" of "tensorrt:0+nvimgcodec"."""
    return name.partition("+")[0].partition(":")[0]


def _decoding_on_device(opened: Opened) -> Opened:
    session, reference = opened.session, opened.reference
    try:
        if not isinstance(session, DecodesOnDevice):
            remedy = f"leave out +{_DECODER}, or use tensorrt or onnxruntime:cuda"
            raise SessionError(f"{session.info} does not decode on a GPU; {remedy}")
        session.decode_on_device()
        decoder, note = session.info.decoder, opened.note
        if reference is None or not any(plain_jpeg_size(read_image(crop)) for crop in reference.bundle.reference()[0]):
            unknown = f"no reference crop is a JPEG file that {decoder} decodes: what its pixels cost is not known"
            note = f"{note}; {unknown}" if note else unknown
    except BaseException:
        session.close()
        raise
    if reference:
        remedy = f"{decoder} may decode to other pixels than the CPU: leave out +{_DECODER}, or else {reference.remedy}"
        reference = replace(reference, remedy=remedy)
    return Opened(session, reference, note)


def is_checkpoint(model: Path) -> bool:
    """Return whether a model is a run or checkpoint of `reid-train`, by its name or what lies in it."""
    return model.suffix in (".safetensors", ".json") or (model / "checkpoint.safetensors").exists()
