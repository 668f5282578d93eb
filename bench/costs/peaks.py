"""The peaks of the device that is here, measured in a process of its own."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from reid.bench.costs.products import INPUT, OUTPUT, Products
from reid.bench.costs.record import Roofline
from reid.runtime.errors import SessionError
from reid.runtime.precision import Precision
from reid.runtime.sessions.onnxruntime_providers import Provider, find_provider, import_onnxruntime
from reid.runtime.sessions.openvino import import_openvino

__all__ = ["measure_peaks"]

_Run: TypeAlias = Callable[[], object]

_AT_MOST_S = 120.0
_ROUNDS, _SECONDS, _LEAST_RUNS = 3, 0.07, 2
"""Each product and copy is repeated for this long in each round; the fastest run of all rounds counts."""

_COPIED_BYTES = 1 << 28
"""Far beyond caches."""


def measure_peaks(device: str = "cpu", threads: int = 1) -> Roofline:
    """Measure the peaks of a device, in a few seconds.

    Operations per second are the best of matrix products and 3 x 3 convolutions, in the libraries that are installed:
    ONNX Runtime and, on the CPU, OpenVINO. Bytes per second are the best of reading and copying what is far larger than
    the caches, each byte read and each byte written being one. On a CPU the peak of FP16 is that of FP32, in which
    our sessions compute FP16 graphs there. On a GPU there is none of INT8: ONNX Runtime does not use its INT8 units.

    Args:
        device: "cpu", or "cuda" for the first GPU.
        threads: the CPU threads that each may use.

    Raises:
        SessionError: the process fails, or takes longer than two minutes.
    """
    command = [sys.executable, "-m", "reid.bench.costs.peaks", device, str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_AT_MOST_S, check=False)
    except subprocess.TimeoutExpired:
        raise SessionError(f"measuring the peaks of {device!r} took longer than {_AT_MOST_S:.0f} s") from None
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
        raise SessionError(f"the peaks of {device!r} cannot be measured: {said}")
    return Roofline.model_validate_json(done.stdout.strip().rpartition("\n")[2])


def _measured(device: str, threads: int) -> Roofline:
    """Measure in this process; what else happens on the machine hits some rounds, not all."""
    provider = find_provider(device)  # loads what the provider needs
    with ThreadPoolExecutor(threads) as pool:
        if provider.ordinal is None:
            computing, moving = [*_on_cpu(provider, threads)], [*_cpu_copies(pool, threads)]
        else:
            computing, moving = [*_on_cuda(provider, threads)], [*_cuda_copies()]
        for _, run in moving:
            run()
        for _, _, run in computing:
            run()
        peaks: dict[Precision, float] = {}
        bandwidth = 0.0
        for _ in range(_ROUNDS):
            for precision, flops, run in computing:
                peaks[precision] = max(peaks.get(precision, 0.0), flops / _fastest(run))
            for moved, run in moving:
                bandwidth = max(bandwidth, moved / _fastest(run))
    peaks.setdefault("fp16", peaks["fp32"])
    return Roofline(operations_per_s=peaks, bytes_per_s=bandwidth, source="measured in this run")


def _on_cpu(provider: Provider, threads: int) -> Iterator[tuple[Precision, int, _Run]]:
    """Yield precision, operations and how to run them, of each product in each library.

    A run takes about a millisecond: a shorter one gains nothing from threads, a longer one is seldom left alone.
    """
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    for precision in precisions:
        work = threads * (4 if precision == "int8" else 1)
        for products in (Products("MatMul", precision, 128 * work, 512), Products("Conv", precision, work, 128)):
            given = {INPUT: products.given()}
            session = _onnxruntime(products, provider, {}, threads)
            yield precision, products.flops, functools.partial(session.run, None, given)
            with contextlib.suppress(SessionError):  # OpenVINO is an extra
                yield precision, products.flops, functools.partial(_openvino(products, threads).infer, given)


def _onnxruntime(products: Products, provider: Provider, settings: dict[str, str], threads: int) -> Any:  # noqa: ANN401
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    session = onnxruntime.InferenceSession(
        products.onnx(), options, providers=[(provider.name, settings)], enable_fallback=0
    )
    if session.get_providers()[0] != provider.name:  # older versions do not heed enable_fallback
        raise SessionError(f"ONNX Runtime fell back from {provider.name} to the CPU: {provider.remedy}")
    return session


def _openvino(products: Products, threads: int) -> Any:  # noqa: ANN401 - no stubs
    openvino = import_openvino()
    core = openvino.Core()
    model = core.read_model(products.onnx(), b"")
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",  # as our session has it; the default may be BF16
        "PERFORMANCE_HINT": "LATENCY",
    }
    return core.compile_model(model, "CPU", settings).create_infer_request()


def _cpu_copies(pool: ThreadPoolExecutor, threads: int) -> Iterator[tuple[int, _Run]]:
    """Yield the bytes that are moved and how to move them; numpy lets go of the interpreter's lock meanwhile."""
    source = np.ones(_COPIED_BYTES // 8, np.uint64)
    target = np.zeros_like(source)
    sources, targets = np.array_split(source, threads), np.array_split(target, threads)
    yield 2 * source.nbytes, lambda: list(pool.map(np.copyto, targets, sources))
    yield source.nbytes, lambda: list(pool.map(np.bitwise_or.reduce, sources))


def _on_cuda(provider: Provider, threads: int) -> Iterator[tuple[Precision, int, _Run]]:
    precisions: tuple[Precision, ...] = ("fp32", "fp16")
    for precision in precisions:
        for products in (Products("MatMul", precision, 8192, 4096), Products("Conv", precision, 256, 256)):
            session = _onnxruntime(products, provider, {"use_tf32": "0"}, threads)
            given = products.given()
            binding = session.io_binding()
            binding.bind_ortvalue_input(INPUT, _on_device(given))
            binding.bind_output(OUTPUT, "cuda")
            yield precision, products.flops, functools.partial(session.run_with_iobinding, binding)


def _on_device(values: NDArray[np.generic]) -> Any:  # noqa: ANN401 - no stubs
    return import_onnxruntime().OrtValue.ortvalue_from_numpy(values, "cuda", 0)


def _cuda_copies() -> Iterator[tuple[int, _Run]]:
    from reid.runtime.cuda import open_cuda

    cuda = open_cuda()
    source, target, stream = cuda.allocate(4 * _COPIED_BYTES), cuda.allocate(4 * _COPIED_BYTES), cuda.stream()

    def copy() -> None:
        with cuda.current():
            cuda.library.copy_on_device(target.address, source.address, source.size, stream.handle)
        stream.synchronize()

    yield 2 * source.size, copy


def _fastest(run: _Run) -> float:
    """Return the seconds of the fastest run."""
    times: list[float] = []
    while len(times) < _LEAST_RUNS or sum(times) < _SECONDS:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)


if __name__ == "__main__":
    print(_measured(sys.argv[1], int(sys.argv[2])).model_dump_json())
