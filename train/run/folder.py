"""A run's folder: what a run leaves for people, and what it needs to be resumed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard.summary import scalar

from reid.data.dataset import Dataset
from reid.runtime.bundle import graph_file
from reid.runtime.errors import ReidError
from reid.runtime.files.ownership import belongs_to_us, is_ours
from reid.runtime.files.reading import sha256_of
from reid.runtime.files.storage import atomic_symlink, check_apart
from reid.train.failures import NOT_FINITE_FILE
from reid.train.learner import Learner
from reid.train.recipe import Recipe, current_names
from reid.train.run.board import Board
from reid.train.run.metrics import METRICS_FILE, read_rows, write_rows
from reid.train.run.origin import ORIGIN_FILE
from reid.train.run.state import Position, RunState

__all__ = ["RunFolder", "inputs_of", "recipe_facts"]

_SAVE_EVERY = 300.0
"""Default time between two states within an epoch, in seconds."""

_DATA = "data fingerprint"

# A run that was stopped in its first epoch leaves some of these files, and can be started again.
_OWN_NAMES = {
    ORIGIN_FILE,
    NOT_FINITE_FILE,
    "checkpoint.safetensors",
    "checkpoint.json",
    "last",
    METRICS_FILE,
    "report.html",
    "tensorboard",
}
_STATE = "state.safetensors"
_PARTIAL = ".partial"


class RunFolder:
    """`runs/NAME`: checkpoint, last state, metrics.

    Args:
        path: the folder.
        save_every: time between two states within an epoch, in seconds.
    """

    def __init__(self, path: Path, save_every: float = _SAVE_EVERY) -> None:
        self.path = path
        self.save_every = save_every
        self._state_file = path / "last" / _STATE

    @property
    def has_state(self) -> bool:
        """Whether there is a state to resume from."""
        return self._state_file.exists()

    def check(self, *, resume: bool, inputs: Iterable[Path] = ()) -> None:
        """Refuse a folder that is not what the user takes it for.

        A run may be stopped before it stores anything, so `resume` is also valid where there is no state yet.

        Args:
            resume: whether to go on from a state.
            inputs: files and folders that the run reads. The folder must be none of these, hold none, and lie in none.

        Raises:
            ReidError: there is a run already and `resume` is not set, or the folder holds something else, or it is not
                apart from the inputs.
        """
        check_apart(self.path, inputs)
        if not self.path.exists():
            return
        if self.has_state:
            if not resume:
                raise ReidError(f"{self.path} exists; --resume continues it, --output names another folder")
        elif not self.path.is_dir() or self._foreign_names():
            raise ReidError(f"{self.path} exists and is not a run; --output names another folder")

    def _foreign_names(self) -> set[str]:
        return {entry.name for entry in self.path.iterdir() if not _is_partial(entry)} - _OWN_NAMES

    def create(self) -> None:
        """Make the folder and the link `latest` beside it, and remove what earlier tries left.

        Of a run that begins, these are all results; of one that goes on from a state, the report on the step that
        stopped it. Partial files of killed processes go, too. Only our own files are removed.
        """
        (self.path / "last").mkdir(parents=True, exist_ok=True)
        events = (self.path / "tensorboard").glob("events.out.tfevents.*")
        results = [self.path / name for name in _OWN_NAMES]
        for path in [self.path / NOT_FINITE_FILE] if self.has_state else [*results, *events]:
            if path.is_file() and belongs_to_us(path):
                path.unlink()
        for folder in (self.path, self.path / "last"):
            for entry in folder.iterdir():
                if _is_partial(entry) and entry.is_file() and is_ours(entry):
                    entry.unlink(missing_ok=True)
        latest = self.path.parent / "latest"
        if latest.is_symlink() or not latest.exists():
            atomic_symlink(latest, self.path.name)

    def save_state(self, state: RunState) -> None:
        """Store everything that the next step depends on."""
        state.write(self._state_file)

    def load_state(self, learner: Learner, facts: Mapping[str, Any]) -> Position:
        """Restore what `save_state` stored, and return how far the run had come.

        Raises:
            ReidError: the state is damaged, or the run was started with other facts. Then nothing is restored.
        """
        state = RunState.read(self._state_file)
        # What an older reid had no setting for was as in the poster's recipe.
        stored = {**Recipe().model_dump(mode="json", include=set(facts)), **current_names(state.facts)}
        self._check_same_run(stored, json.loads(json.dumps(facts)))
        try:
            state.restore(learner)
        except ValueError as error:
            raise ReidError(f"{self._state_file} does not fit the run ({error}); start a new run") from None
        return state.position

    def _check_same_run(self, stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        if stored.get(_DATA) != given.get(_DATA):
            raise ReidError(f"{self.path} was started with other training data; resume it with the data as it was")
        for key in sorted(stored.keys() | given.keys()):
            if stored.get(key) != given.get(key):
                raise ReidError(
                    f"{self.path} was started with {_shown(key)} {_shown(stored.get(key))}, not "
                    f"{_shown(given.get(key))}; resume it with the options it was started with"
                )

    def log(self, row: Mapping[str, Any], board: Board) -> None:
        """Add an epoch's row to metrics.jsonl and its numbers to TensorBoard."""
        write_rows(self.path, [*read_rows(self.path), row])
        for name, value in _flatten(row):
            board.add(scalar(name, value), int(row["epoch"]))  # type: ignore[no-untyped-call]
        board.flush()

    def forget_after(self, epochs_done: int) -> None:
        """Drop the rows of epochs after the stored state, which a stop between the two writes leaves.

        Raises:
            ReidError: there are rows, and they cannot be read.
        """
        if (self.path / METRICS_FILE).exists():
            write_rows(self.path, read_rows(self.path, at_most=epochs_done))


def _is_partial(entry: Path) -> bool:
    """Return whether a name is one that `atomic_write` uses for a file of a run before it is whole."""
    return entry.suffix == _PARTIAL and entry.name.startswith(tuple(f".{name}." for name in (*_OWN_NAMES, _STATE)))


def _shown(value: object) -> str:
    return " ".join(str(value).split())[:200]


def inputs_of(dataset: Dataset, recipe: Recipe) -> list[Path]:
    """Return the files and folders that a run reads."""
    named = [recipe.weights_file, Path(recipe.qat) if recipe.qat else None]
    return [dataset.root, *(path for path in named if path and path.exists())]


def recipe_facts(recipe: Recipe, data_fingerprint: str) -> dict[str, Any]:
    """Return what must not change when a run is resumed: all settings but those of how a step is computed."""
    settings = recipe.model_dump(mode="json", exclude={"micro_batch", "compile"})
    # The run's state does not hold the scales of the INT8 graph.
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
