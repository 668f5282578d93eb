"""The kernels beside what the GPU can do, measured here, and beside PyTorch, torchvision and CV-CUDA."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from device_tensors import as_device_array, stream_ms
from kernel_checks import Bench
from measuring import median_ms
from proving import Proof, prove
from torch import Tensor

from reid.runtime.kernels.crops import Interleaved, Picture, crops_of_boxes
from reid.runtime.kernels.library import ADDITION

_HEIGHT, _WIDTH, _SIDE, _CROPS = 1080, 1920, 256, 64
_ROWS, _DIMENSIONS = 4096, 1536


def roofline(proof: Proof) -> None:
    """Measure the limits, then each kernel."""
    proof.needs_kernels()
    copied = _limits(proof)
    bench = Bench.open()
    proof.attempt("crops", _crops, proof, bench, copied)
    proof.attempt("pooling", _pooling, proof, bench, copied)


def _limits(proof: Proof) -> float:
    """Note what the GPU can do; return its GB/s in a copy on the device, which reads and writes every byte."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / median_ms(lambda: target.copy_(source)) / 1e6
    proof.note("copy on the device GB/s", round(copied, 1))
    torch.backends.cuda.matmul.allow_tf32 = False
    for name, dtype in (("FP32", torch.float32), ("FP16", torch.float16)):
        square = torch.randn(8192, 8192, device="cuda").to(dtype)
        milliseconds = median_ms(functools.partial(torch.mm, square, square), 5)
        proof.note(f"product in {name} TFLOP/s", round(2 * 8192**3 / milliseconds / 1e9, 1))
    return copied


def _crops(proof: Proof, bench: Bench, copied: float) -> None:
    random = np.random.default_rng(0)
    corners = random.integers((0, 0), (_WIDTH - 500, _HEIGHT - 400), (_CROPS, 2))
    boxes = np.concatenate([corners, corners + random.integers((80, 60), (500, 400), (_CROPS, 2))], axis=1)
    pixels = torch.randint(256, (_HEIGHT, _WIDTH, 3), dtype=torch.uint8, device="cuda")
    frames = torch.empty(_CROPS, 3, _SIDE, _SIDE, dtype=torch.uint8, device="cuda")
    crops = crops_of_boxes(Picture(_HEIGHT, _WIDTH, 0, 3 * _WIDTH), boxes)
    given, made = as_device_array(bench.cuda, pixels.view(-1)), as_device_array(bench.cuda, frames)
    room = bench.cuda.allocate(crops.nbytes)

    def ours() -> None:
        bench.kernels.resize_crops(given, Interleaved("bgr"), crops, room, made, bench.stream)

    torch.cuda.synchronize()
    milliseconds = stream_ms(bench.cuda, bench.stream, ours)
    moved = frames.nbytes + 3 * int(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).sum())
    proof.note(f"{_CROPS} crops: ours ms", milliseconds)
    _note_share(proof, f"{_CROPS} crops", moved, milliseconds, copied)
    image = pixels.permute(2, 0, 1).contiguous()
    proof.attempt("torchvision", _torchvision, proof, image, boxes, frames)
    proof.attempt("CV-CUDA", _cvcuda, pixels, boxes)


def _torchvision(proof: Proof, image: Tensor, boxes: Any, ours: Tensor) -> None:  # noqa: ANN401 - an array
    """Hold our crops to torchvision's, one after the other, and to roi_align, which is one kernel on floats."""
    from torchvision.ops import roi_align
    from torchvision.transforms.v2 import functional

    def one_by_one() -> list[Tensor]:
        parts = (image[:, top:bottom, left:right] for left, top, right, bottom in boxes.tolist())
        return [functional.resize(part.float(), [_SIDE, _SIDE], antialias=False) for part in parts]

    rois = torch.cat([torch.zeros(len(boxes), 1), torch.from_numpy(boxes)], dim=1).float().cuda()
    floats = image.float()[None]

    def at_once() -> Tensor:
        result: Tensor = roi_align(floats, rois, _SIDE, sampling_ratio=1, aligned=True)
        return result

    worst = float((torch.stack(one_by_one()).flip(1) - ours).abs().max())
    proof.check("our crops are torchvision's within 1.01 of 255", worst <= 1.01, worst)
    proof.note(f"{_CROPS} crops: torchvision, one after the other, ms", median_ms(one_by_one, 10))
    proof.note(f"{_CROPS} crops: torchvision, roi_align on floats, ms", median_ms(at_once, 10))


def _cvcuda(pixels: Tensor, boxes: Any) -> str | float:  # noqa: ANN401 - an array
    """Return the milliseconds of CV-CUDA, crop by crop."""
    try:
        import cvcuda  # type: ignore[import-not-found]
    except ImportError:
        return "skipped: not installed"

    def resize() -> list[Any]:
        return [
            cvcuda.resize(
                cvcuda.as_tensor(pixels[top:bottom, left:right].contiguous(), "HWC"),
                (_SIDE, _SIDE, 3),
                cvcuda.Interp.LINEAR,
            )
            for left, top, right, bottom in boxes.tolist()
        ]

    return median_ms(resize, 10)


def _pooling(proof: Proof, bench: Bench, copied: float) -> None:
    pooled, sums = torch.randn(_ROWS, _DIMENSIONS, device="cuda"), torch.zeros(_ROWS, _DIMENSIONS, device="cuda")
    weights, embeddings = torch.zeros(_ROWS, device="cuda"), torch.empty_like(sums)
    given, kept, weighed, made = (as_device_array(bench.cuda, one) for one in (pooled, sums, weights, embeddings))
    additions = np.zeros(_ROWS, ADDITION)
    additions["row"], additions["weight"] = np.random.default_rng(0).permutation(_ROWS), 1
    rows, room = np.arange(_ROWS, dtype=np.int32), bench.cuda.allocate(additions.nbytes)
    index = torch.from_numpy(additions["row"].astype(np.int64)).cuda()
    tasks = {
        "accumulate": (
            lambda: bench.kernels.accumulate(given, additions, room, kept, weighed, bench.stream),
            lambda: sums.index_add_(0, index, pooled),
            3,
        ),
        "normalize": (
            lambda: bench.kernels.normalize(kept, rows, room, made, bench.stream),
            lambda: torch.nn.functional.normalize(sums, dim=1),
            2,
        ),
    }
    torch.cuda.synchronize()
    for name, (ours, peer, passes) in tasks.items():
        milliseconds = stream_ms(bench.cuda, bench.stream, ours)
        proof.note(f"{name}: ours and PyTorch ms", [milliseconds, median_ms(peer)])
        _note_share(proof, name, passes * sums.nbytes, milliseconds, copied)


def _note_share(proof: Proof, name: str, moved: int, milliseconds: float, copied: float) -> None:
    speed = moved / milliseconds / 1e6
    proof.note(f"{name}: GB/s, and share of a copy's", [round(speed, 1), round(speed / copied, 3)])


if __name__ == "__main__":
    prove(roofline)
