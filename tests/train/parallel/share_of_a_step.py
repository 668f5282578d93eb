"""Take two steps of a small model in one of the processes of RANK and WORLD_SIZE, and write the results.

Usage: share_of_a_step.py OUTPUT SETTING=VALUE ...
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from reid.train.data.images import TrainingBatch
from reid.train.learner import build_learner
from reid.train.parallel.processes import joined_processes
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
    output, *assignments = sys.argv[1:]
    with joined_processes() as processes:
        recipe = RECIPE.changed(**read_assignments(assignments))
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
        tensors |= {f"buffer/{name}": value.clone() for name, value in learner.model.named_buffers() if "run" in name}
        save_file(tensors, Path(output) / f"{processes.rank}.safetensors")


if __name__ == "__main__":
    main()
