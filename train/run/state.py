"""A run's state: every tensor and number that its next step depends on, in one file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, Json, JsonValue, model_validator
from torch import Tensor
from torch.optim import SGD, Optimizer

from reid.runtime.errors import ReidError
from reid.runtime.files.storage import atomic_write
from reid.runtime.files.validation import parse_stored
from reid.runtime.model_card import MOST_LEVELS
from reid.train.epoch_metrics import EpochMetrics
from reid.train.learner import Learner
from reid.train.recipe import MOST_EPOCHS
from reid.train.tensor_file import check_alike, hash_tensors, open_tensors, tensors_to_bytes

__all__ = ["Position", "RunState"]

_OPTIMIZER = "optimizer/"
_REMEDY = "start a new run"


class Position(BaseModel):
    """How far a run has come.

    Attributes:
        epochs_done: number of finished epochs.
        best_epoch: the epoch of the stored checkpoint, counted from 1; 0 before the first.
        best_map: held-out mAP of that epoch, in percent; -1 where no vehicles are held out.
        best_loss: held-out retrieval loss of that epoch; None where no vehicles are held out, and in a run that was
            begun when mAP chose the best epoch, where it still does.
        begun: the sums accumulated so far in the next epoch, if some of its steps are done.
        level_losses: weight of each level's losses from here on; empty for those of the recipe.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs_done: int = Field(default=0, ge=0, le=MOST_EPOCHS)
    best_epoch: int = Field(default=0, ge=0, le=MOST_EPOCHS)
    best_map: float = Field(default=-1.0, ge=-1, allow_inf_nan=False)
    best_loss: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    begun: EpochMetrics = EpochMetrics()
    level_losses: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(default=(), max_length=MOST_LEVELS)

    @model_validator(mode="after")
    def _check_best_epoch(self) -> Position:
        if self.best_epoch > self.epochs_done:
            raise ValueError(f"the best epoch is {self.best_epoch}, of {self.epochs_done} that are done")
        return self

    def after(self, epoch: int, found: Mapping[str, float] | None, level_losses: Iterable[float] = ()) -> Position:
        """Return the position after an epoch.

        Args:
            epoch: the epoch, counted from 1.
            found: its held-out scores of I2I. Where they are None, no vehicles are held out, and every epoch's
                checkpoint replaces that of the one before.
            level_losses: weight of each level's losses from here on; none for those of the recipe.
        """
        if found is None:
            return Position(epochs_done=epoch, best_epoch=epoch)
        began_with_map = self.best_epoch > 0 and self.best_loss is None
        loss = None if began_with_map else found["retrieval_loss"]
        position = Position(
            epochs_done=epoch,
            best_epoch=self.best_epoch,
            best_map=self.best_map,
            best_loss=self.best_loss,
            level_losses=tuple(level_losses),
        )
        # On ties, keep the later epoch: it has learned more, and at a lower rate.
        if self._is_best(found["mAP"], loss):
            return position.model_copy(update={"best_epoch": epoch, "best_map": found["mAP"], "best_loss": loss})
        return position

    def _is_best(self, mean_average_precision: float, loss: float | None) -> bool:
        if loss is None:
            return mean_average_precision >= self.best_map
        return self.best_loss is None or loss <= self.best_loss


@dataclass(frozen=True, slots=True)
class RunState:
    """The state from which a run continues.

    Attributes:
        position: the point that the run has reached.
        facts: facts that must not change when the run is resumed.
        tensors: tensors of everything that learns and of the optimizer, on the CPU.
        scaler: the loss scaler's numbers.
    """

    position: Position
    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    scaler: Mapping[str, Any]

    @classmethod
    def of(cls, learner: Learner, position: Position, facts: Mapping[str, Any]) -> RunState:
        """Return the present state of a learner."""
        tensors = {
            f"{name}/{key}": value
            for name, module in learner.modules.items()
            for key, value in module.state_dict().items()
        }
        for index, parameter in enumerate(learner.parameters()):
            slots = learner.optimizer.state.get(parameter, {})
            tensors |= {f"{_OPTIMIZER}{index}/{slot}": value for slot, value in slots.items() if value is not None}
        on_cpu = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        return cls(position, facts, on_cpu, learner.precision.scaler.state_dict())

    def restore(self, learner: Learner) -> None:
        """Load the state into a learner that was built with the same facts.

        Raises:
            ValueError: a tensor is missing or of another kind than the learner's. Then nothing has been loaded.
        """
        modules = {name: _strip(self.tensors, f"{name}/") for name in learner.modules}
        for name, module in learner.modules.items():
            check_alike(modules[name], module.state_dict())
        optimizer = _optimizer_state(learner, _strip(self.tensors, _OPTIMIZER))
        scaler = learner.precision.scaler
        if _types(self.scaler) != _types(scaler.state_dict()):
            raise ValueError("its loss scaler is another one")
        for name, module in learner.modules.items():
            module.load_state_dict(modules[name], strict=True)
        learner.optimizer.load_state_dict(optimizer)
        scaler.load_state_dict(dict(self.scaler))

    def write(self, file: Path) -> None:
        """Store everything in one file, so that it is never partly new."""
        texts = {
            "progress": self.position.model_dump_json(),
            "facts": json.dumps(self.facts),
            "scaler": json.dumps(self.scaler),
        }
        texts["sha256"] = _digest(self.tensors, texts)
        atomic_write(file, tensors_to_bytes(self.tensors, texts))

    @classmethod
    def read(cls, file: Path) -> RunState:
        """Read what `write` stored.

        Raises:
            ReidError: the file is damaged, is something else, or another version of reid wrote it.
        """
        stored = open_tensors(file, remedy=_REMEDY, error=ReidError)
        if not {"progress", "facts", "scaler"} <= stored.texts.keys():
            raise ReidError(f"{file} is not the state of a run; {_REMEDY}")
        remedy = "if another version of reid wrote it, use that version"
        texts = parse_stored(_Texts, json.dumps(stored.texts), file, what="state", remedy=remedy, error=ReidError)
        try:
            tensors = stored.read()
        except ValueError as error:
            raise ReidError(f"{file} is damaged ({error}); {_REMEDY}") from None
        if texts.sha256 not in (None, _digest(tensors, stored.texts)):
            raise ReidError(f"{file} is damaged (it is not as it was written); {_REMEDY}")
        return cls(texts.progress, texts.facts, tensors, texts.scaler)


class _Texts(BaseModel):
    """What the file holds beside the tensors; reid 0.1 stored no hash."""

    progress: Json[Position]
    facts: Json[dict[str, JsonValue]]
    scaler: Json[dict[str, Annotated[int | float, Field(ge=0, allow_inf_nan=False)]]]
    sha256: str | None = None


def _digest(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> str:
    """Return the SHA-256 of a state, so that no damage goes unnoticed; a checkpoint has its fingerprint."""
    digest = hashlib.sha256()
    for name in ("progress", "facts", "scaler"):
        digest.update(f"{name} {texts[name]}\n".encode())
    hash_tensors(digest, tensors)
    return digest.hexdigest()


def _optimizer_state(learner: Learner, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what the optimizer loads. Raises ValueError where a tensor is missing or of another kind than its own."""
    stored: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, slot = key.partition("/")
        stored.setdefault(index, {})[slot] = value
    optimizer = learner.optimizer
    grouped = (parameter for group in optimizer.param_groups for parameter in group["params"])
    places = {id(parameter): place for place, parameter in enumerate(grouped)}
    parameters = {str(index): parameter for index, parameter in enumerate(learner.parameters())}
    state: dict[int, dict[str, Tensor]] = {}
    for index, slots in stored.items():
        if index not in parameters:
            raise ValueError(f"the optimizer has no parameter {index[:20]!r}")
        parameter = parameters[index]
        check_alike(slots, _slots(optimizer, parameter))
        state[places[id(parameter)]] = {slot: _laid_out_like(parameter, value) for slot, value in slots.items()}
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}


def _slots(optimizer: Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """Return tensors of the kinds that an optimizer keeps for a parameter, by its names for them."""
    if isinstance(optimizer, SGD):
        return {"momentum_buffer": parameter}
    return {"step": torch.zeros(()), "exp_avg": parameter, "exp_avg_sq": parameter}


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """Return the value in the memory layout that the optimizer would have chosen, with which it is fast."""
    return torch.empty_like(parameter, device="cpu").copy_(value) if value.shape == parameter.shape else value


def _strip(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _types(facts: Mapping[str, Any]) -> dict[str, type]:
    return {name: type(value) for name, value in facts.items()}
