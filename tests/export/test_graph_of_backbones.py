"""The graphs of networks that are no ResNets, at a size that is not theirs, in all precisions and on two runtimes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from openvino import Core

from reid.calibration.graph_file import load_graph
from reid.calibration.intermediates import run_with_intermediates
from reid.calibration.layers import find_layers
from reid.calibration.quantize import quantize
from reid.export.fp16 import write_fp16_graph
from reid.export.graph import export_graph
from reid.runtime.model_card import FORMAT_VERSION, ModelCard
from reid.train.model.architecture import Architecture
from reid.train.model.backbone import create_backbone
from reid.train.model.checkpoint import describe
from reid.train.model.multi_level import FusedReID, MultiLevelReID

SIZE = 48
LEVELS = {"test_vit": (0, 1), "test_convnext": (0, 1), "osnet_x1_0": (1,)}


def create(name: str) -> tuple[MultiLevelReID, ModelCard]:
    torch.manual_seed(0)
    architecture = Architecture(bnneck=True)
    backbone = create_backbone(name, LEVELS[name], image_size=SIZE, weights="none", architecture=architecture)
    levels, preprocessing = describe(backbone, 8, SIZE)
    model = MultiLevelReID(backbone.module, backbone.indices, backbone.channels, levels, preprocessing, architecture)
    facts = {"format_version": FORMAT_VERSION, "fingerprint": "0" * 64, "backbone": name}
    return model.eval(), ModelCard(**facts, levels=levels, preprocessing=preprocessing)


def on_onnxruntime(graph: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["frame_embedding"], inputs)[0])


def on_openvino(graph: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    compiled = Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})  # not bfloat16
    return np.asarray(compiled(inputs)[compiled.output("frame_embedding")])


@pytest.mark.parametrize("name", LEVELS)
def test_all_precisions_embed_like_torch_on_every_runtime(name: str, tmp_path: Path) -> None:
    model, card = create(name)
    frames = np.random.default_rng(0).integers(0, 256, (4, 3, SIZE, SIZE), dtype=np.uint8)
    graphs = {precision: tmp_path / f"{precision}.onnx" for precision in ("fp32", "fp16", "int8")}
    export_graph(model, card, graphs["fp32"])
    write_fp16_graph(graphs["fp32"], graphs["fp16"], frames)
    layers = find_layers(load_graph(graphs["fp32"]))
    amax = {tensor: float(np.abs(values).max()) for tensor, values in run_with_intermediates(graphs["fp32"], frames)}
    onnx.save(quantize(load_graph(graphs["fp16"]), layers, layers.names, amax), graphs["int8"])
    assert layers.fraction(layers.names) > 0.85
    with torch.inference_mode():
        expected = FusedReID(model)(torch.from_numpy(frames), torch.eye(4))[0].numpy()
    inputs = {"frames": frames, "pooling": np.eye(4, dtype=np.float32)}
    for precision, least in (("fp32", 1 - 1e-5), ("fp16", 0.9999), ("int8", 0.95)):
        for run in (on_onnxruntime, on_openvino):
            assert (run(graphs[precision], inputs) * expected).sum(axis=1).min() > least, (precision, run)
