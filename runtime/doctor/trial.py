"""The tiny model that sessions are tried with: a bundle whose answers are known, or what a session makes of it.

It lies beside this file, in `tiny`, and is made by `tests/helpers/tiny_bundle.py`. A session that opens no graph has a
function in the group "reid.trial_models", which takes a copy of that bundle and returns what the session opens: a
checkpoint for PyTorch, the bundle with an engine for TensorRT.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeAlias

import numpy as np

from reid.runtime.bundle import Bundle
from reid.runtime.embedding import embed
from reid.runtime.errors import ModelError
from reid.runtime.precision import PRECISIONS
from reid.runtime.self_check import check_session
from reid.runtime.sessions.opened import Opened
from reid.runtime.sessions.session import BACKEND_TITLES
from reid.runtime.tracklet import Tracklet

__all__ = ["TINY", "check_opened", "make_trial"]

TINY = Path(__file__).resolve().with_name("tiny")

TrialModel: TypeAlias = Callable[[Path], Path]
"""(a copy of the tiny bundle) -> the model that the session opens in FP32"""

_LENGTH_TOLERANCE = 0.01


def make_trial(backend: str, folder: Path) -> tuple[Path, Sequence[str]]:
    """Return a model for a session's backend, made in a folder, and its precisions."""
    bundle = Path(shutil.copytree(TINY, folder / "tiny"))
    for point in entry_points(group="reid.trial_models", name=backend):
        make: TrialModel = point.load()
        return make(bundle), ("fp32",)
    return bundle, PRECISIONS if backend in BACKEND_TITLES else ("fp32",)


def check_opened(opened: Opened, memory: Path) -> None:
    """Check a session against its bundle's reference crops; one without them has to embed those of the tiny bundle.

    Args:
        opened: the session.
        memory: an empty folder, so that no check is taken as done before.

    Raises:
        ModelError: it embeds them wrongly, or returns no embeddings of length 1.
    """
    if opened.reference is not None:
        check_session(opened.session, opened.reference, memory=memory)
        return
    crops = Bundle.open(TINY).reference()[0]
    (entry,) = embed(opened.session, [Tracklet("the reference crops", tuple(crops))], keep_frames=True)
    lengths = np.linalg.norm(list(entry.frames.values()), axis=1)
    if not (np.abs(lengths - 1) < _LENGTH_TOLERANCE).all():  # also if one is NaN
        raise ModelError(f"{opened.session.info} gives embeddings of length {lengths.max():.3g}, not of length 1")
