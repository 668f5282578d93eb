r"""Time a step of `reid-train` beside the same model in a bare PyTorch loop.

Both sides get the same decoded batches, on the same device, in the same precision and memory layout, with models that
start from the same weights. The bare loop does what a tutorial does: move the batch, forward, losses, backward, AdamW,
and the loss as a number. Our side is `Epoch.take`, which is what `reid-train` runs. It also sets the learning rate and
the random state, computes the parts of the loss, the norm of the gradient and their sums, and checks that all values
are finite.

The two sides take turns of a few steps each, in one process. Before anything is timed, both sides must have arrived at
the same weights::

    OMP_NUM_THREADS=1 python benchmarks/train_step.py --backbone resnet18 --image-size 96 --batch 8x4 \
        --json benchmarks/results/train_step.json
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from result_files import command, environment, script_parser, write_result
from side_by_side import as_text, compare_in_turns
from torch.nn.functional import normalize

from reid.train.data.images import TrainingBatch
from reid.train.epoch import Epoch
from reid.train.epoch_metrics import EpochMetrics
from reid.train.learner import Learner, build_learner
from reid.train.parallel.processes import Processes
from reid.train.recipe import Recipe, learning_rate

IDENTITIES, RATE_EPOCHS = 500, 60


def main() -> None:
    """Check that both sides learn the same, time them, and print the ratio."""
    options = parse()
    recipe = recipe_of(options)
    batches = make_batches(recipe, options.steps)
    ours, bare = learner_of(recipe), learner_of(recipe)
    take_ours(ours, recipe, batches)
    take_bare(bare, recipe, batches)
    check_agreement(ours, bare)
    turns = {
        "reid": partial(step_ms, partial(take_ours, ours, recipe, batches), options.steps),
        "bare": partial(step_ms, partial(take_bare, bare, recipe, batches), options.steps),
    }
    figures = compare_in_turns(turns, 60 * options.minutes)
    print(as_text("a step, ms", figures))
    if options.json:
        steps = {side: one.model_dump() for side, one in figures.items()}
        write_result(options.json, {"command": command(), "environment": environment(), "step_ms": steps})


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = script_parser(__doc__)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch", default="16x4", help="vehicles x images of each")
    parser.add_argument("--steps", type=int, default=4, help="steps in a turn")
    parser.add_argument("--minutes", type=float, default=1, help="how long to take turns [default: 1]")
    return parser.parse_args()


def recipe_of(options: argparse.Namespace) -> Recipe:
    """Return the poster's recipe at the given size, without warm-up."""
    p, k = map(int, options.batch.split("x"))
    return Recipe(
        backbone=options.backbone,
        weights="none",
        image_size=options.image_size,
        vehicles_per_batch=p,
        images_per_vehicle=k,
        warmup_epochs=0,
    )


def make_batches(recipe: Recipe, count: int) -> list[TrainingBatch]:
    """Return random batches, in pinned memory if there is a GPU."""
    torch.manual_seed(0)
    size, p, k = recipe.image_size, recipe.vehicles_per_batch, recipe.images_per_vehicle
    batches = []
    for _ in range(count):
        frames = torch.randint(256, (p * k, 3, size, size), dtype=torch.uint8)
        vehicles = torch.randperm(IDENTITIES)[:p].repeat_interleave(k)
        batch = TrainingBatch(frames, vehicles, ())
        batches.append(batch.pin_memory() if torch.cuda.is_available() else batch)
    return batches


def learner_of(recipe: Recipe) -> Learner:
    """Return model, classifiers, loss and optimizer, with the same weights every time."""
    learner, _ = build_learner(recipe, IDENTITIES, Processes())
    learner.begin_epoch(frozen=False)
    return learner


def take_ours(learner: Learner, recipe: Recipe, batches: list[TrainingBatch]) -> None:
    """Take a step with every batch as `reid-train` does, at the rates of a long run's first steps."""
    for _ in Epoch(1, RATE_EPOCHS * len(batches), learner, recipe, EpochMetrics()).take(batches):
        pass


def take_bare(learner: Learner, recipe: Recipe, batches: list[TrainingBatch]) -> None:
    """Take a step with every batch as a tutorial does, at the same rates."""
    device = next(learner.model.parameters()).device
    for step, batch in enumerate(batches):
        for group in learner.optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step / (RATE_EPOCHS * len(batches)))
        frames = batch.frames.to(device, non_blocking=True)
        vehicles = batch.vehicles.to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            features = learner.model.features(frames)
            logits = learner.classifiers(features)
        loss, _ = learner.loss([normalize(feature.float(), dim=1) for feature in features], logits, vehicles)
        learner.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        learner.optimizer.step()
        loss.item()


def check_agreement(ours: Learner, bare: Learner) -> None:
    """Exit with a message if the two sides have not learned the same weights."""
    for name, value in ours.model.state_dict().items():
        other = bare.model.state_dict()[name]
        # On a GPU, steps in bf16 round differently; what computes something else is far off.
        off = (value.double() - other.double()).norm()
        same = torch.equal(value, other) if value.device.type == "cpu" else bool(off <= 0.05 * other.double().norm())
        if not same:
            sys.exit(f"{name} differs after the same steps: the two sides do not compute the same")


def step_ms(turn: Callable[[], None], steps: int) -> float:
    """Return the milliseconds of a step, including the work that it queued on the GPU."""
    start = time.perf_counter()
    turn()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start) / steps


if __name__ == "__main__":
    main()
