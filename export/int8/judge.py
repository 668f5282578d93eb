"""Which session judges the mixes of a search: the gate's own, or a faster one where it answers as well.

On a CPU, ONNX Runtime computes Q/DQ pairs one by one, and OpenVINO runs such a graph 8 to 10 times faster. But on a CPU
whose INT8 instructions saturate, OpenVINO's answers can be worse than the graph's. So it is asked first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np

from reid.evaluation.verification.reference import Crops
from reid.export.verification.graphs import load_usual
from reid.runtime.errors import ReidError, SessionError
from reid.runtime.galleries.ranking import cosine_distance
from reid.runtime.sessions.graph import GraphSession
from reid.runtime.sessions.onnxruntime import best_device
from reid.runtime.sessions.openvino import import_openvino, load_openvino
from reid.runtime.sessions.session import Session, run

__all__ = ["Load", "choose_judge"]

logger = logging.getLogger(__name__)

_BATCH_SIZE = 8
_AS_GOOD = 1.25
"""Ratio of two mean errors up to which a session is as good as the other: roundings fall differently in both."""
_NEGLIGIBLE = 1e-4
"""Mean error, in cosine similarity, that is nothing beside INT8's."""


Load: TypeAlias = Callable[[Path], GraphSession]
"""Opens a graph."""


def choose_judge(graph: Path, crops: Crops) -> Load:
    """Return what opens graphs to judge: OpenVINO on a CPU if it embeds the reference crops as well as ONNX Runtime.

    Args:
        graph: the graph with every layer in INT8.
        crops: the reference crops, with PyTorch's embeddings.
    """
    if best_device() != "cpu":
        return load_usual
    try:
        import_openvino()
    except SessionError:
        return load_usual
    try:
        with load_openvino(graph) as session:
            error = _error(session, crops)
    except ReidError as refused:
        logger.warning("ONNX Runtime judges INT8, since OpenVINO does not run it: %s", refused)
        return load_usual
    with load_usual(graph) as session:
        expected = _error(session, crops)
    if not error <= _AS_GOOD * expected + _NEGLIGIBLE:
        logger.warning(
            "ONNX Runtime judges INT8, since OpenVINO embeds the reference crops less exactly on this CPU: the mean of "
            f"1 - cosine similarity to PyTorch is {error:.1e}, and {expected:.1e} in ONNX Runtime"
        )
        return load_usual
    return load_openvino


def _error(session: Session, crops: Crops) -> float:
    frames = crops.frames
    parts = [frames[start : start + _BATCH_SIZE] for start in range(0, len(frames), _BATCH_SIZE)]
    found = [run(session, part, np.eye(len(part), dtype=np.float32)).frame_embedding for part in parts]
    return float(np.mean(cosine_distance(np.concatenate(found), crops.embeddings)))
