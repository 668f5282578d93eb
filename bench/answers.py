"""Whether a subject embeds as it should: a speed is worth nothing without its answers."""

from __future__ import annotations

import numpy as np

from reid.bench.material import Material
from reid.bench.models import map_of
from reid.bench.process import HostProcess
from reid.bench.result import Quality
from reid.bench.running import Running
from reid.runtime.files.arrays import parse_array
from reid.runtime.files.reading import MEBIBYTE, read_file
from reid.runtime.galleries.ranking import cosine_distance

__all__ = ["check_answers"]

_DURING = "the check of its answers"
_CHECK_S = 300.0
_AT_MOST = 256 * MEBIBYTE


def check_answers(running: Running, material: Material) -> Quality:
    """Compare a subject's embeddings with PyTorch's, and return what they are worth; its failure where it has none.

    Args:
        running: the subject; one of our sessions also takes the self-check that it takes whenever it is opened.
        material: what it was opened with; its embeddings are put beside it.
    """
    if running.candidate.kind == "session":
        running.attempt(_DURING, lambda host: host.ask("check", _CHECK_S))
    found = running.attempt(_DURING, lambda host: _least_similarity(host, material))
    known = map_of(running.candidate.model, running.candidate.precision)
    return known.model_copy(update={"least_similarity": found})


def _least_similarity(host: HostProcess, material: Material) -> float | None:
    expected = material.frames.expected
    if expected is None:
        return None
    file = material.pixels.parent / "embeddings.npy"
    host.embed(file)
    found = parse_array(read_file(file, at_most=_AT_MOST))
    if found.shape != expected.shape:
        return -1.0
    similarity = 1 - cosine_distance(found.astype(np.float32), expected)
    return float(np.nan_to_num(similarity, nan=-1.0).min())
