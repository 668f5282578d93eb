"""A run's folder: what it leaves for people, and what it needs to go on after a stop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.tensorboard import SummaryWriter

from reid.runtime.errors import ReidError
from reid.runtime.storage import atomic_write
from reid.train.recipe import Recipe

__all__ = ["Progress", "RunFolder", "recipe_facts"]

_DATA = "data fingerprint"

# A run that was stopped in its first epoch leaves some of these, and can be started anew.
_OWN_NAMES = {"checkpoint.safetensors", "checkpoint.json", "last", "metrics.jsonl", "tensorboard"}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come.

    Attributes:
        epochs_done: whole epochs.
        best_epoch: the epoch of the stored checkpoint, counted from 1; 0 before the first.
        best_map: its held-out mAP, in percent.
    """

    epochs_done: int = 0
    best_epoch: int = 0
    best_map: float = -1.0


class RunFolder:
    """`runs/NAME`: checkpoint, last state, metrics.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state_file = path / "last" / "state.safetensors"
        self._metrics_file = path / "metrics.jsonl"

    def check(self, *, resume: bool) -> None:
        """Refuse a folder that is not what the user thinks it is.

        Raises:
            ReidError: a run is there already and `resume` is not set, or none is there and it is; or the folder holds
                something else.
        """
        if resume and not self._state_file.exists():
            raise ReidError(f"{self.path} has no run to resume; leave --resume out to start one")
        if resume or not self.path.exists():
            return
        if self._state_file.exists():
            raise ReidError(f"{self.path} exists; --resume continues it, --output names another folder")
        if not self.path.is_dir() or self._foreign_names():
            raise ReidError(f"{self.path} exists and is not a run; --output names another folder")

    def _foreign_names(self) -> set[str]:
        names = {entry.name for entry in self.path.iterdir() if entry.suffix != ".partial"}
        return names - _OWN_NAMES

    def create(self) -> None:
        """Make the folder, and the link `latest` beside it."""
        (self.path / "last").mkdir(parents=True, exist_ok=True)
        latest = self.path.parent / "latest"
        if latest.is_symlink() or not latest.exists():
            latest.unlink(missing_ok=True)
            latest.symlink_to(self.path.name)

    def save_state(
        self,
        modules: Mapping[str, nn.Module],
        optimizer: Optimizer,
        progress: Progress,
        facts: Mapping[str, Any],
    ) -> None:
        """Store everything that the next epoch starts from, in one file, so that it is never half new."""
        tensors = {
            f"{name}/{key}": value.detach().cpu().contiguous()
            for name, module in modules.items()
            for key, value in module.state_dict().items()
        }
        for index, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{slot}": value.detach().cpu().contiguous() for slot, value in slots.items()}
        metadata = {"progress": json.dumps(asdict(progress)), "facts": json.dumps(facts)}
        atomic_write(self._state_file, save(tensors, metadata=metadata))

    def load_state(self, modules: Mapping[str, nn.Module], optimizer: Optimizer, facts: Mapping[str, Any]) -> Progress:
        """Restore what `save_state` stored.

        Raises:
            ReidError: the state is damaged, or the run was started with other facts.
        """
        try:
            with safe_open(self._state_file, framework="pt") as stored:
                metadata = stored.metadata() or {}
                tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - not a mapping
        except SafetensorError as error:
            raise ReidError(f"{self._state_file} is damaged ({error}); start the run anew") from None
        if not {"facts", "progress"} <= metadata.keys():
            raise ReidError(f"{self._state_file} is not the state of a run; start the run anew")
        self._check_same_run(json.loads(metadata["facts"]), json.loads(json.dumps(facts)))
        for name, module in modules.items():
            module.load_state_dict(_strip(tensors, f"{name}/"), strict=True)
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in _strip(tensors, "optimizer/").items():
            index, _, slot = key.partition("/")
            slots.setdefault(int(index), {})[slot] = value
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
        return Progress(**json.loads(metadata["progress"]))

    def _check_same_run(self, stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        if stored.get(_DATA) != given.get(_DATA):
            raise ReidError(f"{self.path} was started with other training data; resume it with the data as it was")
        for key in sorted(stored.keys() | given.keys()):
            if stored.get(key) != given.get(key):
                raise ReidError(
                    f"{self.path} was started with {key} {stored.get(key)}, not {given.get(key)}; "
                    "resume it with the options that it was started with"
                )

    def log(self, row: Mapping[str, Any], board: SummaryWriter) -> None:
        """Add an epoch's row to metrics.jsonl and its numbers to TensorBoard."""
        with self._metrics_file.open("a") as file:
            file.write(json.dumps(row) + "\n")
        for name, value in _flatten(row):
            board.add_scalar(name, value, int(row["epoch"]))
        board.flush()

    def forget_after(self, epochs_done: int) -> None:
        """Drop the rows of epochs that the stored state does not know, which a stop between the two writes leaves."""
        if self._metrics_file.exists():
            rows = self._metrics_file.read_text().splitlines()
            known = "".join(f"{row}\n" for row in rows[:epochs_done])
            atomic_write(self._metrics_file, known.encode())


def recipe_facts(recipe: Recipe, data_fingerprint: str) -> dict[str, Any]:
    """What must be the same when a run is resumed."""
    return {**asdict(recipe), _DATA: data_fingerprint}


def _strip(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _flatten(row: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    numbers: list[tuple[str, float]] = []
    for key, value in row.items():
        if isinstance(value, Mapping):
            numbers += _flatten(value, f"{prefix}{key}/")
        elif isinstance(value, int | float):
            numbers.append((prefix + key, float(value)))
    return numbers
