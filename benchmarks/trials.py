"""Run trials one after another, and keep those that are finished.

A trial is `reid-train` followed by `reid-eval`, as a user would run them. Each trial has a folder of its own,
`METHOD-seedN-KEY`, in the work folder. KEY identifies its options, the settings of the recipes, and its data. When the
script runs again, it reads finished trials from their folders and continues an interrupted one with
`reid-train --resume`; other options, recipes or data start another trial beside the old one. A trial's folder holds:

- `run/`: the run of `reid-train`;
- `log.txt`: the standard error of both commands;
- `trial.json`: the trial's options and scores, written last.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from reid.runtime.errors import ReidError
from reid.runtime.files.storage import atomic_write
from reid.train.recipe import RECIPES

__all__ = ["Bench", "Method", "Trials", "data_digest", "run_trials"]

Trials: TypeAlias = dict[str, dict[int, dict[str, Any]]]
"""Method -> seed -> the content of `trial.json`."""


@dataclass(frozen=True, slots=True)
class Method:
    """A training method to compare: its name, and the options of `reid-train` that select it."""

    name: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bench:
    """The settings that all trials share.

    Attributes:
        data: the folder of the data set.
        work: the folder that holds the trials' folders.
        budget: the options of `reid-train` that every method gets.
        commands: the folder of `reid-train` and `reid-eval`; commands that are not there are looked up on the PATH.
    """

    data: Path
    work: Path
    budget: tuple[str, ...]
    commands: Path = Path(sys.executable).parent

    def run(self, command: str, *arguments: str, log: Path) -> dict[str, Any]:
        """Run a command and return its JSON.

        Raises:
            ReidError: the command is not installed, or it failed.
        """
        found = shutil.which(command, path=f"{self.commands}{os.pathsep}{os.environ.get('PATH', '')}")
        if found is None:
            raise ReidError(f"{command} is not installed beside {sys.executable}: pip install '.[train]'")
        with log.open("a") as errors:
            print(f"$ {shlex.join([command, *arguments])}", file=errors, flush=True)
            done = subprocess.run([found, *arguments, "--json"], stdout=subprocess.PIPE, stderr=errors, text=True)
        if done.returncode:
            last = log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise ReidError(f"{command} failed with exit code {done.returncode}: {last}; see {log}")
        result: dict[str, Any] = json.loads(done.stdout)
        return result


def run_trials(
    methods: Sequence[Method], seeds: Sequence[int], bench: Bench, on_trial: Callable[[Trials], None]
) -> Trials:
    """Run every method with every seed; all methods run with one seed before any runs with the next.

    So early results already compare all methods.

    Args:
        methods: the methods, each with a name of its own.
        seeds: the seeds to run each method with.
        bench: the data, the folders and the budget.
        on_trial: called after each trial with all trials that are finished.

    Raises:
        ReidError: a command failed; the trials finished before it are kept.
    """
    digest = data_digest(bench.data)
    trials: Trials = {method.name: {} for method in methods}
    plan = [_Trial.of(method, seed, bench, digest) for seed in seeds for method in methods]
    for number, trial in enumerate(plan):
        if not trial.is_finished():
            _note_progress(number, plan, trials)
            trial.run(bench)
        trials[trial.method][trial.seed] = trial.result()
        on_trial(trials)
    return trials


@dataclass(frozen=True, slots=True)
class _Trial:
    """One method with one seed, and the folder that holds it."""

    method: str
    seed: int
    options: tuple[str, ...]
    folder: Path

    @classmethod
    def of(cls, method: Method, seed: int, bench: Bench, digest: str) -> _Trial:
        options = (*method.options, *bench.budget, "--seed", str(seed))
        # The recipes are part of the key because their settings change between versions.
        recipes = {name: recipe.model_dump(mode="json") for name, recipe in RECIPES.items()}
        key = hashlib.sha256(json.dumps([options, digest, recipes]).encode()).hexdigest()[:8]
        name = re.sub(r"[^a-z0-9]+", "-", method.name.lower()).strip("-")
        return cls(method.name, seed, options, bench.work / f"{name}-seed{seed}-{key}")

    def is_finished(self) -> bool:
        return (self.folder / "trial.json").exists()

    def result(self) -> dict[str, Any]:
        stored: dict[str, Any] = json.loads((self.folder / "trial.json").read_text())
        return stored

    def run(self, bench: Bench) -> None:
        """Train, or resume training, and evaluate."""
        run, log = self.folder / "run", self.folder / "log.txt"
        self.folder.mkdir(parents=True, exist_ok=True)
        # Without a stored state, the trial was stopped before its first one, and reid-train starts from the beginning.
        resume = ["--resume"] if any((run / "last").glob("*.safetensors")) else []
        start = time.perf_counter()
        words = [str(bench.data), *self.options, "--output", str(run), *resume]
        trained = bench.run("reid-train", *words, log=log)
        seconds = time.perf_counter() - start
        evaluated = bench.run("reid-eval", str(run), str(bench.data), log=log)
        result = {
            "options": list(self.options),
            "best_epoch": trained["best_epoch"],
            "training_seconds": round(seconds, 1),
            "resumed": bool(resume),
            "session": evaluated["model"]["session"],
            "protocols": evaluated["protocols"],
        }
        atomic_write(self.folder / "trial.json", json.dumps(result, indent=2).encode())


def data_digest(data: Path) -> str:
    """Return the SHA-256 of the names and sizes of a data set's files, which does not depend on where the data set is.

    Raises:
        ReidError: the folder does not exist.
    """
    if not data.is_dir():
        raise ReidError(f"{data} is not a folder; give the folder of a data set")
    files = sorted(path for path in data.rglob("*") if path.is_file())
    lines = [f"{path.relative_to(data).as_posix()} {path.stat().st_size}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _note_progress(number: int, plan: Sequence[_Trial], trials: Trials) -> None:
    left = [trial for trial in plan[number:] if not trial.is_finished()]
    whole = [trial for of_method in trials.values() for trial in of_method.values() if not trial["resumed"]]
    seconds = [trial["training_seconds"] for trial in whole]
    estimate = f", about {statistics.fmean(seconds) * len(left) / 60:.0f} min left" if seconds else ""
    trial = plan[number]
    note = f"[{number + 1}/{len(plan)}{estimate}] {trial.method}, seed {trial.seed}: {trial.folder}/log.txt"
    print(note, file=sys.stderr, flush=True)
