"""PyTorch's results on a data set, kept in a bundle, so that a device without PyTorch can be compared with them.

The file holds the embedding of every frame in FP16, and what the embeddings in FP32 found: each query's average
precision, rank of the first right answer, and first matches. It holds no names: it is for the data whose fingerprint it
holds, and lists everything in that data's order.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid.data.dataset import Dataset
from reid.data.evaluation_fingerprint import distinct_frames, evaluation_fingerprint
from reid.evaluation.metrics import Metrics
from reid.evaluation.operating_points.pair_scores import pair_scores
from reid.evaluation.protocols import PROTOCOLS, EmbeddedData
from reid.evaluation.same_camera import own_view_of
from reid.evaluation.verification.reference import Retrieval
from reid.evaluation.verification.retrieval import SHOWN_MATCHES, Ranked, rank
from reid.runtime.bundle import REFERENCE_RETRIEVAL, Bundle
from reid.runtime.errors import ModelError
from reid.runtime.files.arrays import Archive, open_arrays
from reid.runtime.files.reading import MEBIBYTE, check_regular
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.galleries.ranking import wrong_lengths
from reid.runtime.normalization import normalize
from reid.runtime.progress import SILENT, Progress
from reid.runtime.tracklet import Frame

__all__ = ["LARGEST_EMBEDDINGS", "read_retrieval", "write_retrieval"]

LARGEST_EMBEDDINGS = 256 * MEBIBYTE
"""The most that embeddings may take: those of 87,000 frames by three levels of 512. Every opening hashes them."""

_LARGEST_FILE = LARGEST_EMBEDDINGS + 256 * MEBIBYTE
_FORMAT_VERSION = 1
_LONGEST_TEXT = 1024

logger = logging.getLogger(__name__)


def write_retrieval(path: Path, retrieval: Retrieval, dataset: Dataset, progress: Progress = SILENT) -> bool:
    """Write PyTorch's results on a data set; return whether they are small enough to be kept.

    Args:
        path: the .npz file.
        retrieval: the results.
        dataset: the data set that they are of.
        progress: follows the pictures, which are read for the data's fingerprint.
    """
    data = retrieval.data
    frames = distinct_frames(retrieval.query, retrieval.gallery)
    readable = [frame for frame in frames if (frame,) in data.embeddings]
    size = 2 * len(readable) * (len(data.embeddings[readable[0],]) if readable else 0)
    if size > LARGEST_EMBEDDINGS:
        logger.warning(
            "PyTorch's results on this data are not kept in the bundle: embeddings of %d MiB, and the most is %d; "
            "`reid-verify` will compare with the FP32 graph",
            *(size // MEBIBYTE, LARGEST_EMBEDDINGS // MEBIBYTE),
        )
        return False
    fields: dict[str, Any] = {
        "format_version": np.array(_FORMAT_VERSION),
        "data": np.array(evaluation_fingerprint(dataset, progress)),
        "session": np.array(retrieval.session),
        "view": np.array(data.own_view),
        "unreadable": np.array([frames[Path(name)] for name in data.unreadable], np.int64),
        "embeddings": np.stack([data.embeddings[frame,].astype(np.float16) for frame in readable]),
        "rankings": np.array([ranked.protocol for ranked in retrieval.ranked]),
    }
    for place, ranked in enumerate(retrieval.ranked):
        fields |= {f"{place}.{name}": value for name, value in _arrays_of(ranked).items()}
    np.savez(path, **fields)
    return True


def read_retrieval(
    bundle: Bundle, dataset: Dataset, post_processing: PostProcessing = PLAIN, progress: Progress = SILENT
) -> Retrieval | None:
    """Return PyTorch's results on a data set; None where the bundle has none, or those on other data.

    Metrics are exactly those that PyTorch's embeddings gave; the embeddings are rounded to FP16, and so is what they
    find where the export did not rank with this post-processing.

    Args:
        bundle: the bundle, with its hashes checked.
        dataset: the data set.
        post_processing: what else is done before a ranking, besides nothing.
        progress: follows the pictures, which are read for the data's fingerprint.

    Raises:
        ModelError: the file does not hold what it should.
    """
    if REFERENCE_RETRIEVAL not in bundle.card.files:
        return None
    path = bundle.root / REFERENCE_RETRIEVAL
    view = own_view_of(dataset)
    try:
        check_regular(path, at_most=_LARGEST_FILE)
        with open_arrays(path) as arrays:
            version = int(_one(arrays, "format_version", "i"))
            if version > _FORMAT_VERSION:
                raise ValueError(f"format version {version} is newer than {_FORMAT_VERSION}: update reid")
            kept = _text(arrays, "data"), _text(arrays, "view")
            if kept != (evaluation_fingerprint(dataset, progress), view):
                return None
            embedded = _embedded(arrays, dataset, bundle.card.dimensions).restricted(
                dataset.query, dataset.gallery, view
            )
            ranked = [
                _ranked({name: arrays.read(f"{place}.{name}") for name in _ARRAYS}, protocol, embedded)
                for place, protocol in enumerate(_protocols(arrays))
            ]
            session = f"{_text(arrays, 'session')}, as the bundle keeps it"
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}; export the bundle again") from None
    except ValueError as error:
        raise ModelError(f"{path} does not hold PyTorch's results ({error}); export the bundle again") from None
    return Retrieval(dataset.query, dataset.gallery, embedded, _asked_for(ranked, embedded, post_processing), session)


# Embeddings


def _embedded(arrays: Archive, dataset: Dataset, dimensions: int) -> EmbeddedData:
    """Return the embeddings of the data's frames and tracklets, by FP16."""
    frames = tuple(distinct_frames(dataset.query, dataset.gallery))
    unreadable = _places(arrays.read("unreadable"), len(frames), "unreadable frames")
    stored = arrays.read("embeddings")
    if stored.dtype != np.float16 or stored.shape != (len(frames) - len(unreadable), dimensions):
        raise ValueError(f"embeddings {stored.dtype} {list(stored.shape)} of {len(frames)} frames")
    rows = stored.astype(np.float32)
    if wrong := wrong_lengths(rows):
        raise ValueError(wrong)
    lost = set(unreadable.tolist())
    readable = (frame for place, frame in enumerate(frames) if place not in lost)
    of_frames: dict[Frame, NDArray[np.float32]] = dict(zip(readable, normalize(rows), strict=True))
    embeddings: dict[tuple[Frame, ...], NDArray[np.float32]] = {
        (frame,): embedding for frame, embedding in of_frames.items()
    }
    for split in (dataset.query, dataset.gallery):
        for entry in (*split.images, *split.tracklets):
            parts = [of_frames[frame] for frame in entry.frames if frame in of_frames]
            if parts and entry.frames not in embeddings:
                embeddings[entry.frames] = normalize(np.sum(parts, axis=0, dtype=np.float32))
    names = tuple(str(frames[place]) for place in unreadable.tolist())
    return EmbeddedData(dataset.query, dataset.gallery, embeddings, names)


# Rankings


def _arrays_of(ranked: Ranked) -> dict[str, NDArray[Any]]:
    metrics, processing = ranked.metrics, ranked.post_processing
    return {
        "post_processing": np.array([processing.expand_queries, processing.rerank], np.int64),
        "average_precision": metrics.average_precision,
        "first_hit": metrics.first_hit,
        "counted": metrics.counted,
        "unanswerable": metrics.unanswerable,
        "matches": ranked.matches,
    }


_ARRAYS = ("post_processing", "average_precision", "first_hit", "counted", "unanswerable", "matches")


def _protocols(arrays: Archive) -> list[str]:
    names = arrays.read("rankings")
    if names.dtype.kind != "U" or names.ndim != 1 or not names.size or not set(names.tolist()) <= set(PROTOCOLS):
        raise ValueError(f"rankings {names.dtype} {list(names.shape)}")
    found: list[str] = names.tolist()
    return found


def _asked_for(ranked: Sequence[Ranked], data: EmbeddedData, post_processing: PostProcessing) -> tuple[Ranked, ...]:
    """Return the rankings without and with a post-processing; what is not there is ranked anew."""
    found = {(one.protocol, one.post_processing): one for one in ranked}
    protocols = dict.fromkeys(one.protocol for one in ranked)
    asked = [(protocol, step) for step in dict.fromkeys((PLAIN, post_processing)) for protocol in protocols]
    return tuple(found.get(one) or rank(data, PROTOCOLS[one[0]], one[1]) for one in asked)


def _ranked(fields: Mapping[str, NDArray[Any]], protocol: str, data: EmbeddedData) -> Ranked:
    """Return the rankings of one protocol, if all that they say can be so."""
    kinds = PROTOCOLS[protocol]
    asked, gallery = getattr(data.query, kinds.query), getattr(data.gallery, kinds.gallery)
    counted = _places(fields["counted"], len(asked), "counted queries")
    unanswerable = _places(fields["unanswerable"], len(asked), "queries without an answer")
    count = len(counted)
    _check(len(np.union1d(counted, unanswerable)) == count + len(unanswerable) == len(asked), f"{protocol}'s queries")
    precision = _array(fields["average_precision"], np.float64, (count,), "average precision")
    _check(count > 0 and bool(((precision > 0) & (precision <= 1)).all()), f"{protocol}'s average precision")
    hits = _array(fields["first_hit"], np.int64, (count,), "first right answers")
    _check(bool(((hits >= 0) & (hits < len(gallery))).all()), f"{protocol}'s first right answers")
    matches = _array(fields["matches"], np.int64, (count, SHOWN_MATCHES), "first matches")
    _check(bool(((matches >= -1) & (matches < len(gallery))).all()), f"{protocol}'s first matches")
    expand, rerank = _array(fields["post_processing"], np.int64, (2,), "post-processing").tolist()
    _check(rerank in (0, 1), f"{protocol}'s post-processing")
    return Ranked(
        protocol=protocol,
        post_processing=PostProcessing(expand, bool(rerank)),
        queries=tuple(asked[place] for place in counted.tolist()),
        gallery=gallery,
        metrics=Metrics(precision, hits, counted, unanswerable, len(gallery)),
        matches=matches,
        pairs=pair_scores(data, kinds) if (expand, rerank) == (0, 0) else None,
    )


# Checks


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"{what} cannot be so")


def _array(value: NDArray[Any], dtype: type, shape: tuple[int, ...], what: str) -> NDArray[Any]:
    if value.dtype != dtype or value.shape != shape:
        raise ValueError(f"{what} {value.dtype} {list(value.shape)}")
    return value


def _places(value: NDArray[Any], count: int, what: str) -> NDArray[np.int64]:
    """Return different positions below `count`, int64 [n], if they are that."""
    places = _array(value, np.int64, (value.size,), what)
    _check(bool(((places >= 0) & (places < count)).all()) and len(np.unique(places)) == len(places), what)
    return places


def _one(arrays: Archive, name: str, kind: str) -> Any:  # noqa: ANN401 - a number or a text
    value = arrays.read(name)
    if value.shape != () or value.dtype.kind != kind:
        raise ValueError(f"{name} {value.dtype} {list(value.shape)}")
    return value.item()


def _text(arrays: Archive, name: str) -> str:
    text = str(_one(arrays, name, "U"))
    _check(len(text) <= _LONGEST_TEXT and text.isprintable(), name)
    return text
