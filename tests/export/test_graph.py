"""The fused graph: its shape as the design has it, and its numbers beside PyTorch's on random and extreme frames."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from reid.export.graph import OPSET, export_graph
from reid.runtime.errors import ModelError
from reid.runtime.model_card import FORMAT_VERSION, ModelCard
from reid.train.model.backbone import create_backbone
from reid.train.model.checkpoint import describe, load_checkpoint
from reid.train.model.multi_level import FusedReID, MultiLevelReID

SIZES = [(1, 1), (7, 3), (2, 5), (4, 4)]


def create(backbone_name: str, levels: tuple[int, ...], size: int) -> tuple[MultiLevelReID, ModelCard]:
    torch.manual_seed(0)
    backbone = create_backbone(backbone_name, levels, image_size=size, weights="none")
    level_facts, preprocessing = describe(backbone, 8, size)
    model = MultiLevelReID(backbone.module, backbone.indices, backbone.channels, level_facts, preprocessing)
    _settle_batch_statistics(model, size)
    card = ModelCard(
        format_version=FORMAT_VERSION,
        fingerprint="0" * 64,
        backbone=backbone_name,
        levels=level_facts,
        preprocessing=preprocessing,
    )
    return model.eval(), card


def _settle_batch_statistics(model: MultiLevelReID, size: int) -> None:
    """Give batch normalization statistics other than 0 and 1, so that folding them wrongly would show."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.train()(torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8))


def frames_like(kind: str, count: int, size: int) -> np.ndarray:
    random = np.random.default_rng(count).integers(0, 256, (count, 3, size, size)).astype(np.uint8)
    return {"random": random, "black": np.zeros_like(random), "white": np.full_like(random, 255)}[kind]


def assert_equals_torch(graph: Path, model: MultiLevelReID, size: int) -> None:
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    for count, tracklets in SIZES:
        for kind in ("random", "black", "white"):
            frames = frames_like(kind, count, size)
            pooling = np.random.default_rng(tracklets).uniform(size=(tracklets, count)).astype(np.float32)
            pooling /= pooling.sum(axis=1, keepdims=True)
            actual = session.run(["frame_embedding", "pooled"], {"frames": frames, "pooling": pooling})
            with torch.inference_mode():
                expected = FusedReID(model)(torch.from_numpy(frames), torch.from_numpy(pooling))
            assert actual[0].shape == (count, expected[0].shape[1])
            assert actual[1].shape == (tracklets, expected[0].shape[1])
            for one, other in zip(actual, expected, strict=True):
                np.testing.assert_allclose(one, other.numpy(), atol=1e-4)


def test_inputs_and_outputs_are_those_of_the_design(bundle: Path) -> None:
    graph = onnx.load(bundle / "model.fp32.onnx").graph
    found = {}
    for value in (*graph.input, *graph.output):
        tensor = value.type.tensor_type
        shape = [dim.dim_value if dim.HasField("dim_value") else "free" for dim in tensor.shape.dim]
        found[value.name] = (tensor.elem_type, shape)
    assert found == {
        "frames": (TensorProto.UINT8, ["free", 3, 64, 64]),
        "pooling": (TensorProto.FLOAT, ["free", "free"]),
        "frame_embedding": (TensorProto.FLOAT, ["free", 32]),
        "pooled": (TensorProto.FLOAT, ["free", 32]),
    }
    assert [value.name for value in graph.input] == ["frames", "pooling"]
    assert [value.name for value in graph.output] == ["frame_embedding", "pooled"]


def test_the_number_of_frames_is_one_and_the_same_in_both_inputs(bundle: Path) -> None:
    graph = onnx.load(bundle / "model.fp32.onnx").graph
    names = {value.name: [dim.dim_param for dim in value.type.tensor_type.shape.dim] for value in graph.input}
    assert names["frames"][0] == names["pooling"][1]
    assert names["frames"][0] != names["pooling"][0]


def test_the_graph_is_valid_self_contained_and_of_the_standard_opset(bundle: Path) -> None:
    model = onnx.load(bundle / "model.fp32.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")] == [
        ("", OPSET)
    ]
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert all(tensor.data_location == TensorProto.DEFAULT for tensor in model.graph.initializer)


def test_the_card_travels_in_the_metadata(bundle: Path, checkpoint: Path) -> None:
    metadata = {entry.key: entry.value for entry in onnx.load(bundle / "model.fp32.onnx").metadata_props}
    card = ModelCard.model_validate_json(metadata["reid.model_card"])
    assert card == load_checkpoint(checkpoint).card.model_copy(update={"opset": OPSET})


def test_the_bundles_graph_equals_torch(bundle: Path, checkpoint: Path) -> None:
    assert_equals_torch(bundle / "model.fp32.onnx", load_checkpoint(checkpoint).model, 64)


@pytest.mark.parametrize(
    ("backbone", "levels", "size"),
    [
        # Two levels of a network's beginning have all its operations, and a third of its nodes.
        ("mobilenetv3_small_050", (1, 2), 64),
        ("tf_efficientnet_lite0", (1, 2), 64),
        ("test_vit", (0, 1), 48),
        ("convnext_atto", (0, 1), 64),
    ],
)
def test_graphs_of_other_backbones_equal_torch(
    backbone: str, levels: tuple[int, ...], size: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, card = create(backbone, levels, size)
    capfd.readouterr()
    export_graph(model, card, tmp_path / "graph.onnx")
    assert capfd.readouterr() == ("", "")
    assert_equals_torch(tmp_path / "graph.onnx", model, size)


def test_the_graph_has_the_weights_of_the_levels(tmp_path: Path) -> None:
    model, card = create("mobilenetv3_small_050", (1, 2), 32)
    model.weights = [0.3, 1.0]
    export_graph(model, card, tmp_path / "graph.onnx")
    assert_equals_torch(tmp_path / "graph.onnx", model, 32)


def test_frames_of_another_size_or_type_are_refused_by_the_graph(bundle: Path) -> None:
    session = onnxruntime.InferenceSession(str(bundle / "model.fp32.onnx"), providers=["CPUExecutionProvider"])
    pooling = np.ones((1, 2), np.float32)
    for frames in (np.zeros((2, 3, 32, 64), np.uint8), np.zeros((2, 3, 64, 64), np.float32)):
        with pytest.raises(Exception, match=r"INVALID_ARGUMENT|Unexpected input data type"):
            session.run(None, {"frames": frames, "pooling": pooling})


def test_a_model_that_cannot_be_exported_is_one_line_with_its_name(checkpoint: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(checkpoint)

    class Branching(torch.nn.Module):
        """Does something else for bright frames, which no graph can express."""

        def forward_intermediates(self, frames: torch.Tensor, **_: object) -> list[torch.Tensor]:
            return [frames, frames] if frames.mean() > 0 else [frames * 2, frames]

    loaded.model.backbone = Branching()
    with pytest.raises(ModelError, match="test_resnet cannot be exported") as caught:
        export_graph(loaded.model, loaded.card, tmp_path / "graph.onnx")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
