"""Take two steps of small models in each of the processes of WORLD_SIZE, and write the results.

Usage: share_of_a_step.py OUTPUT MODEL ...
MODEL is SETTING=VALUE; ... with the settings of one; the results of the first are in OUTPUT/0-RANK.safetensors.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from reid.train.data.images import TrainingBatch
from reid.train.learner import build_learner
from reid.train.parallel.processes import Processes, joined_processes
from reid.train.recipe import Recipe, read_assignments

RECIPE = Recipe(
    backbone="resnet10t",
    weights="none",
    levels=(3, 4),
    embedding_size=16,
    image_size=32,
    vehicles_per_batch=4,
    images_per_vehicle=2,
)


def main() -> None:
    output, *models = sys.argv[1:]
    # PyTorch is imported once; nothing is computed before the processes fork, because its threads do not survive that.
    children = [_forked(rank, Path(output), models) for rank in range(int(os.environ["WORLD_SIZE"]))]
    sys.exit(max([os.waitpid(child, 0)[1] for child in children]) != 0)


def _forked(rank: int, output: Path, models: Iterable[str]) -> int:
    """Return the number of a process that takes its share of the steps."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        with joined_processes() as processes:
            take_steps(output, models, processes)
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)


def take_steps(output: Path, models: Iterable[str], processes: Processes) -> None:
    """Write what this process has after the steps of each model."""
    for number, assignments in enumerate(models):
        tensors = two_steps(RECIPE.changed(**read_assignments(assignments.split(";"))), processes)
        save_file(tensors, output / f"{number}-{processes.rank}.safetensors")


def two_steps(recipe: Recipe, processes: Processes) -> dict[str, torch.Tensor]:
    """Return what this process has after two steps: values, gradients of the first step, and running statistics."""
    learner, _ = build_learner(recipe, 4, processes)
    learner.model.double()  # so that no backbone amplifies a rounding error
    learner.model.bnneck.float()
    features = learner.model.features
    learner = replace(learner, network=lambda frames: [feature.float() for feature in features(frames)])
    learner.begin_epoch(frozen=False)
    torch.manual_seed(0)
    frames, vehicles = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8), torch.arange(4).repeat_interleave(2)
    tensors = {}
    for step in range(2):
        batch = TrainingBatch(processes.share(frames), processes.share(vehicles), ())
        values = learner.step(batch, 1e-3, seed=0).read()
        tensors |= {f"{step}/{name}": torch.tensor(value) for name, value in values.items()}
        frames = frames.flip(3).contiguous()
        if step == 0:
            named = [*learner.model.named_parameters(), *learner.classifiers.named_parameters()]
            gradients = {name: value.grad.clone() for name, value in named if value.grad is not None}
            tensors |= {f"gradient/{name}": gradient.contiguous() for name, gradient in gradients.items()}
    return tensors | {f"buffer/{name}": value.clone() for name, value in learner.model.named_buffers() if "run" in name}


if __name__ == "__main__":
    main()
