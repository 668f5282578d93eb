"""ONNX Runtime's CUDA provider beside the CPU: FP32 is FP32, FP16 and INT8 are close; new sizes, threads and memory."""

from __future__ import annotations

import functools
import statistics
import threading
import time
from typing import Any

from measuring import free_mib, greatest_difference, median_ms, random_batch
from proving import Proof, prove
from raw_onnxruntime import raw_session, run_raw
from session_paths import on_busy_stream, through_slots
from subjects import batch_size, graph_of, side_of

from reid.runtime.precision import PRECISIONS
from reid.runtime.sessions.onnxruntime import load_onnxruntime
from reid.runtime.sessions.session import run

_FP16 = 2e-3
"""What FP16 may differ by between two sizes of a batch, whose convolutions are computed in another order."""

_SECONDS_TO_SEARCH = 8
_SEARCHES = {
    "default": {},
    "heuristic": {"cudnn_conv_algo_search": "HEURISTIC"},
    "heuristic, NHWC": {"cudnn_conv_algo_search": "HEURISTIC", "prefer_nhwc": "1"},
}


def onnxruntime_cuda(proof: Proof) -> None:
    """Compare, then measure; each part alone."""
    raw_session(graph_of(proof, "fp32"), proof.device)  # Skipped where the provider is missing
    for part in (_numbers, _tf32, _slots, _device_arrays, _threads, _memory, _new_sizes):
        proof.attempt(part.__name__.strip("_"), part, proof)


def _numbers(proof: Proof) -> None:
    batch = random_batch(side_of(proof), 8)
    with load_onnxruntime(graph_of(proof, "fp32"), "cpu") as session:
        expected = run(session, *batch)
    for precision in PRECISIONS:
        graph = graph_of(proof, precision)
        with load_onnxruntime(graph, proof.device) as session, load_onnxruntime(graph, "cpu") as cpu:
            found, same_graph = run(session, *batch), run(cpu, *batch)
            proof.note(f"{precision} ran on", str(session.info))
        if precision == "fp32":
            worst = greatest_difference(found, expected)
            proof.check("FP32 differs from the CPU by less than 1e-5", worst < 1e-5, worst)
        cosine = float((found.frame_embedding * same_graph.frame_embedding).sum(axis=1).min())
        proof.check(f"{precision}: cosine to the same graph on the CPU above 0.999", cosine > 0.999, cosine)
        proof.note(f"{precision}: least cosine to FP32", float((found[0] * expected[0]).sum(axis=1).min()))


def _tf32(proof: Proof) -> None:
    """Hold that the difference above would show TF32, on a GPU that has it."""
    proof.needs_gpu()
    batch, graph = random_batch(side_of(proof), 8), graph_of(proof, "fp32")
    expected = run_raw(raw_session(graph, "cpu"), *batch)
    off, on = (run_raw(raw_session(graph, proof.device, {"use_tf32": switch}), *batch) for switch in "01")
    errors = [greatest_difference(found, expected) for found in (off, on)]
    proof.check("with TF32 the difference is at least 3 times as large", errors[1] > 3 * errors[0], errors)


def _slots(proof: Proof) -> None:
    """Hold the results of lent slots, filled crop by crop, to those of `run`."""
    batches = [random_batch(side_of(proof), 7, 4, seed=seed) for seed in range(5)]
    with load_onnxruntime(graph_of(proof, "fp16"), proof.device) as session:
        expected, found = [run(session, *batch) for batch in batches], through_slots(session, batches)
    worst = max(greatest_difference(one, other) for one, other in zip(found, expected, strict=True))
    proof.check("slots give what `run` gives", worst < _FP16, worst)


def _device_arrays(proof: Proof) -> None:
    """Hold the results of PyTorch's tensors, used where they are, to those of `run`."""
    proof.needs_gpu()
    batch = random_batch(side_of(proof), 8)
    with load_onnxruntime(graph_of(proof, "fp16"), proof.device) as session:
        expected = run(session, *batch)
        by_dlpack, by_interface = on_busy_stream(session, batch)
    worst = max(greatest_difference(found, expected) for found in (by_dlpack, by_interface))
    proof.check("device arrays give what `run` gives, on a busy stream", worst < _FP16, worst)


def _threads(proof: Proof) -> None:
    """Run two threads, each with a session of its own: a session has one caller at a time."""
    batches = {frames: random_batch(side_of(proof), frames, seed=frames) for frames in (2, 4)}
    wrong: list[float] = []
    graph = graph_of(proof, "fp16")
    with load_onnxruntime(graph, proof.device) as session:
        expected = {frames: run(session, *batch) for frames, batch in batches.items()}

    def work(frames: int) -> None:
        batch, wanted = batches[frames], expected[frames]
        with load_onnxruntime(graph, proof.device) as own:
            wrong.extend(greatest_difference(run(own, *batch), wanted) for _ in range(5))

    threads = [threading.Thread(target=work, args=(frames,)) for frames in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    proof.check("two threads get their own answers", len(wrong) == 10 and max(wrong) < _FP16, max(wrong, default=None))


def _memory(proof: Proof) -> None:
    """Note what five sessions, opened and closed, leave behind."""
    proof.needs_gpu()
    free = 0.0
    for count in range(6):
        with load_onnxruntime(graph_of(proof, "fp16"), proof.device) as session:
            run(session, *random_batch(side_of(proof), 2))
        del session
        free = free if count else free_mib()  # the first one starts the libraries
    left = free - free_mib()
    proof.check("five sessions leave less than 64 MiB behind", left < 64, left)


def _new_sizes(proof: Proof) -> None:
    """Note what the first batch of a size costs under each of cuDNN's searches, and a full batch afterwards."""
    full, graph = batch_size(proof), graph_of(proof, "fp16")
    what = f"(first batch of a size, batch of {full}) in ms"
    with load_onnxruntime(graph, proof.device) as ours:
        proof.note(f"{what}: ours", _times(functools.partial(run, ours), full, side_of(proof)))
    for name, options in _SEARCHES.items():
        if proof.seconds_left < _SECONDS_TO_SEARCH or proof.small:
            return
        raw = raw_session(graph, proof.device, options)
        proof.note(f"{what}: {name}", _times(functools.partial(run_raw, raw), full, side_of(proof)))


def _times(task: Any, full: int, side: int) -> tuple[float, float]:  # noqa: ANN401 - run, or the like
    task(*random_batch(side, full))
    spans = []
    for frames in (1, 3, full // 2 - 1, full - 1):
        batch, began = random_batch(side, frames), time.perf_counter()
        task(*batch)
        spans.append(1e3 * (time.perf_counter() - began))
    whole = random_batch(side, full)
    return round(statistics.median(spans), 2), median_ms(lambda: task(*whole), 8, 2)


if __name__ == "__main__":
    prove(onnxruntime_cuda)
