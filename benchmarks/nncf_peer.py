"""The part of `mixed_precision.py` that runs in NNCF's environment: numpy, OpenVINO and NNCF, and nothing of `reid`.

`python nncf_peer.py FOLDER` reads the model, the frames and the protocols that `mixed_precision.py` left in FOLDER,
runs `nncf.quantize_with_accuracy_control`, and leaves `nncf.json` and its model there. `open_model` opens a model to be
timed.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["BATCH", "PROTOCOLS", "mean_average_precision", "open_model", "protocol_maps"]

PROTOCOLS = ("i2i", "i2t", "t2t")
BATCH = 8
SETTINGS = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}


def mean_average_precision(embeddings: NDArray[np.float32], protocol: dict[str, NDArray[Any]]) -> float:
    """Return mAP in percent, query by query as the definition reads.

    Args:
        embeddings: float32 [frames, D].
        protocol: "query" and "gallery", int64 [rows, longest], the frames of each tracklet, -1 where there are no more;
            "query_vehicle", "query_camera", "gallery_vehicle", "gallery_camera", text [rows].
    """
    query, gallery = (tracklets(embeddings, protocol[side]) for side in ("query", "gallery"))
    precisions = []
    for row, vehicle, camera in zip(query, protocol["query_vehicle"], protocol["query_camera"], strict=True):
        is_right = protocol["gallery_vehicle"] == vehicle
        shown = ~(is_right & (protocol["gallery_camera"] == camera))
        order = np.argsort(-(gallery[shown] @ row), kind="stable")
        hits = is_right[shown][order]
        if hits.any():
            ranks = np.flatnonzero(hits) + 1
            precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return 100 * float(np.mean(precisions))


def tracklets(embeddings: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the normalized mean of the frames of each row, float64 [rows, D]."""
    means = np.stack([embeddings[row[row >= 0]].astype(np.float64).mean(axis=0) for row in rows])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def protocol_maps(embeddings: NDArray[np.float32], protocols: dict[str, dict[str, NDArray[Any]]]) -> dict[str, float]:
    """Return the mAP of each protocol."""
    return {name: mean_average_precision(embeddings, protocol) for name, protocol in protocols.items()}


@dataclass
class Judge:
    """NNCF's validation function: its metric is 100 + the change from FP32 of the protocol's mAP that changed worst.

    Attributes:
        protocols: the protocols.
        items: the batches of all frames.
        expected: the mAP of each protocol by FP32.
        changes: the worst change of every evaluation on all frames, in points, in order.
    """

    protocols: dict[str, dict[str, NDArray[Any]]]
    items: Sequence[dict[str, NDArray[Any]]]
    expected: dict[str, float] = field(default_factory=dict)
    changes: list[float] = field(default_factory=list)

    def __call__(self, compiled: Any, items: Iterable[Any]) -> tuple[float, Any]:  # noqa: ANN401 - OpenVINO's types
        request = compiled.create_infer_request()
        outputs = [[request.infer(item)["frame_embedding"].copy()] for item in items]
        if len(outputs) < len(self.items):
            return 100.0, outputs  # a subset, on which NNCF ranks layers by their outputs
        found = protocol_maps(np.concatenate([one for (one,) in outputs]), self.protocols)
        self.expected = self.expected or found
        self.changes.append(min(found[name] - self.expected[name] for name in found))
        print(f"evaluation {len(self.changes)}: {self.changes[-1]:+.2f}", file=sys.stderr, flush=True)
        return 100 + self.changes[-1], outputs  # NNCF divides by it


def main() -> None:
    """Quantize and measure."""
    folder = Path(sys.argv[1])
    import nncf
    import openvino as ov

    settings = json.loads((folder / "settings.json").read_text())
    frames, protocols = np.load(folder / "frames.npy"), load_protocols(folder)
    core = ov.Core()
    model = core.read_model(folder / "fp32.onnx")
    judge = Judge(protocols, batches(frames))
    calibration = nncf.Dataset(batches(np.load(folder / "calibration.npy")))
    start = time.perf_counter()
    quantized = nncf.quantize_with_accuracy_control(
        model,
        calibration,
        nncf.Dataset(judge.items),
        judge,
        max_drop=settings["tolerance"],
        drop_type=nncf.DropType.ABSOLUTE,
        subset_size=len(batches(np.load(folder / "calibration.npy"))),
    )
    seconds = time.perf_counter() - start
    models = {"fp32": model, "nncf": quantized, "reid": core.read_model(folder / "int8.onnx")}
    compiled = {name: core.compile_model(one, "CPU", SETTINGS) for name, one in models.items()}
    result = {
        "version": nncf.__version__,
        "openvino": ov.__version__.partition("-")[0],
        "seconds": round(seconds, 1),
        "evaluations": len(judge.changes),
        "int8_percent": round(100 * int8_share(quantized), 1),
        "mAP": {name: protocol_maps(embed(one, judge.items), protocols) for name, one in compiled.items()},
    }
    ov.save_model(quantized, folder / "nncf.xml", compress_to_fp16=False)
    (folder / "nncf.json").write_text(json.dumps(result, indent=2))


def batches(frames: NDArray[np.uint8]) -> list[dict[str, NDArray[Any]]]:
    """Return all frames as inputs of the graph."""
    return [inputs_of(frames[start : start + BATCH]) for start in range(0, len(frames), BATCH)]


def inputs_of(frames: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Return inputs of the graph, each frame a tracklet."""
    return {"frames": frames, "pooling": np.eye(len(frames), dtype=np.float32)}


def load_protocols(folder: Path) -> dict[str, dict[str, NDArray[Any]]]:
    """Read the protocols."""
    return {name: dict(np.load(folder / f"{name}.npz")) for name in PROTOCOLS if (folder / f"{name}.npz").exists()}


def embed(compiled: Any, items: Sequence[dict[str, NDArray[Any]]]) -> NDArray[np.float32]:  # noqa: ANN401
    """Return the embeddings of all frames."""
    request = compiled.create_infer_request()
    return np.concatenate([request.infer(item)["frame_embedding"].copy() for item in items])


def open_model(request: Mapping[str, Any]) -> CompiledModel:
    """Open a model that `mixed_precision.py` times."""
    import openvino as ov

    return CompiledModel(ov.Core().compile_model(request["model"], "CPU", SETTINGS), ov.__version__)


class CompiledModel:
    """A compiled model, as `reid.bench.host` times it."""

    most_frames = BATCH

    def __init__(self, compiled: Any, version: str) -> None:  # noqa: ANN401
        self._request = compiled.create_infer_request()
        self.facts = {"backend": f"OpenVINO {version.partition('-')[0]}", "device": "CPU"}

    def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed a batch, uint8 [N, 3, H, W] -> float32 [N, D]."""
        embeddings: NDArray[np.float32] = self._request.infer(inputs_of(frames))["frame_embedding"]
        return embeddings

    def close(self) -> None:
        """Release the model."""
        self._request = None


def int8_share(model: Any) -> float:  # noqa: ANN401
    """Return the fraction of the multiply-accumulates whose activation and weights are quantized, 0 to 1."""
    one_frame = model.clone()
    one_frame.reshape({"frames": [1, *one_frame.input("frames").partial_shape[1:]], "pooling": [1, 1]})
    done = dict.fromkeys((False, True), 0)
    for op in one_frame.get_ops():
        if op.get_type_name() in ("Convolution", "GroupConvolution", "MatMul"):
            sources = [op.input_value(index).get_node() for index in (0, 1)]
            done[all(map(is_quantized, sources))] += multiply_accumulates(op)
    return done[True] / sum(done.values())


def is_quantized(node: Any) -> bool:  # noqa: ANN401
    """Whether what a node gives comes from FakeQuantize, or from INT8 weights, with nothing but scaling between."""
    while node.get_type_name() in ("Reshape", "Transpose", "Convert", "Multiply", "Subtract") and len(node.inputs()):
        if node.get_type_name() == "Convert" and str(node.input_value(0).get_element_type()) in ("<Type: 'int8_t'>",):
            return True
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "FakeQuantize")


def multiply_accumulates(op: Any) -> int:  # noqa: ANN401
    """Return the multiply-accumulates of an operation for one frame."""
    output = math.prod(op.output(0).get_shape())
    weights = list(op.input_value(1).get_shape())
    if op.get_type_name() == "Convolution":
        return int(output * math.prod(weights[1:]))  # [out, in, h, w]
    if op.get_type_name() == "GroupConvolution":
        return int(output * math.prod(weights[2:]))  # [groups, out, in, h, w]
    return int(output * op.input_value(0).get_shape()[-1])


if __name__ == "__main__":
    main()
