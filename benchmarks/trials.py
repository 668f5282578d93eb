"""Trials: `reid-train`, then `reid-eval`, as a user runs them, one after another; what is finished is kept.

A trial has a folder of its own under the work folder, `METHOD-seedN-KEY`, where KEY stands for its options, for what
the recipes are that these name, and for its data. Run again, a finished trial is read from there, an interrupted one
continues with `reid-train --resume`, and other options or other data make another trial beside it. In its folder:

- `run/`: what `reid-train` leaves;
- `log.txt`: what both commands said on standard error;
- `trial.json`: its options and its scores, written last.
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
from reid.runtime.storage import atomic_write
from reid.train.recipe import RECIPES

__all__ = ["Bench", "Method", "Trials", "data_digest", "run_trials"]

Trials: TypeAlias = dict[str, dict[int, dict[str, Any]]]
"""Method -> seed -> what `trial.json` holds."""


@dataclass(frozen=True, slots=True)
class Method:
    """What is compared: a name, and the options of `reid-train` that make it."""

    name: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bench:
    """What all trials share.

    Attributes:
        data: folder of the data set.
        work: folder of the trials' folders.
        budget: options of `reid-train` that every method is given.
        commands: folder of `reid-train` and `reid-eval`, else they are looked for on the PATH.
    """

    data: Path
    work: Path
    budget: tuple[str, ...]
    commands: Path = Path(sys.executable).parent

    def run(self, command: str, *arguments: str, log: Path) -> dict[str, Any]:
        """Run a command and give its JSON.

        Raises:
            ReidError: it is not installed, or it failed.
        """
        found = shutil.which(command, path=f"{self.commands}{os.pathsep}{os.environ.get('PATH', '')}")
        if found is None:
            raise ReidError(f"{command} is not installed beside {sys.executable}: pip install '.[train]'")
        with log.open("a") as errors:
            print(f"$ {shlex.join([command, *arguments])}", file=errors, flush=True)
            done = subprocess.run([found, *arguments, "--json"], stdout=subprocess.PIPE, stderr=errors, text=True)
        if done.returncode:
            last = log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise ReidError(f"{command} failed with exit code {done.returncode}: {last}; the whole of it is in {log}")
        result: dict[str, Any] = json.loads(done.stdout)
        return result


def run_trials(
    methods: Sequence[Method], seeds: Sequence[int], bench: Bench, on_trial: Callable[[Trials], None]
) -> Trials:
    """Run every method with every seed, the seeds outermost, so that what is there early compares all methods.

    Args:
        methods: their names differ.
        seeds: of the trials of each.
        bench: where, on what, and with which budget.
        on_trial: called after each trial with all that are finished.

    Raises:
        ReidError: a command failed; the trials before it are kept.
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
    """One method with one seed, and the folder that it is kept in."""

    method: str
    seed: int
    options: tuple[str, ...]
    folder: Path

    @classmethod
    def of(cls, method: Method, seed: int, bench: Bench, digest: str) -> _Trial:
        options = (*method.options, *bench.budget, "--seed", str(seed))
        # With the recipes that the options name: their settings change.
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
        """Train, or train on, and evaluate."""
        run, log = self.folder / "run", self.folder / "log.txt"
        self.folder.mkdir(parents=True, exist_ok=True)
        # Nothing to go on from means that it was stopped before its first state; reid-train then starts it anew.
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
    """SHA-256 of the names and sizes of a data set's files, which tells one from another wherever it lies.

    Raises:
        ReidError: there is no such folder.
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
