"""Everything that learns, on one device, and the training step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from reid.runtime.model_card import ModelCard
from reid.train.builders import build_classifiers, build_ema_model, build_loss, build_model
from reid.train.data.images import TrainingBatch
from reid.train.losses.multi_level import MultiLevelLoss
from reid.train.mixed_precision import MixedPrecision
from reid.train.model.backbone import freeze
from reid.train.model.multi_level import IdentityClassifiers, MultiLevelReID
from reid.train.model.weight_average import WeightAverage
from reid.train.optimizer import build_optimizer
from reid.train.parallel.global_batch import GlobalBatch
from reid.train.parallel.processes import Processes
from reid.train.parallel.synced_batch_norm import synchronize_batch_norm
from reid.train.recipe import Recipe
from reid.train.step_metrics import StepMetrics

__all__ = ["Learner", "build_learner"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Learner:
    """Everything that learns, on one device.

    Attributes:
        model: the model, which maps frames to features.
        classifiers: the classifiers, which map features to logits.
        loss: the loss of a whole batch's features; it may remember earlier batches.
        optimizer: the optimizer of all parameters.
        ema_model: the moving average of the model's weights, if the recipe asks for one.
        precision: the precision of a step's arithmetic.
        processes: the processes that train together, each on a share of every batch.
        clip_norm: gradient norm above which gradients are clipped; 0 never clips.
        micro_batch: number of frames computed at a time; 0 for all.
        network: `model.features`, perhaps compiled.
    """

    model: MultiLevelReID
    classifiers: IdentityClassifiers
    loss: MultiLevelLoss
    optimizer: Optimizer
    ema_model: WeightAverage | None
    precision: MixedPrecision
    processes: Processes
    clip_norm: float
    micro_batch: int
    network: Callable[[Tensor], list[Tensor]]

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The modules whose tensors a resumed run needs, by their names in its state."""
        modules: dict[str, nn.Module] = {"model": self.model, "classifiers": self.classifiers, "loss": self.loss}
        return modules if self.ema_model is None else {**modules, "average": self.ema_model}

    @property
    def evaluated_model(self) -> MultiLevelReID:
        """The model that is evaluated and stored: the moving average if there is one."""
        return self.model if self.ema_model is None else self.ema_model.module  # type: ignore[return-value]

    def parameters(self) -> list[nn.Parameter]:
        """Return all parameters, in an order that does not depend on how the optimizer groups them."""
        return [*self.model.parameters(), *self.classifiers.parameters()]

    def begin_epoch(self, *, frozen: bool, level_losses: Sequence[float] = ()) -> None:
        """Enter training mode.

        Args:
            frozen: whether the backbone does not learn.
            level_losses: weight of each level's losses from now on; empty to leave them as they are.
        """
        self.model.train()
        freeze(self.model.backbone, frozen)
        if level_losses:
            self.loss.level_weights = list(level_losses)

    def step(self, batch: TrainingBatch, rate: float, *, seed: int, micro_batch: int | None = None) -> StepMetrics:
        """Learn from one batch.

        Args:
            batch: this process's share of the batch.
            rate: the learning rate.
            seed: seed of what the network drops at random.
            micro_batch: number of frames computed at a time, in place of the learner's own.

        Returns:
            The loss and its parts over the whole batch, and the gradient's norm before clipping, not read yet.
        """
        frames, vehicles = (self._to_device(tensor) for tensor in (batch.frames, batch.vehicles))
        micro_batch = self.micro_batch if micro_batch is None else micro_batch
        whole = GlobalBatch(
            self._features,
            self.model.backbone,
            frames,
            micro_batch=micro_batch,
            seed=seed,
            processes=self.processes,
        )
        loss, parts = self._objective(whole.features, self.processes.gather(vehicles))
        self.optimizer.zero_grad(set_to_none=True)
        self.precision.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._share_out()
        whole.backward()
        norm = self._reduce_and_clip()
        # The scaler skips a step whose scaled gradient overflows, which is no failure.
        moved = norm.isfinite() if self.precision.scaler.is_enabled() else None
        self._update(rate, moved)
        norm = norm if moved is None else torch.where(moved, norm, 0)
        return StepMetrics({"loss": loss.detach(), **parts, "gradient_norm": norm})

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.processes.device, non_blocking=True)

    def _features(self, frames: Tensor) -> list[Tensor]:
        with self.precision.autocast():
            return self.network(frames)

    def _objective(self, features: Sequence[Tensor], vehicles: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of the whole batch and its parts; the features are leaves, which receive its gradient."""
        with self.precision.autocast():
            logits = self.classifiers(self.model.after_neck(features))
        embeddings = [F.normalize(feature.float(), dim=1) for feature in features]
        loss, parts = self.loss(embeddings, logits, vehicles)
        return loss, parts

    def _share_out(self) -> None:
        """Divide the gradients of what saw the whole batch by the number of processes, which later add them up."""
        if self.processes.count > 1:
            for gradient in self._gradients():
                gradient.div_(self.processes.count)

    def _reduce_and_clip(self) -> Tensor:
        gradients = self._gradients()
        self.processes.sum_(gradients)
        self.precision.scaler.unscale_(self.optimizer)
        norm = get_total_norm(gradients)
        if self.clip_norm:
            clip_grads_with_norm_(self.parameters(), self.clip_norm, norm)
        return norm

    def _update(self, rate: float, moved: Tensor | None) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self.precision.scaler.step(self.optimizer)
        self.precision.scaler.update()
        if self.ema_model:
            self.ema_model.update(self.model, moved)

    def _gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self.parameters() if parameter.grad is not None]


def build_learner(
    recipe: Recipe, identities: int, processes: Processes, *, resume: bool = False
) -> tuple[Learner, ModelCard]:
    """Build everything that learns, and the card of its model.

    Args:
        recipe: all settings.
        identities: number of training vehicles.
        processes: the processes that train together.
        resume: whether a state is going to be restored, so that no starting weights are needed.

    Raises:
        ModelError: there is no such model, or the weights do not fit.
        ReidError: the pretrained weights cannot be downloaded.
    """
    torch.manual_seed(recipe.seed)
    device = processes.device
    model, card, origin = build_model(recipe, resume=resume)
    if origin:
        logger.info("%s", origin)
    if processes.count > 1:
        synchronize_batch_norm(model.backbone, device)
    # channels_last is the faster layout on GPUs and on CPUs alike.
    model = model.to(device).to(memory_format=torch.channels_last)
    classifiers = build_classifiers(recipe, card.levels, identities).to(device)
    learner = Learner(
        model,
        classifiers,
        build_loss(recipe, card.levels).to(device),
        build_optimizer(recipe, model, classifiers),
        build_ema_model(recipe, model),
        MixedPrecision(recipe.precision, device),
        processes,
        clip_norm=recipe.clip_norm,
        micro_batch=recipe.micro_batch,
        network=torch.compile(model.features) if recipe.compile else model.features,
    )
    return learner, card
