"""Whether a session embeds the bundle's reference crops as PyTorch did, asked once per model and device.

It goes the way of every later crop, from the file through decoder, resize, graph and pooling, so that whatever is
wrong on this device is found before the first answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from reid import __version__
from reid.runtime.bundle import Bundle
from reid.runtime.embedding import Embedded, embed, normalize
from reid.runtime.errors import ModelError, ReidError
from reid.runtime.sessions.session import Session
from reid.runtime.storage import atomic_write
from reid.runtime.tracklet import Tracklet

__all__ = ["SIMILARITY", "check_session"]

SIMILARITY = {"fp32": 0.9995, "fp16": 0.999, "int8": 0.9}
"""Smallest cosine similarity to PyTorch's embedding, by precision.

Measured on three models: the graph itself differs by 5e-7 (FP32) to 1e-6 (FP16); decoders and resizes that differ by
1 of 255 in most pixels, which is allowed, by up to 4e-4; a mean that is wrong by 0.02 by 1e-3 to 7e-3.
"""

_CROPS = 8
_TRACKLET = 3
"""So many of the crops go in as one tracklet."""
_BATCH_SIZE = 6
"""Lets that tracklet straddle two batches, of which the last is not full."""
_REMEDY = "run `reid-export` again, on this device"


def check_session(
    session: Session,
    bundle: Bundle,
    *,
    artifact_sha256: str,
    precision: str,
    backend: str,
    batch_size: int = _BATCH_SIZE,
    remedy: str = _REMEDY,
    memory: Path | None = None,
) -> None:
    """Compare a session's embeddings of a few reference crops with PyTorch's, unless that was done here before.

    Args:
        session: stays the caller's to close, also where the check fails.
        bundle: the session's, with its hashes checked.
        artifact_sha256: of the graph or engine that the session runs.
        precision: that the bundle gives it.
        backend: name and version of what runs it, and of the device where `session.device` does not name that; a
            check that was passed with one of them does not count for another.
        batch_size: frames per run; smaller where an engine takes fewer at once.
        remedy: the end of the error's sentence.
        memory: folder that remembers passed checks; None for `reid/self-checks` in the user's cache. One that cannot
            be read or written only means that the check is repeated.

    Raises:
        ModelError: an embedding is too far from PyTorch's, or the session cannot embed the crops at all.
    """
    facts = _facts(session, bundle, artifact_sha256, precision, backend)
    folder = memory or _default_memory()
    entry = folder / f"{hashlib.sha256(facts).hexdigest()}.json" if folder else None
    if entry and _holds(entry, facts):
        return
    similarities = _similarities(session, bundle, batch_size)
    worst = min(similarities, key=lambda name: similarities[name])
    least = _least(precision)
    if similarities[worst] < least:
        raise ModelError(
            f"{bundle.root}: {session.device} embeds {worst} unlike PyTorch (cosine similarity "
            f"{similarities[worst]:.5f}, at least {least} is expected of {precision}); {remedy}"
        )
    if entry:
        _remember(entry, facts)


def _least(precision: str) -> float:
    return SIMILARITY.get(precision, max(SIMILARITY.values()))


def _facts(session: Session, bundle: Bundle, artifact_sha256: str, precision: str, backend: str) -> bytes:
    """Everything that the check's result depends on."""
    facts = {
        "artifact": artifact_sha256,
        "reference": {name: digest for name, digest in bundle.card.files.items() if name.startswith("reference/")},
        "preprocessing": session.card.preprocessing.model_dump(mode="json"),
        "similarity": _least(precision),
        "device": session.device,
        "backend": backend,
        "host": platform.node(),
        "versions": {"reid": __version__, "opencv": cv2.__version__},
    }
    return json.dumps(facts, indent=2, sort_keys=True).encode()


def _similarities(session: Session, bundle: Bundle, batch_size: int) -> dict[str, float]:
    """Name of a crop or tracklet -> cosine similarity of the session's embedding to PyTorch's."""
    crops, reference = _reference(bundle)
    names = [crop.relative_to(bundle.root).as_posix() for crop in crops]
    alone = max(0, len(crops) - _TRACKLET)
    groups = [*([index] for index in range(alone)), [*range(alone, len(crops))]]
    tracklets = [Tracklet(f"the tracklet {names[group[0]]}", tuple(crops[i] for i in group)) for group in groups]
    similarities = {}
    for group, entry in zip(groups, _embedded(session, bundle, tracklets, batch_size), strict=True):
        for frame, index in enumerate(group):
            similarities[names[index]] = _similarity(entry.frames[frame], reference[index])
        if entry.embedding is not None:
            similarities[entry.tracklet.id] = _similarity(entry.embedding, normalize(reference[group].sum(axis=0)))
    return similarities


def _reference(bundle: Bundle) -> tuple[list[Path], NDArray[np.float32]]:
    """Give some of the reference crops, evenly spread, and their embeddings [n, D]."""
    try:
        crops, embeddings = bundle.reference()
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"{bundle.root}: its reference embeddings cannot be read ({error}); export it again") from None
    if not crops or embeddings.ndim != 2 or len(embeddings) != len(crops):
        raise ModelError(f"{bundle.root}: its reference crops and their embeddings do not match; export it again")
    count = min(_CROPS, len(crops))
    chosen = [position * len(crops) // count for position in range(count)]
    return [crops[index] for index in chosen], embeddings[chosen]


def _embedded(session: Session, bundle: Bundle, tracklets: Sequence[Tracklet], batch_size: int) -> list[Embedded]:
    try:
        entries = list(embed(session, tracklets, batch_size=batch_size, keep_frames=True))
    except ReidError:
        raise
    except Exception as error:  # a backend's exceptions share no base class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{bundle.root}: {session.device} cannot embed its reference crops ({reason}); export it again"
        ) from error
    unreadable = [failure.reason for entry in entries for failure in entry.unreadable]
    if unreadable:
        raise ModelError(f"{unreadable[0]}, though it is the file that was exported; reinstall opencv-python-headless")
    return entries


def _similarity(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Cosine similarity of two embeddings [D], from their distance: one that is not of length 1 is unlike, too."""
    if actual.shape != expected.shape:
        return -1.0
    similarity = 1 - float(np.linalg.norm(actual.astype(np.float64) - expected)) ** 2 / 2
    return -1.0 if math.isnan(similarity) else similarity


def _default_memory() -> Path | None:
    cache = Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache"))
    # Not absolute: there is no home folder, or the variable is to be ignored (XDG Base Directory Specification).
    return cache / "reid" / "self-checks" if cache.is_absolute() else None


def _holds(entry: Path, facts: bytes) -> bool:
    try:
        return entry.read_bytes() == facts
    except OSError:
        return False


def _remember(entry: Path, facts: bytes) -> None:
    with contextlib.suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(entry, facts)
