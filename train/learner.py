"""What learns: model, classifiers, loss and optimizer on one device, and the step that they take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own convention
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from reid.runtime.model_card import ModelCard
from reid.train.builders import build_average, build_classifiers, build_loss, build_model, build_optimizer
from reid.train.data.images import TrainingBatch
from reid.train.losses.multi_level import MultiLevelLoss
from reid.train.model.backbone import freeze
from reid.train.model.multi_level import IdentityClassifiers, MultiLevelReID
from reid.train.parallel.global_batch import GlobalBatch
from reid.train.parallel.processes import Processes
from reid.train.parallel.synced_batch_norm import synchronize_batch_norm
from reid.train.precision import Precision
from reid.train.recipe import Recipe
from reid.train.step_values import StepValues

__all__ = ["Learner", "build_learner"]


@dataclass(frozen=True, slots=True)
class Learner:
    """Everything that learns, on one device.

    Attributes:
        model: frames to features.
        classifiers: features to logits.
        loss: of the features of a whole batch; it may remember the batches before.
        optimizer: of all parameters.
        average: of the model's weights over the steps, if that is what is kept.
        precision: of the numbers.
        processes: that learn the same from parts of the same batches.
        clip_norm: longest gradient; 0 for any.
        micro_batch: frames at a time; 0 for all.
        network: `model.features` or, compiled, the same.
    """

    model: MultiLevelReID
    classifiers: IdentityClassifiers
    loss: MultiLevelLoss
    optimizer: Optimizer
    average: AveragedModel | None
    precision: Precision
    processes: Processes
    clip_norm: float
    micro_batch: int
    network: Callable[[Tensor], list[Tensor]]

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What has tensors that a resumed run needs, by a name for its state."""
        modules: dict[str, nn.Module] = {"model": self.model, "classifiers": self.classifiers, "loss": self.loss}
        return modules if self.average is None else {**modules, "average": self.average}

    @property
    def kept(self) -> MultiLevelReID:
        """The model that is evaluated and stored: the average if there is one."""
        return self.model if self.average is None else self.average.module  # type: ignore[return-value]

    def begin_epoch(self, *, frozen: bool) -> None:
        """Enter training mode, with a backbone that learns or not."""
        self.model.train()
        freeze(self.model.backbone, frozen)

    def step(self, batch: TrainingBatch, rate: float, *, seed: int, micro_batch: int | None = None) -> StepValues:
        """Learn from one batch, of which this process has its share.

        Args:
            batch: this process's frames.
            rate: learning rate.
            seed: of what the network drops at random.
            micro_batch: instead of the learner's own.

        Returns:
            The loss and its parts over the whole batch, and the gradient's norm before it is clipped. Not read yet.
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
        self._update(rate)
        return StepValues({"loss": loss.detach(), **parts, "gradient_norm": norm})

    def _to_device(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.processes.device, non_blocking=True)

    def _features(self, frames: Tensor) -> list[Tensor]:
        with self.precision.autocast():
            return self.network(frames)

    def _objective(self, features: Sequence[Tensor], vehicles: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the loss of the whole batch and its parts; the features are leaves that get their gradients by it."""
        with self.precision.autocast():
            logits = self.classifiers(self.model.behind_neck(features))
        embeddings = [F.normalize(feature.float(), dim=1) for feature in features]
        loss, parts = self.loss(embeddings, logits, vehicles)
        return loss, parts

    def _share_out(self) -> None:
        """Leave this process its share of the gradients of what saw the whole batch, as all the others do."""
        if self.processes.count > 1:
            for gradient in self._gradients():
                gradient.div_(self.processes.count)

    def _reduce_and_clip(self) -> Tensor:
        gradients = self._gradients()
        self.processes.sum_(gradients)
        self.precision.scaler.unscale_(self.optimizer)
        norm = get_total_norm(gradients)
        if self.clip_norm:
            clip_grads_with_norm_(self._parameters(), self.clip_norm, norm)
        if self.precision.scaler.is_enabled():  # it leaves out a step whose scaled gradient overflows: no failure
            norm = torch.where(norm.isfinite(), norm, 0)
        return norm

    def _update(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self.precision.scaler.step(self.optimizer)
        self.precision.scaler.update()
        if self.average:
            self.average.update_parameters(self.model)

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def _gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self._parameters() if parameter.grad is not None]


def build_learner(
    recipe: Recipe, identities: int, processes: Processes, *, weights: str, note: Callable[[str], None]
) -> tuple[Learner, ModelCard]:
    """Build everything that learns, and the card of its model.

    Args:
        recipe: all settings but the weights.
        identities: number of training vehicles.
        processes: that learn together.
        weights: "default", "none" or a file.
        note: is told what was taken from a file of weights.

    Raises:
        ModelError: there is no such model, or the weights do not fit.
        ReidError: a switch has a value that there is not, or pretrained weights cannot be had.
    """
    torch.manual_seed(recipe.seed)
    device = processes.device
    model, card, origin = build_model(recipe, weights=weights)
    if origin:
        note(str(origin))
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
        build_average(recipe, model),
        Precision(recipe.precision, device),
        processes,
        clip_norm=recipe.clip_norm,
        micro_batch=recipe.micro_batch,
        network=torch.compile(model.features) if recipe.compile else model.features,
    )
    return learner, card
