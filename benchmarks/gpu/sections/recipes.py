"""Both recipes learn on the GPU: from random weights, on rendered vehicles, for whatever time is left.

A figure of merit at equal time, not an accuracy: what must hold is that the loss falls and all values are finite.
"""

from __future__ import annotations

import time

import torch
from proving import Proof, prove
from subjects import batches_of, learner_of, load_crops, recipe_of, rendered

from reid.data.dataset import Dataset
from reid.data.layout import open_dataset
from reid.evaluation.evaluate import evaluate
from reid.train.builders import build_model
from reid.train.choices import RecipeName
from reid.train.recipe import RECIPES
from reid.train.session import torch_session

_MOST_SECONDS = 60.0
_RESERVED = 4.0  # seconds to evaluate


def recipes(proof: Proof) -> None:
    """Train each recipe for an equal share of the time, and evaluate it."""
    test, train = rendered(proof), open_dataset(proof.work / "veri", needs="train").train.images
    crops = load_crops(train, recipe_of(proof).image_size)
    for left, name in zip((2, 1), RECIPES, strict=True):
        seconds = 2.0 if proof.small else min(proof.seconds_left / left - _RESERVED, _MOST_SECONDS)
        proof.attempt(name, _learn, proof, name, seconds, crops, test)


def _learn(
    proof: Proof, name: RecipeName, seconds: float, crops: tuple[torch.Tensor, torch.Tensor], test: Dataset
) -> dict[str, float]:
    recipe = recipe_of(proof, name)
    learner = learner_of(recipe, proof.device, int(crops[1].max()) + 1)
    losses: list[float] = []
    began = time.monotonic()
    for step, batch in enumerate(batches_of(*crops, recipe)):
        values = learner.step(batch, recipe.learning_rate, seed=step)
        if step % 10 == 0:
            losses.append(values.read()["loss"])
        if time.monotonic() - began > seconds:
            break
    steps_per_second = (step + 1) / (time.monotonic() - began)
    proof.check(f"{name}: the loss falls", len(losses) < 3 or losses[-1] < losses[0], [losses[0], losses[-1]])
    _, card, _ = build_model(recipe)
    with torch_session(learner.model, card, torch.device(proof.device)) as session:
        scores = evaluate(session, test, ["i2i"])["i2i"].summary()
    return {"steps": step + 1, "steps/s": round(steps_per_second, 2), "mAP": round(float(scores["mAP"]), 2)}


if __name__ == "__main__":
    prove(recipes)
