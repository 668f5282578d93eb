"""A gallery on disk that the GPU searches: the CPU's rankings bit for bit, and the time beside PyTorch's, and faiss's.

Whole searches are timed, from queries to entries on the host: with the gallery on the GPU, and uploaded each time.
PyTorch's matrix product and top-k, and faiss where its GPU index is installed, end with row numbers on the host.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from measuring import median_ms
from numpy.typing import NDArray
from proving import Proof, prove
from torch import Tensor

if TYPE_CHECKING:
    from reid.runtime.galleries.store.store import Store

_ENTRIES, _DIMENSIONS, _BEST = 200_000, 1536, 10
_PART = 50_000


def stored_gallery(proof: Proof) -> None:
    """Write a gallery, compare results, then times."""
    proof.needs_kernels()
    from reid.runtime.galleries.store.store import Store
    from reid.runtime.space import Space

    gallery = torch.empty(_ENTRIES, _DIMENSIONS, device="cuda", dtype=torch.float16)
    with tempfile.TemporaryDirectory(dir=proof.work) as folder:
        path = Path(folder) / "gallery"
        with Store.create(path, Space("f" * 64, "fp16", _DIMENSIONS), storage="fp16") as store:
            _fill(store, gallery)
            _compare(proof, store, gallery)


def _fill(store: Store, gallery: Tensor) -> None:
    from reid.runtime.galleries.entry import Entry

    for start in range(0, _ENTRIES, _PART):
        part = torch.nn.functional.normalize(torch.randn(_PART, _DIMENSIONS, device="cuda"), dim=1)
        part[7] = part[3]
        gallery[start : start + _PART] = part
        entries = [Entry(str(row), f"c{row % 20}", None, float(row)) for row in range(start, start + _PART)]
        store.add(entries, part.cpu().numpy())


def _compare(proof: Proof, store: Store, gallery: Tensor) -> None:
    from reid.runtime.cuda import open_cuda
    from reid.runtime.galleries.conditions import Condition
    from reid.runtime.galleries.store.on_device import StoreOnDevice
    from reid.runtime.kernels.library import Kernels

    kernels = Kernels(open_cuda())
    held, streamed = StoreOnDevice(store, kernels), StoreOnDevice(store, kernels, room=0)
    peer = _faiss(gallery)
    elsewhere = Condition(not_cameras=frozenset({"c3"}), time_s=(1000.0, 150_000.0))
    for count in (1, 32, 256):
        queries = torch.nn.functional.normalize(
            gallery[:count].float() + 0.02 * torch.randn(count, _DIMENSIONS, device="cuda"), dim=1
        )
        asked, task = queries.cpu().numpy(), f"{count} queries"
        expected = store.search(asked, _BEST)
        proof.check(f"{task}: the CPU's rankings", held.search(asked, _BEST) == expected)
        ours: dict[str, Callable[[], Any]] = {
            "on the GPU": lambda asked=asked: held.search(asked, _BEST),
            "on the GPU, under conditions": lambda asked=asked: held.search(asked, _BEST, [elsewhere] * len(asked)),
            "uploaded each time": lambda asked=asked: streamed.search(asked, _BEST),
            "PyTorch": lambda asked=asked: _torch(gallery, asked),
        }
        if count == 32:
            limited = ours["on the GPU, under conditions"]()
            proof.check("under conditions, too", limited == store.search(asked, _BEST, [elsewhere] * count))
            proof.check("uploaded each time, too", ours["uploaded each time"]() == expected)
        if peer is not None:
            ours["faiss"] = lambda asked=asked: peer.search(asked, _BEST)
        for name, search in ours.items():
            proof.attempt(f"{task}, {name}: ms", median_ms, search, 5, 1)
        proof.attempt(f"{task}, on the CPU: ms", median_ms, lambda asked=asked: store.search(asked, _BEST), 1, 0)


def _torch(gallery: Tensor, asked: NDArray[np.float32]) -> NDArray[np.int64]:
    queries = torch.from_numpy(asked).to(gallery)
    return torch.topk(queries @ gallery.T, _BEST, dim=1).indices.cpu().numpy()


def _faiss(gallery: Tensor) -> Any:  # noqa: ANN401 - a module without types
    """Return faiss's flat index on the GPU; None where it is not installed."""
    try:
        faiss = import_module("faiss")
        index = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), _DIMENSIONS)
    except (ImportError, AttributeError):
        return None
    for part in gallery.split(_PART):
        index.add(part.float().cpu().numpy())
    return index


if __name__ == "__main__":
    prove(stored_gallery)
