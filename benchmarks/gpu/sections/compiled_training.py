"""A training step through torch.compile: how many graphs it makes, that its loss is the same, and its time."""

from __future__ import annotations

from typing import Any

import torch._dynamo.utils
from measuring import median_ms
from proving import Proof, prove
from subjects import learner_of, random_training_batch, recipe_of


def compiled_training(proof: Proof) -> None:
    """Take the same steps eagerly, compiled, and compiled in micro batches."""
    proof.needs_gpu()  # on a CPU, compiling takes minutes
    kinds: dict[str, dict[str, Any]] = {"eager": {}, "compiled": {"compile": True}}
    kinds["compiled, micro batches"] = {"compile": True, "micro_batch": 32}
    losses: dict[str, float] = {}
    for name, changes in kinds.items():
        proof.attempt(name, _step, proof, name, changes, losses)
    if {"eager", "compiled"} <= losses.keys():
        found = [losses["eager"], losses["compiled"]]
        proof.check("the loss is the same within 2 %", abs(found[0] - found[1]) < 0.02 * abs(found[0]), found)


def _step(proof: Proof, name: str, changes: dict[str, Any], losses: dict[str, float]) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    recipe = recipe_of(proof, **changes)
    learner, batch = learner_of(recipe, proof.device), random_training_batch(recipe)
    losses[name] = learner.step(batch, 1e-5, seed=0).read()["loss"]
    learner.step(batch, 1e-5, seed=0).read()
    graphs = torch._dynamo.utils.counters["stats"].get("unique_graphs", 0)
    milliseconds = median_ms(lambda: learner.step(batch, 1e-5, seed=0), 6, 2)
    proof.note(f"{name}: graphs, ms a step", [graphs, milliseconds])


if __name__ == "__main__":
    prove(compiled_training)
