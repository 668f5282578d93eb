"""The graphs of models with the parts that a recipe may choose: their numbers beside PyTorch's, in both precisions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from reid.calibration.intermediates import float_tensors
from reid.export.fp16 import write_fp16_graph
from reid.export.graph import export_graph
from reid.runtime.model_card import FORMAT_VERSION, ModelCard
from reid.train.model.architecture import Architecture
from reid.train.model.backbone import create_backbone
from reid.train.model.checkpoint import describe
from reid.train.model.multi_level import FusedReID, MultiLevelReID

ARCHITECTURES = {
    "all": Architecture(pooling="max+gem", bnneck=True, last_stride=1, ibn="a"),
    "b": Architecture(ibn="b"),
    "neck": Architecture(pooling="max+avg", bnneck=True),
}


def create(architecture: Architecture) -> tuple[MultiLevelReID, ModelCard]:
    """A model whose statistics, scales and powers are none that would hide a mistake."""
    torch.manual_seed(0)
    backbone = create_backbone("test_resnet", (3, 4), image_size=64, weights="none", architecture=architecture)
    levels, preprocessing = describe(backbone, 8, 64)
    model = MultiLevelReID(backbone.module, backbone.indices, backbone.channels, levels, preprocessing, architecture)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(("pools", "bnneck")):
                parameter.mul_(torch.empty_like(parameter).uniform_(0.7, 1.4))
        features = model.train().features(torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8))
        model.after_neck(features)
    card = ModelCard(
        format_version=FORMAT_VERSION,
        fingerprint="0" * 64,
        backbone="test_resnet",
        levels=levels,
        preprocessing=preprocessing,
    )
    return model.eval(), card


@pytest.fixture(scope="module", params=ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MultiLevelReID]:
    model, card = create(request.param)
    path = tmp_path_factory.mktemp("graph") / "graph.onnx"
    export_graph(model, card, path)
    return path, model


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 3, 64, 64), dtype=np.uint8)


def run(graph: Path, frames: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    (embedding,) = session.run(["frame_embedding"], {"frames": frames, "pooling": np.eye(len(frames), dtype="f4")})
    return np.asarray(embedding)


@pytest.mark.parametrize("kind", ["random", "black", "white"])
def test_the_graph_equals_torch(exported: tuple[Path, MultiLevelReID], frames: np.ndarray, kind: str) -> None:
    graph, model = exported
    frames = {"random": frames, "black": 0 * frames, "white": 0 * frames + 255}[kind]
    with torch.inference_mode():
        expected, _ = FusedReID(model)(torch.from_numpy(frames), torch.eye(len(frames)))
    np.testing.assert_allclose(run(graph, frames), expected.numpy(), atol=1e-4)


def test_the_neck_is_folded_into_the_layer_before(exported: tuple[Path, MultiLevelReID]) -> None:
    """So is every batch normalization after a convolution; only IBN-a's, which follow a split, remain."""
    graph, model = exported
    kinds = Counter(node.op_type for node in onnx.load(graph).graph.node)
    assert kinds["Gemm"] == 2
    remaining = {"none": (0, 0), "a": (3, 3), "b": (0, 3)}[model.architecture.ibn]
    assert (kinds["BatchNormalization"], kinds["InstanceNormalization"]) == remaining


def test_the_fp16_graph_is_fp16_and_embeds_alike(
    exported: tuple[Path, MultiLevelReID], frames: np.ndarray, tmp_path: Path
) -> None:
    graph, _ = exported
    assert write_fp16_graph(graph, tmp_path / "fp16.onnx", frames) == ()
    assert (run(graph, frames) * run(tmp_path / "fp16.onnx", frames)).sum(axis=1).min() > 0.9999
    fp16 = onnx.load(tmp_path / "fp16.onnx")
    types = float_tensors(fp16)
    heavy = [node for node in fp16.graph.node if node.op_type in ("Conv", "Gemm")]
    assert {types[node.output[0]] for node in heavy} == {TensorProto.FLOAT16}
    accurate = [node for node in fp16.graph.node if node.op_type in ("Pow", "ReduceMean", "InstanceNormalization")]
    assert {types[node.output[0]] for node in accurate} <= {TensorProto.FLOAT}
