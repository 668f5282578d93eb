"""A server that speaks Triton's protocol, made of tritonclient's own messages, and computes with ONNX Runtime."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

__all__ = ["TritonDouble", "serving"]

_KINDS = {model_config_pb2.TYPE_UINT8: ("UINT8", np.uint8), model_config_pb2.TYPE_FP32: ("FP32", np.float32)}


@dataclass
class TritonDouble(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """The server's methods that a session calls; its attributes let it fail.

    Attributes:
        repository: a model repository, as `reid-export --triton` writes it.
        ready: what it says of itself.
        delay_s: how long each batch takes.
        spoil: changes an answer before it is sent.
        requests: the (model, version, inputs' names) that were asked for.
        most_at_once: the most batches that were there at the same time.
        company: how many batches have to have been there at the same time before any is answered.
    """

    repository: Path
    ready: bool = True
    delay_s: float = 0.0
    spoil: Callable[[Any], None] = lambda answer: None
    requests: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    most_at_once: int = 0
    company: int = 1
    address: str = ""
    stop: Callable[[], object] = lambda: None
    _sessions: dict[Path, Any] = field(default_factory=dict)
    _running: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        return service_pb2.ServerReadyResponse(ready=self.ready)

    def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        return service_pb2.ServerMetadataResponse(name="triton", version="2.60.0")

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        config, versions = self._find(request.name, request.version, context)
        batch = [-1] if config.max_batch_size else []
        answer = service_pb2.ModelMetadataResponse(name=request.name, versions=versions, platform=config.platform)
        for side, tensors in ((answer.inputs, config.input), (answer.outputs, config.output)):
            for one in tensors:
                side.add(name=one.name, datatype=_KINDS[one.data_type][0], shape=[*batch, *one.dims])
        return answer

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: ANN401, N802
        config, (version,) = self._find(request.model_name, request.model_version, context)
        self.requests.append((request.model_name, request.model_version, tuple(one.name for one in request.inputs)))
        with self._lock:
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
        time.sleep(self.delay_s)
        patience = time.monotonic() + 30
        while self.most_at_once < self.company and time.monotonic() < patience:
            time.sleep(0.01)
        kinds = {one.name: _KINDS[one.data_type][1] for one in config.input}
        arrays = {
            one.name: np.frombuffer(raw, kinds[one.name]).reshape(one.shape)
            for one, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        graph = self.repository / request.model_name / version / "model.onnx"
        if graph not in self._sessions:
            self._sessions[graph] = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        names = [one.name for one in self._sessions[graph].get_outputs()]
        answer = service_pb2.ModelInferResponse(model_name=request.model_name, model_version=version)
        for name, array in zip(names, self._sessions[graph].run(names, arrays), strict=True):
            answer.outputs.add(name=name, datatype="FP32", shape=array.shape)
            answer.raw_output_contents.append(array.tobytes())
        self.spoil(answer)
        with self._lock:
            self._running -= 1
        return answer

    def _find(self, name: str, version: str, context: Any) -> tuple[Any, list[str]]:  # noqa: ANN401
        folder = self.repository / name
        if not folder.is_dir():
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{name}' is not found")
        versions = sorted(path.name for path in folder.iterdir() if path.is_dir())
        if version and version not in versions:
            context.abort(
                grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{name}' version {version} is not found"
            )
        config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
        return config, [version] if version else versions


@contextlib.contextmanager
def serving(repository: Path) -> Iterator[TritonDouble]:
    """Serve a repository on a port of this machine until the block ends."""
    double = TritonDouble(repository)
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)])
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(double, server)
    double.address = f"localhost:{server.add_insecure_port('localhost:0')}"
    double.stop = lambda: server.stop(None).wait()
    server.start()
    try:
        yield double
    finally:
        double.stop()
