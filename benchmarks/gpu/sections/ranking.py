"""The best 10 of a million embeddings of 1,536 dimensions, in FP16 and FP32: our kernel beside PyTorch.

On a CPU, `top_k` in small.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from measuring import median_ms
from proving import Proof, prove
from torch import Tensor

from reid.runtime.galleries.ranking import top_k

_ENTRIES, _DIMENSIONS, _BEST = 1_000_000, 1536, 10
_PART = 100_000
_PAIRS = (("FP16", torch.float16), ("FP32", torch.float32))


def ranking(proof: Proof) -> None:
    """Compare results, then times."""
    if proof.small:
        _on_cpu(proof)
    proof.needs_gpu()
    gallery = torch.empty(_ENTRIES, _DIMENSIONS, device="cuda")
    for start in range(0, _ENTRIES, _PART):
        gallery[start : start + _PART] = _unit(torch.randn(_PART, _DIMENSIONS, device="cuda"))
    for name, dtype in _PAIRS:
        held = gallery.to(dtype)
        for count in (1, 32, 256):
            queries = _unit(gallery[:count] + 0.02 * torch.randn(count, _DIMENSIONS, device="cuda"))
            task = f"{count} queries, {name}"
            proof.attempt(task, _compare, proof, queries, held, task)


def _compare(proof: Proof, queries: Tensor, gallery: Tensor, task: str) -> None:
    from device_tensors import as_device_array, stream_ms
    from kernel_checks import Bench

    from reid.runtime.kernels.top_k import TopK

    def peer() -> tuple[Tensor, Tensor]:
        scores, entries = torch.topk(queries.to(gallery.dtype) @ gallery.T, _BEST, dim=1)
        return scores, entries

    expected, _ = peer()
    proof.note(f"{task}: PyTorch ms", median_ms(peer, 5, 1))
    proof.needs_kernels()
    bench = Bench.open()
    search = TopK(bench.kernels, len(queries), _BEST)
    asked, held = as_device_array(bench.cuda, queries), as_device_array(bench.cuda, gallery)
    torch.cuda.synchronize()
    found = bench.get(search.find(asked, held, bench.stream).scores)
    worst = float((torch.from_numpy(found) - expected.float().cpu()).abs().max())
    most = 2e-3 if gallery.dtype == torch.float16 else 1e-5
    proof.check(f"{task}: the best scores are PyTorch's within {most}", worst < most, worst)
    milliseconds = stream_ms(bench.cuda, bench.stream, lambda: search.find(asked, held, bench.stream), 5)
    proof.note(f"{task}: our kernel ms", milliseconds)
    proof.note(f"{task}: our kernel GB/s of the gallery", round(gallery.nbytes / milliseconds / 1e6, 1))
    proof.note(f"{task}: our kernel TFLOP/s", round(2 * len(queries) * gallery.numel() / milliseconds / 1e9, 2))


def _on_cpu(proof: Proof) -> None:
    gallery, queries = (_unit(torch.randn(count, 64)) for count in (20_000, 32))
    task: Callable[[], object] = lambda: top_k(queries.numpy(), gallery.numpy(), _BEST)  # noqa: E731
    expected = torch.topk(queries @ gallery.T, _BEST, dim=1).values
    worst = float((torch.from_numpy(top_k(queries.numpy(), gallery.numpy(), _BEST)[1]) - expected).abs().max())
    proof.check("the CPU's best scores are PyTorch's", worst < 1e-5, worst)
    proof.note("32 queries of 20,000 x 64 on the CPU: ms", median_ms(task, 3, 1))


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=1)


if __name__ == "__main__":
    prove(ranking)
