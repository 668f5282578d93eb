"""A run's state: every tensor and number that its next step depends on, in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.optim import Optimizer

from reid.runtime.errors import ReidError
from reid.runtime.storage import atomic_write
from reid.runtime.validation import first_problem
from reid.train.epoch_metrics import EpochMetrics
from reid.train.learner import Learner

__all__ = ["Position", "RunState"]

_OPTIMIZER = "optimizer/"


class Position(BaseModel):
    """How far a run has come.

    Attributes:
        epochs_done: number of finished epochs.
        best_epoch: the epoch of the stored checkpoint, counted from 1; 0 before the first.
        best_map: held-out mAP of that epoch, in percent.
        begun: the sums accumulated so far in the next epoch, if some of its steps are done.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs_done: int = 0
    best_epoch: int = 0
    best_map: float = -1.0
    begun: EpochMetrics = EpochMetrics()

    def after(self, epoch: int, held_out_map: float) -> Position:
        """Return the position after an epoch, counted from 1, with this held-out mAP, in percent."""
        # On ties, keep the later epoch: it has learned more, and at a lower rate.
        if held_out_map >= self.best_map:
            return Position(epochs_done=epoch, best_epoch=epoch, best_map=held_out_map)
        return Position(epochs_done=epoch, best_epoch=self.best_epoch, best_map=self.best_map)


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
        for index, slots in learner.optimizer.state_dict()["state"].items():
            tensors |= {f"{_OPTIMIZER}{index}/{slot}": value for slot, value in slots.items() if value is not None}
        on_cpu = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        return cls(position, facts, on_cpu, learner.precision.scaler.state_dict())

    def restore(self, learner: Learner) -> None:
        """Load the state into a learner that was built with the same facts."""
        for name, module in learner.modules.items():
            module.load_state_dict(_strip(self.tensors, f"{name}/"), strict=True)
        _restore_optimizer(learner.optimizer, _strip(self.tensors, _OPTIMIZER))
        learner.precision.scaler.load_state_dict(dict(self.scaler))

    def write(self, file: Path) -> None:
        """Store everything in one file, so that it is never partly new."""
        metadata = {
            "progress": self.position.model_dump_json(),
            "facts": json.dumps(self.facts),
            "scaler": json.dumps(self.scaler),
        }
        atomic_write(file, save(dict(self.tensors), metadata=metadata))

    @classmethod
    def read(cls, file: Path) -> RunState:
        """Read what `write` stored.

        Raises:
            ReidError: the file is damaged, is something else, or another version of reid wrote it.
        """
        try:
            with safe_open(file, framework="pt") as stored:
                metadata = stored.metadata() or {}
                tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - not a mapping
        except SafetensorError as error:
            raise ReidError(f"{file} is damaged ({error}); start a new run") from None
        if not {"progress", "facts", "scaler"} <= metadata.keys():
            raise ReidError(f"{file} is not the state of a run; start a new run")
        try:
            position = Position.model_validate_json(metadata["progress"])
        except ValidationError as error:
            raise ReidError(
                f"{file} cannot be read ({first_problem(error)}); if another version of reid wrote it, use that version"
            ) from None
        return cls(position, json.loads(metadata["facts"]), tensors, json.loads(metadata["scaler"]))


def _restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, slot = key.partition("/")
        slots.setdefault(int(index), {})[slot] = _laid_out_like(parameters[int(index)], value)
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """Return the value in the memory layout that the optimizer would have chosen, with which it is fast."""
    return torch.empty_like(parameter, device="cpu").copy_(value) if value.shape == parameter.shape else value


def _strip(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
