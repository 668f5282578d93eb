"""TensorRT and TensorRT-RTX: find the engine of a bundle that runs on this machine's GPU, and open it."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from reid.runtime.bundle import ENGINES_FOLDER, Bundle
from reid.runtime.engine_card import EngineCard
from reid.runtime.engine_fit import Target, check_engine, preference, runs_on
from reid.runtime.errors import ReidError, SessionError
from reid.runtime.gpu import find_device, why_no_device
from reid.runtime.model_card import ModelCard
from reid.runtime.precision import Precision
from reid.runtime.sessions.engine.session import TensorRTSession
from reid.runtime.sessions.opened import Opened, Reference
from reid.runtime.sessions.session import BACKEND_TITLES
from reid.runtime.tensorrt_api import Flavor, import_tensorrt

__all__ = ["TensorRTSession", "find_engine", "load_engine", "open_tensorrt", "open_tensorrt_rtx"]


def open_tensorrt(model: Path, device: str | None, precision: Precision) -> Opened:
    """Open a bundle's TensorRT engine of a precision on a GPU, by its number; None takes the first.

    Raises:
        ModelError: not a bundle, or its engine is damaged or was built from another graph.
        SessionError: no GPU, a package is missing, or no engine of the bundle is for here.
    """
    return _open("tensorrt", model, device, precision)


def open_tensorrt_rtx(model: Path, device: str | None, precision: Precision) -> Opened:
    """Open a bundle's TensorRT-RTX engine; otherwise as open_tensorrt."""
    return _open("tensorrt-rtx", model, device, precision)


def _open(flavor: Flavor, model: Path, device: str | None, precision: Precision) -> Opened:
    if not model.is_dir():
        raise SessionError(f"{model} has no engine; give its bundle, or use onnxruntime")
    bundle = Bundle.open(model)
    bundle.graph(precision)  # refuses a precision that the bundle does not have
    if device is not None and not re.fullmatch("[0-9]{1,3}", device):
        raise SessionError(f"{BACKEND_TITLES[flavor]} has no device {device!r}; give a GPU's number, as in {flavor}:0")
    ordinal = int(device or 0)
    gpu = find_device(ordinal)
    if gpu is None:
        raise SessionError(f"{why_no_device(ordinal)}; or use onnxruntime:cpu")
    api = import_tensorrt(flavor)
    path, engine = find_engine(bundle, precision, Target.here(flavor, api.__version__, gpu))
    session = TensorRTSession(path, engine, bundle.card, api, gpu, ordinal)
    reference = Reference(bundle, engine.engine_sha256, f"rebuild it: {engine.rebuild(path)}")
    notes = (engine.note(bundle.root), engine.note_on(gpu.name, path))
    return Opened(session, reference, "; ".join(filter(None, notes)))


def load_engine(path: Path, engine: EngineCard, card: ModelCard) -> TensorRTSession:
    """Load an engine that was just built, which is in no bundle yet, on this machine's first GPU.

    Args:
        path: the engine's file.
        engine: its sidecar.
        card: the model's card.

    Raises:
        ModelError: the engine does not load on a GPU that it was built for.
        SessionError: this machine cannot run it; the message says why, in a few words.
    """
    gpu = find_device()
    if gpu is None:
        raise SessionError("no GPU where it was built")
    if not runs_on(engine, gpu.compute_capability):
        targets = ", ".join(engine.compute_capabilities)
        raise SessionError(
            f"it is for compute capability {targets}, and was built where there is {gpu.compute_capability}"
        )
    return TensorRTSession(path, engine, card, import_tensorrt(engine.flavor), gpu, 0)


def find_engine(bundle: Bundle, precision: Precision, target: Target) -> tuple[Path, EngineCard]:
    """Find the engine of a bundle that runs on a target, by the sidecars; nothing is deserialized.

    Raises:
        ModelError: a sidecar is damaged, or the engine for the target is, or it was built from another graph.
        SessionError: no engine runs on the target; the message says why and how to build one.
    """
    unreadable: list[ReidError] = []
    refusals: list[ReidError] = []
    fitting: list[tuple[Path, EngineCard]] = []
    for sidecar in sorted((bundle.root / ENGINES_FOLDER).glob("*.json")):
        with _noting(unreadable):
            card = EngineCard.read(sidecar)
            if (card.flavor, card.precision) == (target.flavor, precision):
                fitting.append((sidecar.with_suffix(".engine"), card))
    for path, card in sorted(fitting, key=lambda engine: preference(engine[1], target)):
        with _noting(refusals):
            check_engine(path, card, target, bundle.graph(precision), bundle.card.fingerprint)
            return path, card
    # A damaged engine says more than one that is for another device.
    for refusal in sorted([*refusals, *unreadable], key=lambda error: isinstance(error, SessionError)):
        raise refusal
    command = shlex.join(["reid-export", str(bundle.root), "--precision", precision, "--engine", target.flavor])
    raise SessionError(
        f"{bundle.root} has no {precision} engine of {BACKEND_TITLES[target.flavor]}; build one: {command}"
    )


@contextlib.contextmanager
def _noting(refusals: list[ReidError]) -> Iterator[None]:
    try:
        yield
    except ReidError as error:  # there may be another engine
        refusals.append(error)
