from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import nn

from reid.runtime.model_card import Level, Preprocessing
from reid.train.model.backbone import create_backbone
from reid.train.model.checkpoint import describe
from reid.train.model.multi_level import FusedReID, IdentityClassifiers, MultiLevelReID

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


@pytest.fixture(scope="module")
def model() -> MultiLevelReID:
    torch.manual_seed(0)
    backbone = create_backbone("resnet10t", (2, 3, 4), image_size=64, weights="none")
    levels = [Level(name=f"level{index}", size=size) for index, size in ((2, 5), (3, 6), (4, 7))]
    preprocessing = Preprocessing(height=64, width=64, mean=MEAN, std=STD)
    return MultiLevelReID(backbone.module, backbone.indices, backbone.channels, levels, preprocessing).eval()


@pytest.fixture
def frames() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 64, 48), dtype=np.uint8))


def test_each_level_is_the_max_over_the_map_through_its_own_layer(model: MultiLevelReID, frames: torch.Tensor) -> None:
    """Compare with timm's own list of features of the same weights, with normalization and pooling by hand."""
    peer = timm.create_model("resnet10t", features_only=True, out_indices=(2, 3, 4)).eval()
    peer.load_state_dict(model.backbone.state_dict(), strict=True)
    pixels = frames.numpy().astype(np.float64) / 255
    normalized = (pixels - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    with torch.no_grad():
        maps = peer(torch.from_numpy(normalized).float())
        features = model.features(frames)
    for feature, head, level_map in zip(features, model.heads, maps, strict=True):
        pooled = level_map.numpy().reshape(*level_map.shape[:2], -1).max(axis=2)
        expected = pooled @ head.weight.detach().numpy().T + head.bias.detach().numpy()
        np.testing.assert_allclose(feature.numpy(), expected, atol=1e-4)


def test_levels_weigh_the_same_in_the_embedding(model: MultiLevelReID, frames: torch.Tensor) -> None:
    with torch.no_grad():
        embedding = model(frames).numpy()
    assert embedding.shape == (4, 5 + 6 + 7)
    for part in np.split(embedding, [5, 11], axis=1):
        np.testing.assert_allclose(np.linalg.norm(part, axis=1), 1 / np.sqrt(3), atol=1e-6)


def test_a_level_counts_by_its_weight(model: MultiLevelReID, frames: torch.Tensor) -> None:
    with torch.no_grad():
        alike = np.split(model(frames).numpy(), [5, 11], axis=1)
        model.weights = [0.5, 1.0, 2.0]
        try:
            weighted = np.split(model(frames).numpy(), [5, 11], axis=1)
        finally:
            model.weights = [1.0, 1.0, 1.0]
    for one, other, weight in zip(weighted, alike, (0.5, 1.0, 2.0), strict=True):
        np.testing.assert_allclose(one, other * np.sqrt(3) * weight / np.sqrt(0.25 + 1 + 4), atol=1e-6)


def test_pooled_is_the_weighted_sum_of_frame_embeddings(model: MultiLevelReID, frames: torch.Tensor) -> None:
    pooling = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.5, 2.0], [0.0, 0.0, 0.0, 0.0]])
    with torch.no_grad():
        frame_embedding, pooled = (output.numpy() for output in FusedReID(model)(frames, pooling))
    np.testing.assert_allclose(pooled[0], frame_embedding[0] + frame_embedding[1], atol=1e-6)
    np.testing.assert_allclose(pooled[1], 0.5 * frame_embedding[2] + 2 * frame_embedding[3], atol=1e-6)
    assert not pooled[2].any()


def test_normalization_is_not_a_weight(model: MultiLevelReID) -> None:
    assert not {"mean", "std"} & set(model.state_dict())


def test_classifiers_have_one_layer_per_level() -> None:
    levels = [Level(name="level3", size=3), Level(name="level4", size=4)]
    classifiers = IdentityClassifiers(levels, 10)
    logits = classifiers([torch.ones(2, 3), torch.ones(2, 4)])
    assert [tuple(logit.shape) for logit in logits] == [(2, 10), (2, 10)]


@pytest.mark.parametrize(
    ("name", "levels"),
    [("mobilenetv3_small_050", (1, 2, 4)), ("vit_tiny_patch16_224", (3, 7, 11)), ("convnext_atto", (1, 2, 3))],
)
def test_other_kinds_of_backbones_give_levels(name: str, levels: tuple[int, ...]) -> None:
    backbone = create_backbone(name, levels, image_size=64, weights="none")
    facts = describe(backbone, 8, 64)
    model = MultiLevelReID(backbone.module, backbone.indices, backbone.channels, *facts).eval()
    with torch.no_grad():
        embedding = model(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    assert embedding.shape == (2, 24)


def test_gradients_reach_every_weight_that_a_level_uses(model: MultiLevelReID, frames: torch.Tensor) -> None:
    sum(feature.square().sum() for feature in model.features(frames)).backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None]
    model.zero_grad(set_to_none=True)
    assert without == []
    assert all(isinstance(head, nn.Linear) for head in model.heads)
