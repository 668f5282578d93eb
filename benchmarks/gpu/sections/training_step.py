"""A training step on the GPU: where it makes the CPU wait, and its time with cuDNN's search and a fused optimizer."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import torch
from measuring import median_ms
from proving import Proof, prove
from subjects import learner_of, random_training_batch, recipe_of

_KINDS: dict[str, dict[str, Any]] = {
    "bf16": {},
    "fp16": {"precision": "fp16"},
    "weight average": {"average_decay": 0.999},
    "micro batches": {"micro_batch": 16},
    "memory": {"memory_size": 512},
    "strong": {"bnneck": True, "clip_norm": 5.0},
}
_BATCHES = 4


def training_step(proof: Proof) -> None:
    """Look for waits, then measure."""
    for name, changes in _KINDS.items():
        proof.attempt(f"waits: {name}", _waits, proof, name, changes)
    for name, search, fused in (("as it is", None, False), ("cuDNN searches", True, False), ("fused", None, True)):
        proof.attempt(f"{name}: ms a step", _time, proof, search, fused)


def _waits(proof: Proof, name: str, changes: dict[str, Any]) -> list[str]:
    """Return where a step waits for the GPU. Its values are read a step later, so there should be no place."""
    if proof.small and changes.get("precision") == "fp16":
        changes = {}  # convolutions on a CPU have no FP16 gradients
    recipe = recipe_of(proof, **changes)
    learner, batch = learner_of(recipe, proof.device), random_training_batch(recipe)
    for _ in range(3):
        last = learner.step(batch, 1e-4, seed=0)
    last.read()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _watch(proof, "warn")
        last = learner.step(batch, 1e-4, seed=0)
        _watch(proof, "default")
    places = sorted({f"{Path(one.filename).name}:{one.lineno}" for one in caught if "synchroniz" in str(one.message)})
    proof.check(f"{name}: all values are finite", all(map(math.isfinite, last.read().values())))
    proof.check(f"{name}: no wait", not places, places)
    return places


def _watch(proof: Proof, mode: str) -> None:
    if not proof.small:
        torch.cuda.set_sync_debug_mode(mode)


def _time(proof: Proof, search: bool | None, fused: bool) -> float:
    recipe = recipe_of(proof)
    learner = learner_of(recipe, proof.device)
    batches = [random_training_batch(recipe, seed) for seed in range(_BATCHES)]
    for group in learner.optimizer.param_groups if fused else ():
        group["fused"], group["foreach"] = not proof.small, False

    def steps() -> None:
        for batch in batches:
            learner.step(batch, 1e-5, seed=0)

    kept = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = kept if search is None else search
    try:
        return round(median_ms(steps, 2 if proof.small else 8, 2) / len(batches), 2)
    finally:
        torch.backends.cudnn.benchmark = kept


if __name__ == "__main__":
    prove(training_step)
