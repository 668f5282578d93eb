"""The bundle that `reid-doctor` tries sessions with: a graph of one convolution, whose answers are known.

It is stored in runtime/doctor/tiny. As a program, this makes it anew: `python tests/helpers/tiny_bundle.py`
"""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import reid.runtime.doctor
from reid.runtime.bundle import CARD_FILE, REFERENCE_EMBEDDINGS, graph_file
from reid.runtime.files.reading import sha256_of
from reid.runtime.graph_names import BACKBONE, FRAME_EMBEDDING, FRAMES, HEADS, POOLED, POOLING
from reid.runtime.imaging import as_model_input, decode
from reid.runtime.model_card import FORMAT_VERSION, Level, ModelCard, Preprocessing

__all__ = ["STORED", "write_tiny_bundle"]

STORED = Path(reid.runtime.doctor.__file__).resolve().with_name("tiny")

_SIZE, _CHANNELS, _DIMENSIONS, _OPSET, _IR = 16, 8, 8, 18, 10
_PREPROCESSING = Preprocessing(height=_SIZE, width=_SIZE, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_CROPS = 8
_INT8_AT_LEAST = 0.99
"""Above what mistakes in preprocessing leave of it, which change the features of one convolution less than others."""


def write_tiny_bundle(folder: Path) -> None:
    """Write the bundle; its embeddings are those of ONNX's reference implementation."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    from reid.calibration.intermediates import run_with_intermediates
    from reid.calibration.layers import find_layers
    from reid.calibration.quantize import quantize
    from reid.export.fp16 import write_fp16_graph
    from reid.export.graphs import save_graph

    (folder / "reference").mkdir(parents=True)
    _write_crops(folder / "reference")
    crops = sorted((folder / "reference").iterdir())
    frames = np.stack([as_model_input(decode(crop.read_bytes(), crop), _PREPROCESSING) for crop in crops])
    card = ModelCard(
        format_version=FORMAT_VERSION,
        fingerprint="reid-doctor",
        backbone="one convolution",
        levels=(Level(name="level1", size=_DIMENSIONS),),
        preprocessing=_PREPROCESSING,
        opset=_OPSET,
    )
    paths = {precision: folder / graph_file(precision) for precision in ("fp32", "fp16", "int8")}
    save_graph(_graph(card), paths["fp32"], "fp32")
    write_fp16_graph(paths["fp32"], paths["fp16"], frames)
    fp16, layers = onnx.load(paths["fp16"]), find_layers(onnx.load(paths["fp32"]))
    amax = {name: float(np.abs(values).max()) for name, values in run_with_intermediates(paths["fp32"], frames)}
    save_graph(quantize(fp16, layers, {layer.name for layer in layers}, amax), paths["int8"], "int8")
    inputs = {FRAMES: frames, POOLING: np.eye(len(frames), dtype=np.float32)}
    (embeddings,) = ReferenceEvaluator(str(paths["fp32"])).run([FRAME_EMBEDDING], inputs)
    np.save(folder / REFERENCE_EMBEDDINGS, embeddings.astype(np.float32))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    hashes = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
    whole = card.model_copy(update={"files": hashes, "similarity": {"int8": _INT8_AT_LEAST}})
    (folder / CARD_FILE).write_text(whole.model_dump_json(indent=2, exclude_defaults=True) + "\n")


def _write_crops(folder: Path) -> None:
    """Write pictures of soft colors, of several sizes; half of them as JPEG, which a GPU may decode."""
    random = np.random.default_rng(1)
    for number in range(_CROPS):
        coarse = random.integers(0, 256, (3, 3, 3)).astype(np.uint8)
        picture = cv2.resize(coarse, (24 + 2 * number, 20 + number), interpolation=cv2.INTER_CUBIC)
        suffix = (".png", ".jpg")[number % 2]
        encoded = cv2.imencode(suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, 90] if suffix == ".jpg" else [])[1]
        (folder / f"{number}{suffix}").write_bytes(encoded.tobytes())


def _graph(card: ModelCard):  # noqa: ANN202
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)

    def normal(*shape: int) -> NDArray[np.float32]:
        return random.normal(size=shape).astype(np.float32)

    weights = {
        "scale": np.float32(255 * np.array(card.preprocessing.std)).reshape(1, 3, 1, 1),
        "offset": np.float32(255 * np.array(card.preprocessing.mean)).reshape(1, 3, 1, 1),
        f"{BACKBONE}conv.weight": normal(_CHANNELS, 3, 3, 3) / np.float32(27**0.5),
        f"{BACKBONE}conv.bias": normal(_CHANNELS) / 4,
        f"{HEADS}0.weight": normal(_DIMENSIONS, _CHANNELS),
        f"{HEADS}0.bias": normal(_DIMENSIONS),
        "channels": np.array([1], np.int64),
        "positions": np.array([2, 3], np.int64),
        "least": np.float32(1e-12),
    }
    conv = [f"{BACKBONE}conv.{name}" for name in ("weight", "bias")]
    head = [f"{HEADS}0.{name}" for name in ("weight", "bias")]
    nodes = [
        ("Cast", [FRAMES], "as_float", {"to": TensorProto.FLOAT}),
        ("Sub", ["as_float", "offset"], "centered", {}),
        ("Div", ["centered", "scale"], "normalized", {}),
        ("Conv", ["normalized", *conv], "convolved", {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [2, 2]}),
        ("Relu", ["convolved"], "features", {}),
        ("ReduceMax", ["features", "positions"], "pooled_features", {"keepdims": 0}),
        ("Gemm", ["pooled_features", *head], "embedding", {"transB": 1}),
        ("ReduceL2", ["embedding", "channels"], "length", {"keepdims": 1}),
        ("Max", ["length", "least"], "divisor", {}),
        ("Div", ["embedding", "divisor"], FRAME_EMBEDDING, {}),
        ("MatMul", [POOLING, FRAME_EMBEDDING], POOLED, {}),
    ]
    pixels = ["frames_in_batch", 3, _SIZE, _SIZE]
    graph = helper.make_graph(
        [helper.make_node(op, inputs, [output], name=output, **more) for op, inputs, output, more in nodes],
        "tiny",
        [
            helper.make_tensor_value_info(FRAMES, TensorProto.UINT8, pixels),
            helper.make_tensor_value_info(POOLING, TensorProto.FLOAT, ["tracklets_in_batch", "frames_in_batch"]),
        ],
        [
            helper.make_tensor_value_info(FRAME_EMBEDDING, TensorProto.FLOAT, ["frames_in_batch", _DIMENSIONS]),
            helper.make_tensor_value_info(POOLED, TensorProto.FLOAT, ["tracklets_in_batch", _DIMENSIONS]),
        ],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    helper.set_model_props(model, {"reid.model_card": card.model_dump_json(exclude_defaults=True)})
    return model


if __name__ == "__main__":
    shutil.rmtree(STORED, ignore_errors=True)
    write_tiny_bundle(STORED)
