"""`reid-train`: train a multi-level model."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reid.commands.shell import Layout, application, note, note_problems, print_json, progress, run
from reid.runtime.errors import ReidError
from reid.train.recipe import RECIPES, Recipe
from reid.train.settings import parse_settings

if TYPE_CHECKING:
    from reid.data.dataset import Dataset
    from reid.train.run.folder import RunFolder
    from reid.train.run.origin import Origin

app = application()

_DEFAULT_RECIPE = "poster"
_LEADS = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts, one writes and speaks


class Loss(str, Enum):
    """The metric losses."""

    TRIPLET = "triplet"
    SSL = "ssl"
    RLL = "rll"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be run."""

    dataset: Dataset
    recipe: Recipe
    folder: RunFolder
    repeated: Origin | None = None


@app.command(epilog="Example: reid-train VeRi --epochs 60")
def train(
    data: Annotated[Path | None, typer.Argument(metavar="DATA", help="Folder of a data set.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help=f"{' or '.join(RECIPES)}: the settings to start from. [default: {_DEFAULT_RECIPE}]"),
    ] = None,
    loss: Annotated[Loss | None, typer.Option(help="Metric loss of every level.")] = None,
    levels: Annotated[str | None, typer.Option(help="Feature levels of the backbone, such as 2,3,4.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Name of a timm model.")] = None,
    weights: Annotated[str | None, typer.Option(help="default (timm's pretrained), none, or a file.")] = None,
    image_size: Annotated[int | None, typer.Option(min=32, help="Side of the square crops, in pixels.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the training images.")] = None,
    batch: Annotated[str | None, typer.Option(help="Vehicles x images of each, such as 16x4.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of weights, held-out part, sampling, augmentation.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting of the recipe by its name.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Run folder. [default: runs/DATA-BACKBONE-LOSS]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run was stopped.")] = False,
    qat: Annotated[Path | None, typer.Option(metavar="BUNDLE", help="Fine-tune its model for its INT8 graph.")] = None,
    repeat: Annotated[Path | None, typer.Option(metavar="RUN", help="Repeat that run in another folder.")] = None,
    save_every: Annotated[
        float | None, typer.Option(min=0, help="Seconds between states to resume from. [default: 300]")
    ] = None,
    layout: Annotated[Layout | None, typer.Option(help="Recognized if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a multi-level model; a part of the training vehicles is held out to choose the best epoch."""
    options = {
        "loss": loss.value if loss else None,
        "levels": _parse_levels(levels),
        "backbone": backbone,
        "weights": weights,
        "image_size": image_size,
        "epochs": epochs,
        **_parse_batch(batch),
        "seed": seed,
    }
    given = _merge({name: value for name, value in options.items() if value is not None}, assignments or [])
    if repeat:
        if given or recipe or layout or qat:
            raise typer.BadParameter("all settings are that run's; leave the others out", param_hint="--repeat")
        plan = _plan_repetition(repeat, data, output)
    elif data and qat:
        if recipe:
            raise typer.BadParameter("the recipe is the one of its model; leave out --recipe", param_hint="--qat")
        plan = _plan_fine_tuning(data, qat, given, layout, output)
    elif data:
        plan = _plan(data, recipe or _DEFAULT_RECIPE, given, layout, output)
    else:
        raise typer.BadParameter("give the folder of a data set, or --repeat RUN", param_hint="DATA")
    if _LEADS:
        note_problems(plan.dataset)
        plan.folder.check(resume=resume)
    result = _train(plan, resume=resume, save_every=save_every)
    if _LEADS:
        print_json(result) if as_json else print(plan.folder.path)


def _plan(data: Path, name: str, given: dict[str, Any], layout: str | None, output: Path | None) -> _Plan:
    """Plan a run of a recipe with the settings that were given."""
    if name not in RECIPES:
        raise typer.BadParameter(f"no recipe {name!r}; there are {', '.join(RECIPES)}", param_hint="--recipe")
    if "qat" in given:
        raise typer.BadParameter("a bundle to fine-tune is given with --qat", param_hint="--set")
    recipe = replace(RECIPES[name], **given)
    from reid.data.layout import open_dataset
    from reid.train.run.folder import RunFolder

    words = [data.resolve().name, *([] if name == _DEFAULT_RECIPE else [name]), recipe.backbone, recipe.loss]
    folder = RunFolder(output or Path("runs") / "-".join(words))
    return _Plan(open_dataset(data, layout, needs="train"), recipe, folder)


def _plan_fine_tuning(
    data: Path, bundle: Path, given: dict[str, Any], layout: str | None, output: Path | None
) -> _Plan:
    """Plan the fine-tuning of a bundle's model for its INT8 graph."""
    from reid.data.layout import open_dataset
    from reid.train.qat.start import qat_recipe
    from reid.train.run.folder import RunFolder

    recipe = qat_recipe(bundle, given)
    words = [data.resolve().name, recipe.backbone, recipe.loss, "qat"]
    folder = RunFolder(output or Path("runs") / "-".join(words))
    return _Plan(open_dataset(data, layout, needs="train"), recipe, folder)


def _plan_repetition(run: Path, data: Path | None, output: Path | None) -> _Plan:
    """Plan what a run was, with its data where it was unless that has moved."""
    from reid.data.layout import open_dataset
    from reid.train.run.folder import RunFolder
    from reid.train.run.origin import read_origin
    from reid.train.run.provenance import data_fingerprint

    origin = read_origin(run)
    dataset = open_dataset(data or origin.data, origin.layout, needs="train")
    origin.check(data_fingerprint(dataset))
    folder = RunFolder(output or run.resolve().with_name(f"{run.resolve().name}-repeat"))
    return _Plan(dataset, origin.recipe, folder, origin)


def _train(plan: _Plan, *, resume: bool, save_every: float | None) -> dict[str, Any]:
    from reid.train.loop import SAVE_EVERY, Watcher
    from reid.train.loop import train as learn
    from reid.train.parallel.processes import joined_processes

    if resume and not plan.folder.has_state:
        _note(f"note: {plan.folder.path} has no state to go on from; starting from the beginning")
    with joined_processes() as processes, _shown_progress(plan.recipe.epochs) as on_step:
        for change in plan.repeated.changes(processes) if plan.repeated else []:
            _note(f"note: {change}; the weights may not be exactly those of the repeated run")
        outcome = learn(
            plan.dataset,
            plan.recipe,
            plan.folder,
            resume=resume,
            watcher=Watcher(on_step, _note_epoch, _note),
            save_every=SAVE_EVERY if save_every is None else save_every,
            processes=processes,
        )
    best = outcome.card.training
    return {
        "run": str(plan.folder.path),
        "fingerprint": outcome.card.fingerprint,
        "epochs": outcome.progress.epochs_done,
        "best_epoch": best["best_epoch"],
        "held_out": best["held_out"],
    }


@contextlib.contextmanager
def _shown_progress(epochs: int) -> Iterator[Callable[[int, int, int], None]]:
    """Show a bar; yields a function of (epoch, steps done, steps in the epoch)."""
    if not _LEADS:
        yield lambda epoch, done, total: None
        return
    with progress("training", "steps") as bar:
        yield lambda epoch, done, total: bar((epoch - 1) * total + done, epochs * total)


def _note(sentence: str) -> None:
    if _LEADS:
        note(sentence)


def _note_epoch(row: dict[str, Any]) -> None:
    scores = row["held_out"]["i2i"]
    _note(
        f"epoch {row['epoch']}: loss {row['train']['loss']:.3f}, held-out mAP {scores['mAP']:.2f} "
        f"R-1 {scores['R-1']:.2f}, {row['images_per_second']:.0f} images/s"
    )
    if row["unreadable"]:
        _note(f"note: {len(row['unreadable'])} images could not be read: {'; '.join(row['unreadable'][:3])}")


def _merge(options: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Put the settings of --set beside those that have an option of their own."""
    try:
        settings = parse_settings(assignments)
    except ReidError as error:
        raise typer.BadParameter(str(error), param_hint="--set") from None
    if twice := options.keys() & settings.keys():
        raise typer.BadParameter(f"{', '.join(sorted(twice))}: there is an option for it too", param_hint="--set")
    return {**options, **settings}


def _parse_batch(text: str | None) -> dict[str, int]:
    if text is None:
        return {}
    p, _, k = text.partition("x")
    if not (p.isdecimal() and k.isdecimal() and int(p) > 1 and int(k) > 0):
        raise typer.BadParameter(f"{text!r} is not vehicles x images, such as 16x4", param_hint="--batch")
    return {"vehicles_per_batch": int(p), "images_per_vehicle": int(k)}


def _parse_levels(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
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


if __name__ == "__main__":  # torchrun -m reid.commands.train
    main()
