"""`run.json`: where a run comes from, and everything that is needed to repeat it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from reid.runtime.errors import DataError, ModelError, ReidError
from reid.runtime.storage import atomic_write, sha256_of
from reid.train.parallel.processes import Processes
from reid.train.recipe import Recipe
from reid.train.run.provenance import versions

__all__ = ["ORIGIN_FILE", "Origin", "keep_origin", "read_origin"]

ORIGIN_FILE = "run.json"
_WEIGHTS = "weights_sha256"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a run was started with.

    Attributes:
        recipe: all settings.
        data: folder of the data set.
        layout: of the data set.
        facts: all that `run.json` holds.
    """

    recipe: Recipe
    data: Path
    layout: str
    facts: Mapping[str, Any]

    def check(self, fingerprint: str) -> None:
        """Refuse to repeat the run with other data or other starting weights.

        Args:
            fingerprint: of the data.

        Raises:
            DataError: the data is not what it was.
            ModelError: nor are the weights.
        """
        if fingerprint != self.facts["data"]["fingerprint"]:
            raise DataError(f"{self.data} is not the training data of that run any more; give a folder that is as DATA")
        if _weights(asdict(self.recipe)).get(_WEIGHTS) != self.facts.get(_WEIGHTS):
            raise ModelError(f"{self.recipe.weights} is not the file of weights of that run any more; put it back")

    def changes(self, processes: Processes) -> list[str]:
        """Say which versions and what of the machine differ, which changes the last bits of a result."""
        now = {"versions": versions(), "machine": _machine(processes)}
        return [
            f"{name} was {self.facts[kind].get(name)} and is {now[kind].get(name)}"
            for kind in now
            for name in sorted(self.facts[kind].keys() | now[kind].keys())
            if self.facts[kind].get(name) != now[kind].get(name)
        ]


def read_origin(run: Path) -> Origin:
    """Read what a run was started with.

    Raises:
        ReidError: there is no run, or it is of a version with other settings.
    """
    file = run / ORIGIN_FILE
    if not file.is_file():
        raise ReidError(f"{run} has no {ORIGIN_FILE}, so it is not a run that can be repeated")
    try:
        facts = json.loads(file.read_text())
        settings: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in facts["recipe"].items()
        }
        return Origin(Recipe(**settings), Path(facts["data_path"]), facts["data"]["layout"], facts)
    except (KeyError, TypeError, ValueError) as error:
        raise ReidError(f"{file} cannot be read ({error}); was it written by another version of reid?") from None


def keep_origin(
    run: Path,
    facts: dict[str, Any],
    data: Path,
    processes: Processes,
    *,
    resume: bool,
    note: Callable[[str], None],
) -> dict[str, Any]:
    """Write `run.json` if the run starts; if it goes on, say what has changed since.

    Args:
        run: the folder.
        facts: of `run_facts`, that go into the checkpoint.
        data: folder of the data set.
        processes: that train.
        resume: the run goes on from a state. One that was stopped before its first state starts anew, perhaps with
            other settings than are in the `run.json` that it left.
        note: is told of changes.

    Returns:
        The facts, with the command that the run was started with.
    """
    file = run / ORIGIN_FILE
    if resume:
        started = read_origin(run)
        for change in started.changes(processes):
            note(f"note: {change}; the run may not end with exactly the weights of one that was not stopped")
        return {**facts, "command": started.facts["command"]}
    origin = {**facts, "data_path": str(data.resolve()), "machine": _machine(processes), **_weights(facts["recipe"])}
    atomic_write(file, (json.dumps(origin, indent=2) + "\n").encode())
    return facts


def _machine(processes: Processes) -> dict[str, Any]:
    on_gpu = processes.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(processes.device) if on_gpu else "CPU",
        "processes": processes.count,
        "threads": torch.get_num_threads(),
    }


def _weights(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Give the hash of the file of weights that a recipe names, if it names one."""
    file = Path(recipe["weights"])
    return {_WEIGHTS: sha256_of(file)} if file.is_file() else {}
