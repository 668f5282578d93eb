"""A run's state: every tensor and number that its next step depends on, in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.optim import Optimizer

from reid.runtime.errors import ReidError
from reid.runtime.storage import atomic_write
from reid.train.learner import Learner
from reid.train.tally import Tally

__all__ = ["Progress", "RunState"]

_OPTIMIZER = "optimizer/"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come.

    Attributes:
        epochs_done: whole epochs.
        best_epoch: the epoch of the stored checkpoint, counted from 1; 0 before the first.
        best_map: its held-out mAP, in percent.
        begun: the epoch after these, if some of its steps are done.
    """

    epochs_done: int = 0
    best_epoch: int = 0
    best_map: float = -1.0
    begun: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True)
class RunState:
    """What a run goes on from.

    Attributes:
        progress: how far it came.
        facts: that must be the same when it goes on.
        tensors: of what learns and of the optimizer, on the CPU.
        scaler: the loss scaler's numbers.
    """

    progress: Progress
    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    scaler: Mapping[str, Any]

    @classmethod
    def of(cls, learner: Learner, progress: Progress, facts: Mapping[str, Any]) -> RunState:
        """Take the state of what learns."""
        tensors = {
            f"{name}/{key}": value
            for name, module in learner.modules.items()
            for key, value in module.state_dict().items()
        }
        for index, slots in learner.optimizer.state_dict()["state"].items():
            tensors |= {f"{_OPTIMIZER}{index}/{slot}": value for slot, value in slots.items() if value is not None}
        on_cpu = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        return cls(progress, facts, on_cpu, learner.precision.scaler.state_dict())

    def restore(self, learner: Learner) -> None:
        """Put it back, into what was built with the same facts."""
        for name, module in learner.modules.items():
            module.load_state_dict(_strip(self.tensors, f"{name}/"), strict=True)
        _restore_optimizer(learner.optimizer, _strip(self.tensors, _OPTIMIZER))
        learner.precision.scaler.load_state_dict(dict(self.scaler))

    def write(self, file: Path) -> None:
        """Store everything in one file, so that it is never half new."""
        metadata = {
            "progress": json.dumps(asdict(self.progress)),
            "facts": json.dumps(self.facts),
            "scaler": json.dumps(self.scaler),
        }
        atomic_write(file, save(dict(self.tensors), metadata=metadata))

    @classmethod
    def read(cls, file: Path) -> RunState:
        """Read what `write` stored.

        Raises:
            ReidError: it is damaged, or something else.
        """
        try:
            with safe_open(file, framework="pt") as stored:
                metadata = stored.metadata() or {}
                tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - not a mapping
        except SafetensorError as error:
            raise ReidError(f"{file} is damaged ({error}); start the run anew") from None
        if not {"progress", "facts", "scaler"} <= metadata.keys():
            raise ReidError(f"{file} is not the state of a run; start the run anew")
        progress = json.loads(metadata["progress"])
        begun = Tally(**progress.pop("begun"))
        return cls(
            Progress(**progress, begun=begun), json.loads(metadata["facts"]), tensors, json.loads(metadata["scaler"])
        )


def _restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, slot = key.partition("/")
        slots.setdefault(int(index), {})[slot] = _laid_out_like(parameters[int(index)], value)
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """Give the value the memory layout that the optimizer would have chosen, with which it is fast."""
    return torch.empty_like(parameter, device="cpu").copy_(value) if value.shape == parameter.shape else value


def _strip(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
