"""Rank a stored data set in every way there is, and print a digest of the bits of each result.

Run as a script, in an environment that chooses kernels and threads: `python ranked_everywhere.py DATA.npz`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from reid.data.dataset import Split
from reid.evaluation.protocols import PROTOCOLS, EmbeddedData, evaluate_protocol
from reid.evaluation.verification.retrieval import rank
from reid.evaluation.worst_queries import worst_queries
from reid.runtime.embedding import Embedded
from reid.runtime.galleries.entry import entry_of
from reid.runtime.galleries.expansion import expanded_queries
from reid.runtime.galleries.memory import MemoryGallery
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.galleries.queries import rank as rank_gallery
from reid.runtime.galleries.ranking import top_k
from reid.runtime.galleries.reranking import reranked_rows
from reid.runtime.space import Space
from reid.runtime.tracklet import Tracklet


def digest(parts: Iterable[object]) -> str:
    """Hash arrays by their bytes, and everything else by its repr, which shows all bits of a float."""
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(part.tobytes() if isinstance(part, np.ndarray) else repr(part).encode())
    return hashed.hexdigest()


def embedded_data(stored: dict[str, np.ndarray]) -> EmbeddedData:
    """Make a data set in which entry i of a side is both an image and a tracklet with an embedding of its own."""
    embeddings: dict[tuple[Path, ...], np.ndarray] = {}
    splits = []
    for side in ("query", "gallery"):
        images, tracklets = [], []
        for number, vector in enumerate(stored[side]):
            labels = (str(stored[f"{side}_cameras"][number]), str(stored[f"{side}_vehicles"][number]))
            name = Path(f"{side}{number}")
            images.append(Tracklet(str(name), (name,), *labels))
            tracklets.append(Tracklet(str(name), (name, name), *labels))
            embeddings[name,] = vector
            embeddings[name, name] = stored[side][number - 1]
        splits.append(Split(tuple(images), tuple(tracklets)))
    return EmbeddedData(splits[0], splits[1], embeddings, ())


def digests(stored: dict[str, np.ndarray]) -> dict[str, str]:
    """Return the digest of every result."""
    query, gallery = stored["query"], stored["gallery"]
    data = embedded_data(stored)
    results = {"product": digest([query @ gallery.T])}
    for k in (1, 10, 1000):
        results[f"top {k}"] = digest(top_k(query, gallery, k))
    members = MemoryGallery(
        tuple(map(entry_of, data.gallery.images)), gallery, Space("f" * 64, "fp32", gallery.shape[1])
    )
    asked = [Embedded(image, vector, {}, ()) for image, vector in zip(data.query.images, query, strict=True)]
    for block in (1, 7, 256):
        found = rank_gallery(members, asked, 5, block=block)
        results[f"gallery {block}"] = digest((match.entry.id, match.score) for one in found for match in one.matches)
    for name, protocol in PROTOCOLS.items():
        for step in (PLAIN, PostProcessing(5), PostProcessing(rerank=True), PostProcessing(5, True)):
            metrics = evaluate_protocol(data, protocol, step)
            results[f"{name} {step.name}"] = digest([metrics.average_precision, metrics.first_hit, metrics.summary()])
    ranked = rank(data, PROTOCOLS["i2i"])
    results["first matches"] = digest([ranked.matches])
    worst = worst_queries(data, ranked.metrics, count=5, matches=5)
    results["worst"] = digest((one.first_right_rank, one.first_right.score) for one in worst)
    results["expanded"] = digest(expanded_queries(query, gallery, k) for k in (1, 20, 1000))
    results["re-ranked"] = digest(block.values for block in reranked_rows(query, gallery))
    return results


if __name__ == "__main__":
    with np.load(sys.argv[1]) as file:
        print(json.dumps(digests(dict(file))))
