"""Whether a subject embeds as it should: a speed is worth nothing without its answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from reid.bench.material import Material
from reid.bench.models import map_of
from reid.bench.process import FIRST_S, HostProcess
from reid.bench.result import Quality
from reid.bench.running import Running
from reid.runtime.files.arrays import parse_array
from reid.runtime.files.reading import MEBIBYTE, read_file
from reid.runtime.galleries.ranking import cosine_distance

__all__ = ["check_answers"]

_DURING = "the check of its answers"
_AT_MOST = 256 * MEBIBYTE


def check_answers(running: Running, material: Material, batches: Sequence[int]) -> Quality:
    """Compare a subject's embeddings with PyTorch's, and return what they are worth; its failure where it has none.

    Every crop is embedded in batches of each size, since libraries choose other kernels for another size; by what runs
    apart, whose batches take seconds, in the largest ones alone.

    Args:
        running: the subject; one of our sessions also takes the self-check that it takes whenever it is opened.
        material: what it was opened with; its embeddings are put beside it.
        batches: the batch sizes that are measured, ascending.
    """
    if running.candidate.kind == "session":
        running.attempt(_DURING, lambda host: host.ask("check", FIRST_S))
    sizes = [frames for frames in batches if frames <= running.opened.most_frames] or [running.opened.most_frames]
    if running.candidate.apart:
        sizes = sizes[-1:]
    found = running.attempt(_DURING, lambda host: min(_similarities(host, material, sizes), default=None))
    known = map_of(running.candidate.model, running.precision)
    return known.model_copy(update={"least_similarity": found})


def _similarities(host: HostProcess, material: Material, sizes: Sequence[int]) -> Iterator[float]:
    """Yield the least similarity of each batch size; none where the right embeddings are not known."""
    if material.frames.expected is None:
        return
    file = material.pixels.parent / "embeddings.npy"
    for frames in sizes:
        host.embed(file, frames)
        yield _least_similarity(parse_array(read_file(file, at_most=_AT_MOST)), material.frames.expected)


def _least_similarity(found: NDArray[np.generic], expected: NDArray[np.float32]) -> float:
    """Return the least cosine similarity; the embeddings begin anew with the first crop after the last."""
    again = expected[np.arange(len(found)) % len(expected)]
    if len(found) < len(expected) or found.shape != again.shape:
        return -1.0
    similarity = 1 - cosine_distance(found.astype(np.float32), again)
    return float(np.nan_to_num(similarity, nan=-1.0).min())
