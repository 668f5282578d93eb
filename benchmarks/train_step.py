r"""Time a step of `reid-train` beside the same model in a bare PyTorch loop.

Both sides get the same decoded batches, on the same device, in the same precision and memory layout, with models that
start from the same weights. The bare loop does what a tutorial does: move the batch, forward, losses, backward, AdamW,
and the loss as a number. Our side is `Epoch.take`, which is what `reid-train` runs. It also sets the learning rate and
the random state, computes the parts of the loss, the norm of the gradient and their sums, and checks that all values
are finite.

The two sides take turns (A B A B) of a few steps each, in one process; the ratio is the median of the turns' ratios.
Before anything is timed, both sides must have arrived at the same weights::

    python benchmarks/train_step.py --backbone resnet18 --image-size 96 --batch 8x4 \
        --json benchmarks/results/train_step.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # PyTorch reads the number of threads when it is imported, so `main` sets that first
    from reid.train.data.images import TrainingBatch
    from reid.train.learner import Learner
    from reid.train.recipe import Recipe

IDENTITIES, RATE_EPOCHS = 500, 60


def main() -> None:
    """Check that both sides learn the same, time them, and print the ratio."""
    options = parse()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    recipe = recipe_of(options)
    batches = make_batches(recipe, options.steps)
    ours, bare = learner_of(recipe), learner_of(recipe)
    take_ours(ours, recipe, batches)
    take_bare(bare, recipe, batches)
    check_agreement(ours, bare)
    result = compare(ours, bare, recipe, batches, options.turns)
    print(json.dumps(result, indent=2))
    if options.json:
        record = {"command": command(options), "machine": machine(options.threads), "step": result}
        options.json.write_text(json.dumps(record, indent=2) + "\n")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch", default="16x4", help="vehicles x images of each")
    parser.add_argument("--steps", type=int, default=4, help="steps in a turn")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there as well")
    return parser.parse_args()


def recipe_of(options: argparse.Namespace) -> Recipe:
    """Return the poster's recipe at the given size, without warm-up."""
    from reid.train.recipe import Recipe

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
    import torch

    from reid.train.data.images import TrainingBatch

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
    from reid.train.learner import build_learner
    from reid.train.parallel.processes import Processes

    learner, _ = build_learner(recipe, IDENTITIES, Processes())
    learner.begin_epoch(frozen=False)
    return learner


def take_ours(learner: Learner, recipe: Recipe, batches: list[TrainingBatch]) -> None:
    """Take a step with every batch as `reid-train` does, at the rates of a long run's first steps."""
    from reid.train.epoch import Epoch
    from reid.train.epoch_metrics import EpochMetrics

    for _ in Epoch(1, RATE_EPOCHS * len(batches), learner, recipe, EpochMetrics()).take(batches):
        pass


def take_bare(learner: Learner, recipe: Recipe, batches: list[TrainingBatch]) -> None:
    """Take a step with every batch as a tutorial does, at the same rates."""
    import torch
    import torch.nn.functional as F  # noqa: N812

    from reid.train.recipe import learning_rate

    device = next(learner.model.parameters()).device
    for step, batch in enumerate(batches):
        for group in learner.optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step / (RATE_EPOCHS * len(batches)))
        frames = batch.frames.to(device, non_blocking=True)
        vehicles = batch.vehicles.to(device, non_blocking=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            features = learner.model.features(frames)
            logits = learner.classifiers(features)
        loss, _ = learner.loss([F.normalize(feature.float(), dim=1) for feature in features], logits, vehicles)
        learner.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        learner.optimizer.step()
        loss.item()


def check_agreement(ours: Learner, bare: Learner) -> None:
    """Exit with a message if the two sides have not learned the same weights."""
    import torch

    for name, value in ours.model.state_dict().items():
        other = bare.model.state_dict()[name]
        # On a GPU, steps in bf16 round differently; what computes something else is far off.
        off = (value.double() - other.double()).norm()
        same = torch.equal(value, other) if value.device.type == "cpu" else bool(off <= 0.05 * other.double().norm())
        if not same:
            sys.exit(f"{name} differs after the same steps: the two sides do not compute the same")


def compare(ours: Learner, bare: Learner, recipe: Recipe, batches: list[TrainingBatch], turns: int) -> dict[str, float]:
    """Return the median milliseconds of a step on both sides, run in turns, and the median ratio."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(turns):
        times[0].append(seconds(lambda: take_ours(ours, recipe, batches)) / len(batches))
        times[1].append(seconds(lambda: take_bare(bare, recipe, batches)) / len(batches))
    ratios = [mine / peer for mine, peer in zip(*times, strict=True)]
    return {
        "reid_ms": round(1000 * statistics.median(times[0]), 3),
        "bare_ms": round(1000 * statistics.median(times[1]), 3),
        "ratio": round(statistics.median(ratios), 4),
        "images_per_second": round(
            recipe.vehicles_per_batch * recipe.images_per_vehicle / statistics.median(times[0]), 1
        ),
    }


def seconds(task: object) -> float:
    """Return the seconds that a task took, including the work that it queued on the GPU."""
    import torch

    start = time.perf_counter()
    task()  # type: ignore[operator]
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def command(options: argparse.Namespace) -> str:
    """Return the command that repeats this run anywhere."""
    names = ("backbone", "image_size", "batch", "steps", "turns", "threads")
    words = " ".join(f"--{name.replace('_', '-')} {getattr(options, name)}" for name in names)
    return f"python benchmarks/train_step.py {words}"


def machine(threads: int) -> dict[str, str | int]:
    """Return everything besides the code that a time depends on."""
    import torch

    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count() or 1,
        "threads": threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
