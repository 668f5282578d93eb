"""`reid-train`: train a multi-level model."""

from __future__ import annotations

import os
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reid.runtime.commands.shell import Layout, application, note, note_problems, print_json, progress, run

if TYPE_CHECKING:
    from reid.train.recipe import Recipe

app = application()


class Loss(str, Enum):
    """The metric losses."""

    TRIPLET = "triplet"
    SSL = "ssl"
    RLL = "rll"


class RecipeName(str, Enum):
    """The recipes."""

    POSTER = "poster"


@app.command(epilog="Example: reid-train VeRi --epochs 60")
def train(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of a data set.")],
    recipe: Annotated[RecipeName, typer.Option(help="Settings to start from.")] = RecipeName.POSTER,
    loss: Annotated[Loss, typer.Option(help="Metric loss of every level.")] = Loss.RLL,
    levels: Annotated[str, typer.Option(help="Feature levels of the backbone, comma-separated.")] = "2,3,4",
    backbone: Annotated[str, typer.Option(help="Name of a timm model.")] = "resnet50",
    weights: Annotated[str, typer.Option(help="default (timm's pretrained), none, or a file.")] = "default",
    image_size: Annotated[int, typer.Option(min=32, help="Side of the square crops, in pixels.")] = 256,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training vehicles.")] = 60,
    batch: Annotated[str, typer.Option(help="Vehicles x images of each.")] = "16x4",
    seed: Annotated[int, typer.Option(min=0, help="Of weights, held-out part, sampling, augmentation.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Run folder. [default: runs/DATA-BACKBONE-LOSS]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last whole epoch.")] = False,
    layout: Annotated[Layout | None, typer.Option(help="Recognised if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a multi-level model; a part of the training vehicles is held out to choose the best epoch."""
    from reid.runtime.datasets.layout import open_dataset
    from reid.train.recipe import RECIPES
    from reid.train.run_folder import RunFolder

    p, k = _parse_batch(batch)
    settings = replace(
        RECIPES[recipe.value],
        loss=loss.value,
        levels=_parse_levels(levels),
        backbone=backbone,
        weights=weights,
        image_size=image_size,
        epochs=epochs,
        vehicles_per_batch=p,
        images_per_vehicle=k,
        seed=seed,
    )
    dataset = open_dataset(data, layout, needs="train")
    note_problems(dataset)
    folder = RunFolder(output or Path("runs") / f"{data.resolve().name}-{backbone}-{loss.value}")
    folder.check(resume=resume)
    result = _train(dataset, settings, folder, resume=resume)
    if as_json:
        print_json(result)
    else:
        print(folder.path)


def _train(dataset: Any, recipe: Recipe, folder: Any, *, resume: bool) -> dict[str, Any]:  # noqa: ANN401
    from reid.train.loop import Watcher
    from reid.train.loop import train as learn

    with progress("training", "steps") as bar:

        def on_step(epoch: int, done: int, total: int) -> None:
            bar((epoch - 1) * total + done, recipe.epochs * total)

        outcome = learn(dataset, recipe, folder, resume=resume, watcher=Watcher(on_step, _note_epoch, note))
    best = outcome.card.training
    return {
        "run": str(folder.path),
        "fingerprint": outcome.card.fingerprint,
        "epochs": outcome.progress.epochs_done,
        "best_epoch": best["best_epoch"],
        "held_out": best["held_out"],
    }


def _note_epoch(row: dict[str, Any]) -> None:
    scores = row["held_out"]["i2i"]
    note(
        f"epoch {row['epoch']}: loss {row['train']['loss']:.3f}, held-out mAP {scores['mAP']:.2f} "
        f"R-1 {scores['R-1']:.2f}, {row['images_per_second']:.0f} images/s"
    )
    if row["unreadable"]:
        note(f"note: {len(row['unreadable'])} images could not be read: {'; '.join(row['unreadable'][:3])}")


def _parse_batch(text: str) -> tuple[int, int]:
    p, _, k = text.partition("x")
    if not (p.isdecimal() and k.isdecimal() and int(p) > 1 and int(k) > 0):
        raise typer.BadParameter(f"{text!r} is not vehicles x images, such as 16x4", param_hint="--batch")
    return int(p), int(k)


def _parse_levels(text: str) -> tuple[int, ...]:
    levels = text.split(",")
    if not all(level.isdecimal() for level in levels) or len(set(levels)) < len(levels):
        raise typer.BadParameter(f"{text!r} is not a list of different levels, such as 2,3,4", param_hint="--levels")
    return tuple(sorted(map(int, levels)))  # as the backbone gives them


def main() -> None:
    """Entry point."""
    # Read by OpenMP when PyTorch loads. On few cores its spinning threads and the decoding processes would fight for
    # them, and a step take many times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    run(app)
