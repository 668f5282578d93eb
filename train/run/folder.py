"""A run's folder: what it leaves for people, and what it needs to go on after a stop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from reid.runtime.bundle import graph_file
from reid.runtime.errors import ReidError
from reid.runtime.storage import atomic_write, sha256_of
from reid.train.failures import NOT_FINITE_FILE
from reid.train.learner import Learner
from reid.train.recipe import Recipe
from reid.train.run.origin import ORIGIN_FILE
from reid.train.run.state import Progress, RunState

__all__ = ["RunFolder", "recipe_facts"]

_DATA = "data fingerprint"

# A run that was stopped in its first epoch leaves some of these, and can be started anew.
_OWN_NAMES = {
    ORIGIN_FILE,
    NOT_FINITE_FILE,
    "checkpoint.safetensors",
    "checkpoint.json",
    "last",
    "metrics.jsonl",
    "report.html",
    "tensorboard",
}
_PARTIAL = ".partial"


class RunFolder:
    """`runs/NAME`: checkpoint, last state, metrics.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state_file = path / "last" / "state.safetensors"
        self._metrics_file = path / "metrics.jsonl"

    @property
    def has_state(self) -> bool:
        """Whether there is something to resume."""
        return self._state_file.exists()

    def check(self, *, resume: bool) -> None:
        """Refuse a folder that is not what the user thinks it is.

        A run may be stopped before it stored anything, so `resume` is also right where there is no state yet.

        Raises:
            ReidError: a run is there already and `resume` is not set; or the folder holds something else.
        """
        if not self.path.exists():
            return
        if self.has_state:
            if not resume:
                raise ReidError(f"{self.path} exists; --resume continues it, --output names another folder")
        elif not self.path.is_dir() or self._foreign_names():
            raise ReidError(f"{self.path} exists and is not a run; --output names another folder")

    def _foreign_names(self) -> set[str]:
        names = {entry.name for entry in self.path.iterdir() if entry.suffix != _PARTIAL}
        return names - _OWN_NAMES

    def create(self) -> None:
        """Make the folder, without what a killed process left half-written, and the link `latest` beside it."""
        (self.path / "last").mkdir(parents=True, exist_ok=True)
        for folder in (self.path, self.path / "last"):
            for abandoned in folder.glob(f".*{_PARTIAL}"):
                abandoned.unlink(missing_ok=True)
        latest = self.path.parent / "latest"
        if latest.is_symlink() or not latest.exists():
            latest.unlink(missing_ok=True)
            latest.symlink_to(self.path.name)

    def save_state(self, state: RunState) -> None:
        """Store everything that the next step starts from."""
        state.write(self._state_file)

    def load_state(self, learner: Learner, facts: Mapping[str, Any]) -> Progress:
        """Restore what `save_state` stored, and say how far the run had come.

        Raises:
            ReidError: the state is damaged, or the run was started with other facts.
        """
        state = RunState.read(self._state_file)
        self._check_same_run(state.facts, json.loads(json.dumps(facts)))
        state.restore(learner)
        return state.progress

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
    """What must be the same when a run is resumed: all but how a step is computed, which memory may decide."""
    settings = {key: value for key, value in asdict(recipe).items() if key not in ("micro_batch", "compile")}
    # A bundle's INT8 scales are not in the run's state.
    graph = {"graph of qat": sha256_of(Path(recipe.qat) / graph_file("int8"))} if recipe.qat else {}
    return {**settings, **graph, _DATA: data_fingerprint}


def _flatten(row: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    numbers: list[tuple[str, float]] = []
    for key, value in row.items():
        if isinstance(value, Mapping):
            numbers += _flatten(value, f"{prefix}{key}/")
        elif isinstance(value, int | float):
            numbers.append((prefix + key, float(value)))
    return numbers
