"""Frames per second of a full batch in FP16: ours and ONNX Runtime beside PyTorch eager, in a CUDA graph, and compiled.

What stays on the device is measured apart from what goes through host memory: the peers get their frames on the device,
so the fair line beside them is "bound".
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from measuring import greatest_difference, median_ms, random_batch
from proving import Proof, prove
from raw_onnxruntime import Bound, raw_session, run_raw
from session_paths import Batch, through_slots
from subjects import batch_size, checkpoint, graph_of, side_of

from reid.runtime.precision import Precision
from reid.runtime.sessions.onnxruntime import load_onnxruntime
from reid.runtime.sessions.session import run

_HEURISTIC = {"cudnn_conv_algo_search": "HEURISTIC"}
_SECONDS_TO_COMPILE = 20
_PRECISIONS: tuple[Precision, ...] = ("fp16", "int8")
_IN_FLIGHT = 6
"""Batches that go through the slots one after the other."""


def throughput(proof: Proof) -> None:
    """Measure; torch.compile comes last, since it takes longest to start."""
    for part in (_eager, _graphed, _session, _bound, _onnxruntime_graph, _dlpack, _compiled):
        proof.attempt(part.__name__.strip("_"), part, proof)


def _eager(proof: Proof) -> None:
    forward = _forward(proof)
    _speed(proof, "PyTorch eager, FP16, channels_last", forward)


def _graphed(proof: Proof) -> None:
    """Replay PyTorch's kernels as one CUDA graph."""
    proof.needs_gpu()
    forward, stream = _forward(proof), torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        for _ in range(3):
            forward()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        forward()
    _speed(proof, "PyTorch, FP16, CUDA graph", graph.replay)


def _compiled(proof: Proof) -> None:
    proof.needs_gpu()
    if proof.seconds_left < _SECONDS_TO_COMPILE:
        return
    _speed(proof, "torch.compile, FP16, channels_last", _forward(proof, compiled=True))


def _session(proof: Proof) -> None:
    for precision in _PRECISIONS:
        proof.attempt(f"session, {precision}", _paths, proof, precision)


def _paths(proof: Proof, precision: Precision) -> None:
    """Measure every way of a batch through our session, and ONNX Runtime without it."""
    batch = random_batch(side_of(proof), batch_size(proof))
    many = [batch] * _IN_FLIGHT
    with load_onnxruntime(graph_of(proof, precision), proof.device) as session:
        _speed(proof, f"our session, {precision}, from and to host memory", lambda: run(session, *batch))
        _speed(proof, f"our slots, {precision}, crop by crop", lambda: through_slots(session, many), _IN_FLIGHT)
        if not proof.small:
            _speed_on_device(proof, precision, session, batch)
    raw = raw_session(graph_of(proof, precision), proof.device, _HEURISTIC)
    _speed(proof, f"ONNX Runtime, {precision}, from and to host memory", lambda: run_raw(raw, *batch))


def _bound(proof: Proof) -> None:
    """Bind PyTorch's memory by its address: nothing is copied, and the answers stay the same."""
    for precision in _PRECISIONS:
        raw = raw_session(graph_of(proof, precision), proof.device, _HEURISTIC)
        batch = random_batch(side_of(proof), batch_size(proof))
        bound = Bound(raw, batch, checkpoint(proof).card.dimensions, proof.device)
        bound.run()
        error = greatest_difference(bound.results(), run_raw(raw, *batch))
        proof.check(f"bound memory gives the same answers, {precision}", error < 2e-3, error)
        _speed(proof, f"ONNX Runtime, {precision}, bound", bound.run)


def _onnxruntime_graph(proof: Proof) -> None:
    """Capture a CUDA graph in ONNX Runtime, under a name of its own for this size."""
    proof.needs_gpu()
    from onnxruntime import RunOptions

    batch = random_batch(side_of(proof), batch_size(proof))
    expected = run_raw(raw_session(graph_of(proof, "fp16"), proof.device, _HEURISTIC), *batch)
    raw = raw_session(graph_of(proof, "fp16"), proof.device, {**_HEURISTIC, "enable_cuda_graph": "1"})
    bound = Bound(raw, batch, checkpoint(proof).card.dimensions, proof.device)
    options = RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(batch_size(proof)))
    try:
        bound.run(options)  # captures
    except Exception as problem:  # where a node of the graph is on the CPU, say
        proof.note("ONNX Runtime, fp16, CUDA graph", f"not captured: {problem}"[:300])
        return
    _speed(proof, "ONNX Runtime, fp16, bound, CUDA graph", lambda: bound.run(options))
    error = greatest_difference(bound.results(), expected)
    proof.check("a CUDA graph gives the same answers", error < 2e-3, error)


def _dlpack(proof: Proof) -> None:
    """Hold that DLPack shares memory with ONNX Runtime in both directions."""
    from onnxruntime.capi.onnxruntime_pybind11_state import OrtValue

    tensor = torch.arange(12, dtype=torch.uint8, device=proof.device)
    value = OrtValue.from_dlpack(tensor.__dlpack__(), False)
    back = torch.from_dlpack(value.to_dlpack())  # type: ignore[attr-defined]
    proof.check("DLPack shares memory with ONNX Runtime", back.data_ptr() == tensor.data_ptr())


def _forward(proof: Proof, *, compiled: bool = False) -> Callable[[], object]:
    """Return a pass of PyTorch's model, all in FP16, over a batch that is on the device already."""
    from reid.train.model.multi_level import FusedReID

    model = FusedReID(checkpoint(proof).model).eval().half().to(proof.device).to(memory_format=torch.channels_last)
    call = torch.compile(model) if compiled else model
    batch = random_batch(side_of(proof), batch_size(proof))
    frames, pooling = (torch.from_numpy(array).to(proof.device) for array in batch)
    pooling = pooling.half()

    @torch.inference_mode()
    def forward() -> object:
        return call(frames, pooling)

    return forward


def _speed_on_device(proof: Proof, precision: str, session: Any, batch: Batch) -> None:  # noqa: ANN401
    tensors = [torch.from_numpy(array).cuda() for array in batch]
    stream = torch.cuda.current_stream().cuda_stream
    name = f"our session, {precision}, arrays on the device"
    proof.attempt(name, _speed, proof, name, functools.partial(session.run_on_device, *tensors, stream=stream))


def _speed(proof: Proof, name: str, task: Callable[[], object], batches: int = 1) -> None:
    milliseconds = median_ms(task, 4 if proof.small else 30 // batches, 2 if proof.small else 3)
    proof.note(f"{name}: frames/s", round(1e3 * batches * batch_size(proof) / milliseconds, 1))


if __name__ == "__main__":
    prove(throughput)
