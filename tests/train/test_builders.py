from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.optim import SGD, AdamW

from reid.runtime.tracklet import Tracklet
from reid.train.builders import (
    build_augmentation,
    build_classifiers,
    build_ema_model,
    build_loss,
    build_model,
    build_sampler,
)
from reid.train.losses import IdentityLoss, RankedListLoss, SoftMarginTripletLoss
from reid.train.model.checkpoint import save_checkpoint
from reid.train.optimizer import build_optimizer
from reid.train.recipe import RECIPES, Recipe

POSTER = Recipe(backbone="resnet10t", weights="none", levels=(3, 4), embedding_size=8, image_size=64)
STRONG = RECIPES["strong"].changed(**{name: getattr(POSTER, name) for name in ("backbone", "weights", "levels")})


@pytest.fixture
def frames() -> torch.Tensor:
    return torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_posters_model_is_initialized_and_computed_as_ever(frames: torch.Tensor) -> None:
    """Bit for bit: backbone, then one linear layer per level, then one classifier per level, and nothing between."""
    torch.manual_seed(3)
    model, card, origin = build_model(POSTER)
    classifiers = build_classifiers(POSTER, card.levels, 5)
    torch.manual_seed(3)
    backbone = timm.create_model("resnet10t")
    heads = [nn.Linear(256, 8), nn.Linear(512, 8)]
    classes = [nn.Linear(8, 5, bias=False) for _ in range(2)]
    expected = {f"backbone.{key}": value for key, value in backbone.state_dict().items() if not key.startswith("fc")}
    expected |= {f"heads.{i}.{key}": value for i, head in enumerate(heads) for key, value in head.state_dict().items()}
    state = model.state_dict()
    assert origin is None
    assert list(state) == list(expected)
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(classifiers.heads, classes, strict=True))
    normalized = (frames - 255 * torch.tensor(card.preprocessing.mean)[:, None, None]) / (
        255 * torch.tensor(card.preprocessing.std)[:, None, None]
    )
    maps = backbone.forward_intermediates(normalized, indices=[3, 4], intermediates_only=True)
    for feature, head, level_map in zip(model.features(frames), heads, maps, strict=True):
        assert torch.equal(feature, head(level_map.amax(dim=(2, 3))))
    features = model.features(frames)
    assert all(a is b for a, b in zip(model.after_neck(features), features, strict=True))


def test_the_posters_loss_and_optimizer_are_as_they_were() -> None:
    model, card, _ = build_model(POSTER)
    classifiers = build_classifiers(POSTER, card.levels, 5)
    loss, optimizer = build_loss(POSTER, card.levels), build_optimizer(POSTER, model, classifiers)
    embeddings = [nn.functional.normalize(torch.randn(4, 8), dim=1) for _ in range(2)]
    logits, vehicle = [torch.randn(4, 5) for _ in range(2)], torch.tensor([0, 0, 1, 1])
    expected = sum(
        RankedListLoss()(embedding, vehicle) + IdentityLoss()(logit, vehicle)
        for embedding, logit in zip(embeddings, logits, strict=True)
    )
    assert torch.equal(loss(embeddings, logits, vehicle)[0], torch.as_tensor(expected))
    assert loss.state_dict() == {}
    learning = sorted(id(parameter) for group in optimizer.param_groups for parameter in group["params"])
    assert learning == sorted(id(parameter) for parameter in (*model.parameters(), *classifiers.parameters()))
    assert type(optimizer) is AdamW
    assert {group["factor"] for group in optimizer.param_groups} == {1.0}


def test_a_neck_is_between_metric_and_identity(frames: torch.Tensor) -> None:
    model, _, _ = build_model(POSTER.changed(bnneck=True))
    features = model.train().features(frames)
    for after, feature in zip(model.after_neck(features), features, strict=True):
        mean, std = feature.mean(dim=0), feature.var(dim=0, unbiased=False).add(1e-5).sqrt()
        torch.testing.assert_close(after, (feature - mean) / std)
    assert not any(neck.bias.requires_grad for neck in model.bnneck)
    model.eval()
    levels = [nn.functional.normalize(level, dim=1) for level in model.after_neck(model.features(frames))]
    torch.testing.assert_close(model(frames), torch.cat(levels, dim=1) / 2**0.5)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_heads_may_learn_at_another_rate(optimizer: str) -> None:
    recipe = POSTER.changed(optimizer=optimizer, head_rate=10.0, bnneck=True, pooling="gem")
    model, card, _ = build_model(recipe)
    built = build_optimizer(recipe, model, build_classifiers(recipe, card.levels, 5))
    assert type(built) is {"adamw": AdamW, "sgd": SGD}[optimizer]
    factors = {id(parameter): group["factor"] for group in built.param_groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        assert factors[id(parameter)] == (1.0 if name.startswith("backbone.") else 10.0), name
    assert len(factors) == len(list(model.parameters())) + 2


def test_all_parts_together_learn(frames: torch.Tensor) -> None:
    """In one step, every weight that can learn gets a gradient, and the average follows."""
    recipe = STRONG.changed(
        embedding_size=8,
        pooling="max+gem",
        bnneck=True,
        ibn="b",
        memory_size=6,
        identity_loss="circle",
        level_weights=(1.0, 2.0),
        average_decay=0.9,
    )
    model, card, _ = build_model(recipe)
    classifiers, loss = build_classifiers(recipe, card.levels, 2), build_loss(recipe, card.levels)
    optimizer, average = build_optimizer(recipe, model, classifiers), build_ema_model(recipe, model)
    features = model.train().features(frames)
    logits = classifiers(model.after_neck(features))
    embeddings = [nn.functional.normalize(feature.float(), dim=1) for feature in features]
    total, _ = loss(embeddings, logits, torch.tensor([0, 0, 1, 1]))
    total.backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {"bnneck.0.bias", "bnneck.1.bias"}
    optimizer.step()
    assert average is not None
    average.update(model)
    assert set(loss.state_dict()) == {f"metrics.{i}.memory.{name}" for i in (0, 1) for name in ("embedding", "vehicle")}
    assert loss.state_dict()["metrics.1.memory.vehicle"].tolist() == [-1, -1, 0, 0, 1, 1]


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_on_a_gpu_an_optimizer_is_one_kernel_which_no_step_waits_for(name: str) -> None:
    def optimizer(device: str) -> torch.optim.Optimizer:
        model, classifiers = nn.Module(), nn.Linear(2, 2, device=device)
        model.backbone = nn.Linear(2, 2, device=device)
        return build_optimizer(POSTER.changed(optimizer=name), model, classifiers)  # type: ignore[arg-type]

    assert not optimizer("cpu").defaults["fused"]
    with FakeTensorMode():  # needs no GPU
        assert optimizer("cuda").defaults["fused"]


def test_settings_reach_their_parts() -> None:
    _, card, _ = build_model(POSTER)
    soft = build_loss(POSTER.changed(loss="triplet", soft_margin=True), card.levels)
    assert all(isinstance(metric, SoftMarginTripletLoss) for metric in soft.metrics)
    assert build_classifiers(POSTER.changed(identity_loss="cosface"), card.levels, 5).cosine
    assert build_ema_model(POSTER, nn.Linear(1, 1)) is None
    vehicles = [0] * 8 + [1] * 8
    recipe = POSTER.changed(vehicles_per_batch=2, images_per_vehicle=4)
    images = [Tracklet(str(index), (Path(str(index)),), f"c{index % 4}", str(index // 8)) for index in range(16)]
    for batch in build_sampler(recipe.changed(sampling="cameras"), vehicles, images):
        assert {draw.index % 4 for draw in batch[:4]} == {0, 1, 2, 3}
    by_one = [replace(image, camera="c1") for image in images]
    tracks = [Tracklet(f"t{number}", (*by_one[number].frames, *by_one[number + 4].frames)) for number in (0, 1, 2, 3)]
    for batch in build_sampler(recipe.changed(sampling="tracklets"), vehicles, by_one, tracks):
        first = next(batch[start : start + 4] for start in (0, 4) if batch[start].index < 8)
        assert {draw.index % 4 for draw in first} == {0, 1, 2, 3}
    gray = torch.full((3, 64, 64), 9, dtype=torch.uint8)
    assert torch.equal(build_augmentation(POSTER.changed(erasing=0.0, color_jitter=0.0))(gray, 1), gray)
    assert (build_augmentation(POSTER.changed(erasing=1.0))(gray, 1) == 127).any()


def test_a_checkpoint_with_every_part_can_start_the_next_run(tmp_path: Path) -> None:
    recipe = STRONG.changed(embedding_size=8, pooling="max+gem", bnneck=True)
    model, card, _ = build_model(recipe)
    save_checkpoint(tmp_path, model, card, {})
    again, _, origin = build_model(POSTER.changed(weights=str(tmp_path / "checkpoint.safetensors")))
    assert origin is not None
    assert origin.trainer == "reid-train"
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, again.backbone.state_dict()[key]), key
