"""The training loop: epochs of P x K batches, each followed by an evaluation on held-out vehicles."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch.optim import AdamW, Optimizer
from torch.utils.tensorboard import SummaryWriter

from reid.runtime.datasets.dataset import Dataset, Split
from reid.runtime.datasets.splitting import hold_out_vehicles
from reid.runtime.errors import ReidError
from reid.runtime.evaluation import PROTOCOLS, embed_data, evaluate_protocol
from reid.runtime.model_card import FORMAT_VERSION, ModelCard
from reid.train.backbone import create_backbone
from reid.train.checkpoint import describe, load_checkpoint, save_checkpoint
from reid.train.images import Images, TrainingBatch, training_batches, without_dead_vehicles
from reid.train.losses import METRIC_LOSSES
from reid.train.losses.identity import IdentityLoss
from reid.train.losses.multi_level import MultiLevelLoss
from reid.train.model import IdentityClassifiers, MultiLevelReID
from reid.train.provenance import data_fingerprint, reference_crops, run_facts
from reid.train.recipe import Recipe, learning_rate
from reid.train.run_folder import Progress, RunFolder, recipe_facts
from reid.train.sampler import PKSampler
from reid.train.session import TorchSession, best_device

__all__ = ["Outcome", "Watcher", "train"]


@dataclass(frozen=True, slots=True)
class Watcher:
    """Who is told how a run goes.

    Attributes:
        on_step: called with (epoch from 1, steps done, steps in the epoch).
        on_epoch: called with the epoch's row of metrics.jsonl.
        on_note: called with a sentence for people: what weights were loaded, which vehicles were left out.
    """

    on_step: Callable[[int, int, int], None] = lambda epoch, done, total: None
    on_epoch: Callable[[dict[str, Any]], None] = lambda row: None
    on_note: Callable[[str], None] = lambda sentence: None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run: the card of its best checkpoint, and how it went."""

    card: ModelCard
    progress: Progress


@dataclass(frozen=True, slots=True)
class _Learner:
    """Everything that learns, on one device."""

    model: MultiLevelReID
    classifiers: IdentityClassifiers
    loss: MultiLevelLoss
    optimizer: Optimizer
    device: torch.device

    def step(self, batch: TrainingBatch, rate: float) -> dict[str, float]:
        """Learn from one batch; give the loss and its parts."""
        frames, vehicles = (tensor.to(self.device, non_blocking=True) for tensor in (batch.frames, batch.vehicles))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            features = self.model.features(frames)
            logits = self.classifiers(features)
        embeddings = [F.normalize(feature.float(), dim=1) for feature in features]
        loss, parts = self.loss(embeddings, logits, vehicles)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.item()} | {name: part.item() for name, part in parts.items()}


def train(dataset: Dataset, recipe: Recipe, run: RunFolder, *, resume: bool, watcher: Watcher = Watcher()) -> Outcome:
    """Train a model and leave its best checkpoint in the run's folder.

    The result depends on the recipe, its seed and the data alone, not on the number of workers, nor on whether the
    run was stopped between two epochs and resumed.

    Args:
        dataset: whose training split is used; a share of its vehicles is held out to choose the best epoch.
        recipe: all settings.
        run: where to; already checked.
        resume: go on from the run's last whole epoch.
        watcher: is told how it goes.

    Raises:
        DataError: too few vehicles for the held-out part or for a batch.
        ReidError: the loss is not finite, or the run to resume is another one.
    """
    train_split, query, gallery, held_out = hold_out_vehicles(dataset.train, share=recipe.held_out, seed=recipe.seed)
    readable, dead_vehicles = without_dead_vehicles(train_split.images)
    if dead_vehicles:
        watcher.on_note(f"note: no image of these vehicles can be read, left out: {', '.join(dead_vehicles)}")
    images = Images(readable, recipe.image_size)
    sampler = PKSampler(images.vehicles, p=recipe.vehicles_per_batch, k=recipe.images_per_vehicle, seed=recipe.seed)
    learner, card = _prepare(recipe, images.identities, watcher, weights="none" if resume else recipe.weights)
    fingerprint = data_fingerprint(dataset)
    facts = recipe_facts(recipe, fingerprint)
    modules = {"model": learner.model, "classifiers": learner.classifiers}
    progress = run.load_state(modules, learner.optimizer, facts) if resume else Progress()
    card = card.model_copy(update={"training": run_facts(dataset, recipe, fingerprint, held_out)})
    reference = reference_crops(gallery.images)
    run.create()
    run.forget_after(progress.epochs_done)
    with SummaryWriter(str(run.path / "tensorboard"), purge_step=progress.epochs_done + 1) as board:
        for epoch in range(progress.epochs_done + 1, recipe.epochs + 1):
            row = _train_epoch(learner, images, sampler, recipe, epoch, watcher)
            row["held_out"] = _evaluate(learner, card, query, gallery)
            progress = _advance(progress, epoch, row["held_out"]["i2i"]["mAP"])
            if progress.best_epoch == epoch:
                facts_now = {**card.training, "best_epoch": epoch, "held_out": row["held_out"]}
                save_checkpoint(run.path, learner.model, card.model_copy(update={"training": facts_now}), reference)
            run.log(row, board)
            run.save_state(modules, learner.optimizer, progress, facts)
            watcher.on_epoch(row)
    return Outcome(load_checkpoint(run.path).card, progress)


def _prepare(recipe: Recipe, identities: int, watcher: Watcher, *, weights: str) -> tuple[_Learner, ModelCard]:
    torch.manual_seed(recipe.seed)
    device = best_device()
    backbone = create_backbone(recipe.backbone, recipe.levels, image_size=recipe.image_size, weights=weights)
    if backbone.weights_origin:
        watcher.on_note(str(backbone.weights_origin))
    levels, preprocessing = describe(backbone, recipe.embedding_size, recipe.image_size)
    model = MultiLevelReID(backbone.module, backbone.indices, backbone.channels, levels, preprocessing).to(device)
    model = model.to(memory_format=torch.channels_last)  # the faster layout on GPUs and on CPUs alike
    classifiers = IdentityClassifiers(levels, identities).to(device)
    loss = MultiLevelLoss(
        METRIC_LOSSES[recipe.loss](),
        IdentityLoss(),
        [level.name for level in levels],
        metric_weight=recipe.metric_weight,
        identity_weight=recipe.identity_weight,
    )
    parameters = [*model.parameters(), *classifiers.parameters()]
    optimizer = AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    card = ModelCard(
        format_version=FORMAT_VERSION,
        fingerprint="",
        backbone=recipe.backbone,
        levels=levels,
        preprocessing=preprocessing,
    )
    return _Learner(model, classifiers, loss, optimizer, device), card


def _train_epoch(
    learner: _Learner, images: Images, sampler: PKSampler, recipe: Recipe, epoch: int, watcher: Watcher
) -> dict[str, Any]:
    """Run one epoch and give its row of metrics, without the evaluation."""
    sampler.set_epoch(epoch)
    torch.manual_seed(recipe.seed + epoch)  # what backbones drop at random repeats on resume
    learner.model.train()
    sums: dict[str, float] = defaultdict(float)
    unreadable: set[str] = set()
    steps, started = len(sampler), time.perf_counter()
    batches = training_batches(images, sampler, pin_memory=learner.device.type == "cuda")
    for step, batch in enumerate(batches):
        values = learner.step(batch, learning_rate(recipe, epoch - 1 + step / steps))
        if not all(abs(value) < float("inf") for value in values.values()):
            raise ReidError(f"the loss is not finite at epoch {epoch}, step {step + 1}; lower the learning rate")
        for name, value in values.items():
            sums[name] += value / steps
        unreadable.update(batch.unreadable)
        watcher.on_step(epoch, step + 1, steps)
    seconds = time.perf_counter() - started
    frames = steps * sampler.p * sampler.k
    return {
        "epoch": epoch,
        "lr": learning_rate(recipe, epoch - 1 / steps),
        "train": dict(sums),
        "seconds": seconds,
        "images_per_second": frames / seconds,
        "unreadable": sorted(unreadable),
    }


def _evaluate(learner: _Learner, card: ModelCard, query: Split, gallery: Split) -> dict[str, dict[str, float | int]]:
    session = TorchSession(learner.model, card, learner.device)
    data = embed_data(session, query, gallery)
    return {name: evaluate_protocol(data, protocol).summary() for name, protocol in PROTOCOLS.items()}


def _advance(progress: Progress, epoch: int, held_out_map: float) -> Progress:
    if held_out_map > progress.best_map:
        return Progress(epoch, epoch, held_out_map)
    return Progress(epoch, progress.best_epoch, progress.best_map)
