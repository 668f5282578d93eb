"""`run.json`: what started a run, and everything that is needed to repeat it."""

from __future__ import annotations

import json
import logging
import shlex
import sys
from pathlib import Path
from typing import Annotated

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from reid.data.dataset import Dataset
from reid.runtime.errors import DataError, ModelError, ReidError
from reid.runtime.files.reading import read_file, sha256_of
from reid.runtime.files.storage import atomic_write
from reid.runtime.files.validation import JSON_AT_MOST, first_problem, parse_object
from reid.runtime.training_facts import TrainingDataFacts, TrainingFacts
from reid.train.device import device_name
from reid.train.parallel.processes import Processes
from reid.train.recipe import Recipe
from reid.train.run.provenance import versions
from reid.train.training_data import TrainingData

__all__ = ["ORIGIN_FILE", "Origin", "keep_origin", "read_origin", "this_run"]

logger = logging.getLogger(__name__)

ORIGIN_FILE = "run.json"
_WHAT = "record of the run"
_REMEDY = "if another version of reid wrote it, use that version"


def _possible(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("no path holds a zero byte")
    return path


class Machine(BaseModel):
    """The hardware that a result depends on.

    Attributes:
        device: name of the GPU, or "CPU".
        processes: number of processes that train together.
        threads: number of threads of each process.
    """

    model_config = ConfigDict(frozen=True)

    device: str
    processes: int
    threads: int


class Origin(BaseModel):
    """The command, settings, data and machine that a run was started with.

    Attributes:
        command: the command line.
        recipe: all settings.
        data: facts about the data set.
        versions: versions of the packages that the result depends on, by package.
        data_path: folder of the data set.
        machine: the hardware.
        weights_sha256: hash of the file of weights that the run started from; None where it had none.
    """

    model_config = ConfigDict(frozen=True)

    command: str
    recipe: Recipe
    data: TrainingDataFacts
    versions: dict[str, str]
    data_path: Annotated[Path, AfterValidator(_possible)]
    machine: Machine
    weights_sha256: str | None = None

    def facts(self) -> TrainingFacts:
        """Return what the model card says of the run, which is stored as UTF-8."""
        settings = self.recipe.model_dump(mode="json").items()
        vehicles = tuple(map(_as_utf8, self.data.held_out_vehicles))
        return TrainingFacts(
            command=self.command,
            recipe={name: _as_utf8(value) if isinstance(value, str) else value for name, value in settings},
            data=self.data.model_copy(update={"held_out_vehicles": vehicles}),
            versions=self.versions,
            held_out_share=self.recipe.held_out,
            seed=self.recipe.seed,
        )

    def check(self, fingerprint: str) -> None:
        """Refuse to repeat the run with other data or other starting weights.

        Args:
            fingerprint: fingerprint of the data at hand.

        Raises:
            DataError: the data has changed.
            ModelError: the weights have changed.
        """
        if fingerprint != self.data.fingerprint:
            raise DataError(
                f"{self.data_path} no longer holds that run's training data; give the folder that does as DATA"
            )
        if _weights_sha256(self.recipe) != self.weights_sha256:
            raise ModelError(
                f"{self.recipe.weights} is no longer the file of weights that the run started from; restore that file"
            )

    def changes(self, processes: Processes) -> list[str]:
        """Describe the differences in versions and machine, which change the last bits of a result."""
        pairs = [(self.versions, versions()), (self.machine.model_dump(), _this_machine(processes).model_dump())]
        return [
            f"{name} was {then.get(name)} and is {now.get(name)}"
            for then, now in pairs
            for name in sorted(then.keys() | now.keys())
            if then.get(name) != now.get(name)
        ]


def this_run(dataset: Dataset, recipe: Recipe, data: TrainingData, processes: Processes) -> Origin:
    """Return the origin of the run that this process is starting, without the hash of its weights."""
    # A run that was stopped before its first state starts over: not by another command because of --resume.
    words = [Path(sys.argv[0]).name, *(word for word in sys.argv[1:] if word != "--resume")]
    return Origin(
        command=_as_utf8(shlex.join(words)),
        recipe=recipe,
        data=data.facts,
        versions=versions(),
        data_path=dataset.root.resolve(),
        machine=_this_machine(processes),
    )


def read_origin(run: Path) -> Origin:
    """Read what a run was started with.

    Raises:
        ReidError: there is no run, or another version of reid wrote it, with other settings.
    """
    file = run / ORIGIN_FILE
    try:
        content = read_file(file, at_most=JSON_AT_MOST)
    except FileNotFoundError:
        raise ReidError(f"{run} has no {ORIGIN_FILE}, so it is not a run that can be repeated") from None
    except OSError as error:
        raise ReidError(f"{file}: {error.strerror}; {_REMEDY}") from None
    # Not pydantic's JSON, as in keep_origin.
    facts = parse_object(content, file, what=_WHAT, remedy=_REMEDY, error=ReidError)
    try:
        return Origin.model_validate(facts)
    except ValidationError as error:
        reason = first_problem(error)
    except UnicodeError as error:  # half a character, which only a path may have
        reason = str(error)
    raise ReidError(f"{file}: the {_WHAT} is not valid ({reason}); {_REMEDY}")


def keep_origin(run: Path, origin: Origin, processes: Processes, *, resume: bool) -> Origin:
    """Write `run.json` when a run starts; when it is resumed, note what has changed since.

    Args:
        run: the run's folder.
        origin: origin of this process's run.
        processes: the processes that train together.
        resume: whether the run goes on from a state. A run that was stopped before its first state starts from the
            beginning, perhaps with other settings than those in the `run.json` that it left.

    Returns:
        The origin as it is stored, but on resume only with the command that the run was started with.
    """
    if resume:
        started = read_origin(run)
        for change in started.changes(processes):
            logger.warning("%s; the weights may differ slightly from those of an uninterrupted run", change)
        return origin.model_copy(update={"command": started.command})
    origin = origin.model_copy(update={"weights_sha256": _weights_sha256(origin.recipe)})
    # Not pydantic's JSON: it has no way to write a path that is not valid UTF-8.
    content = json.dumps(origin.model_dump(mode="json", exclude_none=True), indent=2)
    atomic_write(run / ORIGIN_FILE, f"{content}\n".encode())
    return origin


def _this_machine(processes: Processes) -> Machine:
    return Machine(device=device_name(processes.device), processes=processes.count, threads=torch.get_num_threads())


def _as_utf8(text: str) -> str:
    """Return a text with escapes for the bytes of file names that are not valid UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def _weights_sha256(recipe: Recipe) -> str | None:
    """Return the hash of the file of weights that a recipe names, if it names one."""
    file = Path(recipe.weights)
    return sha256_of(file) if file.is_file() else None
