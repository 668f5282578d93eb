"""Check once per model and device that a session embeds the bundle's reference crops as PyTorch did.

The check takes the path of every later crop, from the file through decoder, resize, graph and pooling, so that whatever
is wrong on this device is found before the first answer.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from reid.runtime.bundle import Bundle
from reid.runtime.embedding import Embedded, embed
from reid.runtime.errors import ModelError, ReidError
from reid.runtime.files.user_cache import cache_folder, recall, remember
from reid.runtime.galleries.ranking import cosine_distance
from reid.runtime.normalization import normalize
from reid.runtime.precision import Precision
from reid.runtime.sessions.opened import Reference
from reid.runtime.sessions.session import BatchLimits, Session
from reid.runtime.tracklet import Tracklet

__all__ = ["SIMILARITY", "check_session"]

SIMILARITY: dict[Precision, float] = {"fp32": 0.9995, "fp16": 0.999, "int8": 0.9}
"""The smallest cosine similarity to PyTorch's embedding that is accepted, by precision.

Measured on three models, as 1 - similarity: the graph itself costs 5e-7 (FP32) to 1e-6 (FP16); decoders and resizes
that differ by 1 of 255 in most pixels, which is allowed, cost up to 4e-4; a mean that is off by 0.02, 1e-3 to 7e-3.
"""

_CROPS = 8
_TRACKLET = 3
"""The number of crops that form one tracklet; the others stand alone."""
_LIMITS = BatchLimits(frames=6, tracklets=6)
"""Lets that tracklet straddle two batches, the last of which is not full."""


def check_session(session: Session, reference: Reference, *, memory: Path | None = None) -> None:
    """Compare a session's embeddings of a few reference crops with PyTorch's, unless that was done here before.

    Args:
        session: the session; it stays the caller's to close, even where the check fails.
        reference: the bundle and the graph or engine that the session runs.
        memory: the folder that remembers passed checks; None for `reid/self-checks` in the user's cache. One that
            cannot be read or written, or that others can write to, only means that the check is repeated.

    Raises:
        ModelError: an embedding is too far from PyTorch's, or the session cannot embed the crops at all.
    """
    facts = _facts(session, reference)
    folder = (memory or cache_folder("self-checks")) if reference.lasting else None
    entry = folder / f"{hashlib.sha256(facts).hexdigest()}.json" if folder else None
    if entry and recall(entry, at_most=len(facts)) == facts:
        return
    bundle, info = reference.bundle, session.info
    similarities = _similarities(session, bundle)
    worst = min(similarities, key=lambda name: np.nan_to_num(similarities[name], nan=-1))
    least = _least(reference, info.precision)
    if not similarities[worst] >= least:  # also if it is NaN
        raise ModelError(
            f"{bundle.root}: {info} embeds {worst} unlike PyTorch (cosine similarity {similarities[worst]:.5f}, at "
            f"least {least} is expected of {info.precision}); {reference.remedy}"
        )
    if entry:
        remember(entry, facts)


def _least(reference: Reference, precision: Precision) -> float:
    """Return the limit in the bundle's card, with which the graph passed verification, or else that in SIMILARITY."""
    return reference.bundle.card.similarity.get(precision, SIMILARITY[precision])


def _facts(session: Session, reference: Reference) -> bytes:
    """Return everything that the check's result depends on."""
    card = session.info.card
    files = reference.bundle.card.files
    facts = {
        "artifact": reference.artifact_sha256,
        "reference": {name: digest for name, digest in files.items() if name.startswith("reference/")},
        "preprocessing": card.preprocessing.model_dump(mode="json"),
        "similarity": _least(reference, session.info.precision),
        "session": str(session.info),
        "limits": asdict(session.limits),
        "host": platform.node(),
        "versions": {"reid": version("reid"), "opencv": cv2.__version__},
    }
    return json.dumps(facts, indent=2, sort_keys=True).encode()


def _similarities(session: Session, bundle: Bundle) -> dict[str, float]:
    """Return the cosine similarity of the session's embedding to PyTorch's, by the name of the crop or tracklet."""
    crops, embeddings = _reference(bundle)
    names = [crop.relative_to(bundle.root).as_posix() for crop in crops]
    alone = max(0, len(crops) - _TRACKLET)
    groups = [*([index] for index in range(alone)), [*range(alone, len(crops))]]
    tracklets = [Tracklet(f"the tracklet {names[group[0]]}", tuple(crops[i] for i in group)) for group in groups]
    similarities = {}
    for group, entry in zip(groups, _embedded(session, bundle, tracklets), strict=True):
        for frame, index in enumerate(group):
            similarities[names[index]] = _similarity(entry.frames[frame], embeddings[index])
        if entry.embedding is not None:
            similarities[entry.tracklet.id] = _similarity(entry.embedding, normalize(embeddings[group].sum(axis=0)))
    return similarities


def _reference(bundle: Bundle) -> tuple[list[Path], NDArray[np.float32]]:
    """Return some of the reference crops, evenly spread, and their embeddings [n, D]."""
    crops, embeddings = bundle.reference()
    count = min(_CROPS, len(crops))
    chosen = [position * len(crops) // count for position in range(count)]
    return [crops[index] for index in chosen], embeddings[chosen]


def _embedded(session: Session, bundle: Bundle, tracklets: Sequence[Tracklet]) -> list[Embedded]:
    try:
        entries = list(embed(session, tracklets, limits=_LIMITS, keep_frames=True))
    except ReidError:
        raise
    except Exception as error:  # a backend's exceptions share no base class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"{bundle.root}: {session.info} cannot embed its reference crops ({reason}); export it again"
        ) from error
    unreadable = [failure.reason for entry in entries for failure in entry.unreadable]
    if unreadable:
        raise ModelError(f"{unreadable[0]}, though it is the file that was exported; reinstall opencv-python-headless")
    return entries


def _similarity(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the cosine similarity of two embeddings [D], from their distance, so that a wrong length counts, too."""
    if actual.shape != expected.shape:
        return -1.0
    return 1 - float(cosine_distance(actual[None], expected[None])[0])
