"""With too little memory on the GPU, a run names a micro batch, and that one fits."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import torch
from proving import Proof, prove
from subjects import learner_of, random_training_batch, recipe_of

from reid.runtime.errors import ReidError
from reid.train.epoch import Epoch
from reid.train.epoch_metrics import EpochMetrics

_ALLOWED = 2.5e9
"""Bytes: less than a step of 64 crops in 256 x 256 takes, and more than one of a few."""


def training_memory(proof: Proof) -> None:
    """Limit PyTorch's share of the memory, in this process alone, and take a step."""
    proof.needs_gpu()
    recipe = recipe_of(proof)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(_ALLOWED / total)
    learner, batch, said = learner_of(recipe, proof.device), random_training_batch(recipe), ""
    try:
        list(Epoch(1, 1, learner, recipe, EpochMetrics()).take([batch]))
    except ReidError as problem:
        said = str(problem)
    proof.note("message", said)
    named = re.search(r"micro_batch=(\d+)", said)
    proof.check("the message names a micro batch", named is not None)
    if named:
        values = replace(learner, micro_batch=int(named[1])).step(batch, 1e-5, seed=0).read()
        proof.check("it fits, and its values are finite", all(map(math.isfinite, values.values())))


if __name__ == "__main__":
    prove(training_memory)
