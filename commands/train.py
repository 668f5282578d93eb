"""`reid-train`: train a multi-level model."""

from __future__ import annotations

import logging
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from reid.commands.options import (
    DATA,
    DEFAULT_PIXELS,
    LARGEST_SEED,
    MODEL,
    AsJson,
    LayoutName,
    LayoutOption,
    MaxPixels,
    finite,
    whole_number,
)
from reid.commands.shell import ProgressBar, application, note_problems, print_json, run
from reid.commands.terminal import print_result
from reid.runtime.text import printable
from reid.train.choices import LossName, RecipeName
from reid.train.freed_memory import keep_freed_memory

if TYPE_CHECKING:
    from reid.data.dataset import Dataset
    from reid.train.loop import Outcome
    from reid.train.recipe import Recipe
    from reid.train.run.folder import RunFolder
    from reid.train.run.origin import Origin

app = application()
logger = logging.getLogger(__name__)

_DEFAULT_RECIPE = "poster"
_LARGEST_SIZE = 4096  # most vehicles, and most images of each, in a batch
_SCHEDULE, _RUN = "Schedule", "Run"  # panels of the help


@dataclass(frozen=True, slots=True)
class _Plan:
    """The plan of a run.

    Attributes:
        dataset: the data set.
        recipe: all settings.
        folder: the run's folder.
        repeated: origin of the run that is to be repeated, if there is one.
        source: folder of that run.
    """

    dataset: Dataset
    recipe: Recipe
    folder: RunFolder
    repeated: Origin | None = None
    source: Path | None = None


@app.command(epilog="Example: reid-train VeRi --epochs 60")
def train(
    data: Annotated[
        Path | None, typer.Argument(metavar="DATA", help="Folder of a data set.", rich_help_panel=DATA)
    ] = None,
    layout: LayoutOption = None,
    max_pixels: MaxPixels = DEFAULT_PIXELS,
    batch: Annotated[
        str | None, typer.Option(help="Vehicles x images of each in a batch, such as 16x4.", rich_help_panel=DATA)
    ] = None,
    loss: Annotated[LossName | None, typer.Option(help="Metric loss of every level.", rich_help_panel=MODEL)] = None,
    levels: Annotated[
        str | None, typer.Option(help="Feature levels of the backbone, such as 2,3,4.", rich_help_panel=MODEL)
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="Name of the backbone in timm.", rich_help_panel=MODEL)] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="default (timm's pretrained weights), none, or a file; with --qat, the run that BUNDLE comes from.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=32, max=4096, help="Side of the square crops, in pixels.", rich_help_panel=MODEL)
    ] = None,
    qat: Annotated[
        Path | None,
        typer.Option(
            metavar="BUNDLE",
            help="Fine-tune the model of --weights RUN for the INT8 graph in BUNDLE, exported from it.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help=f"Settings to start from: {' or '.join(get_args(RecipeName))}. [default: {_DEFAULT_RECIPE}]",
            rich_help_panel=_SCHEDULE,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, max=100_000, help="Number of passes over the training images.", rich_help_panel=_SCHEDULE),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=LARGEST_SEED,
            help="Random seed of weights, held-out vehicles, sampling and augmentation.",
            rich_help_panel=_SCHEDULE,
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting of the recipe, by name; may be repeated.",
            rich_help_panel=_SCHEDULE,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Run folder. [default: runs/DATA-BACKBONE-LOSS]", rich_help_panel=_RUN)
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue where the run was stopped.", rich_help_panel=_RUN)
    ] = False,
    repeat: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Repeat a run in another folder.", rich_help_panel=_RUN)
    ] = None,
    save_every: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1_000_000_000,
            callback=finite,
            help="Seconds between saved states, from which --resume continues. [default: 300]",
            rich_help_panel=_RUN,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a multi-level model; part of the training vehicles is held out to choose the best epoch.

    A setting that is not given comes from the recipe.
    """
    from reid.train.recipe import SettingError

    options = {
        "loss": loss,
        "levels": levels,
        "backbone": backbone,
        "weights": weights,
        "image_size": image_size,
        "epochs": epochs,
        **_read_batch(batch),
        "seed": seed,
    }
    try:
        given = _merge({name: value for name, value in options.items() if value is not None}, assignments or [])
        if repeat:
            if given or recipe or layout or qat:
                raise typer.BadParameter("every setting comes from RUN; leave out all others", param_hint="--repeat")
            plan = _plan_repetition(repeat, data, output)
        elif data and qat:
            if recipe:
                raise typer.BadParameter(
                    "the recipe is the one that the model was trained with; leave out --recipe", param_hint="--qat"
                )
            plan = _plan_fine_tuning(data, qat, given, layout, output)
        elif data:
            plan = _plan(data, recipe or _DEFAULT_RECIPE, given, layout, output)
        else:
            raise typer.BadParameter("give the folder of a data set, or --repeat RUN", param_hint="DATA")
    except SettingError as error:
        raise typer.BadParameter(str(error)) from None
    if save_every is not None:
        plan.folder.save_every = save_every
    outcome = _train(plan, resume=resume)
    if outcome:
        print_json(_result(plan, outcome)) if as_json else print_result(printable(plan.folder.path))


def _plan(data: Path, name: str, given: dict[str, Any], layout: LayoutName | None, output: Path | None) -> _Plan:
    """Plan a run of a recipe with the given settings."""
    from reid.train.recipe import RECIPES

    if name not in RECIPES:
        raise typer.BadParameter(f"unknown recipe {name!r}; choose one of: {', '.join(RECIPES)}", param_hint="--recipe")
    if "qat" in given:
        raise typer.BadParameter("name the bundle to fine-tune for with --qat BUNDLE instead", param_hint="--set")
    recipe = RECIPES[name].changed(**given)
    words = [*([] if name == _DEFAULT_RECIPE else [name]), recipe.backbone, recipe.loss]
    return _plan_run(data, recipe, layout, output, words)


def _plan_fine_tuning(
    data: Path, bundle: Path, given: dict[str, Any], layout: LayoutName | None, output: Path | None
) -> _Plan:
    """Plan the fine-tuning of a model for the INT8 graph of the bundle that was exported from it."""
    weights = given.pop("weights", "none")
    if weights in ("default", "none"):
        raise typer.BadParameter(f"give the run that {bundle} was exported from: --weights RUN", param_hint="--qat")
    from reid.train.qat.start import qat_recipe

    recipe = qat_recipe(bundle, Path(weights), given)
    return _plan_run(data, recipe, layout, output, [recipe.backbone, recipe.loss, "qat"])


def _plan_run(data: Path, recipe: Recipe, layout: LayoutName | None, output: Path | None, words: list[str]) -> _Plan:
    from reid.data.layout import open_dataset
    from reid.train.run.folder import RunFolder

    real = Path(os.path.realpath(data))
    folder = RunFolder(output or Path("runs") / "-".join([real.name if real.is_dir() else real.stem, *words]))
    return _Plan(open_dataset(data, layout, needs="train"), recipe, folder)


def _plan_repetition(run: Path, data: Path | None, output: Path | None) -> _Plan:
    """Plan the repetition of a run, with its data where it was unless the data has moved."""
    from reid.data.fingerprint import data_fingerprint
    from reid.data.layout import open_dataset
    from reid.train.run.folder import RunFolder
    from reid.train.run.origin import read_origin

    origin = read_origin(run)
    dataset = open_dataset(data or origin.data_path, origin.data.layout, needs="train")
    origin.check(data_fingerprint(dataset))
    real = Path(os.path.realpath(run))
    folder = RunFolder(output or real.with_name(f"{real.name}-repeat"))
    return _Plan(dataset, origin.recipe, folder, origin, run)


def _train(plan: _Plan, *, resume: bool) -> Outcome | None:
    """Train as planned; return the outcome in the first of the processes that train together, and None in the others.

    Of these processes only the first prints anything.
    """
    from reid.train.loop import train as learn
    from reid.train.parallel.processes import joined_processes
    from reid.train.run.folder import inputs_of

    if os.environ.get("WORLD_SIZE", "1") != "1":
        # When one fails, torchrun ends the others, which may wait for it where no exception of Python's is raised.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with joined_processes() as processes:
        if not processes.leads:
            logging.getLogger("reid").setLevel(logging.CRITICAL)
            learn(plan.dataset, plan.recipe, plan.folder, resume=resume, processes=processes)
            return None
        note_problems(plan.dataset)
        inputs = [*inputs_of(plan.dataset, plan.recipe), *([plan.source] if plan.source else [])]
        plan.folder.check(resume=resume, inputs=inputs)
        if resume and not plan.folder.has_state:
            logger.warning("%s has no state to resume from; starting from the beginning", plan.folder.path)
        for change in plan.repeated.changes(processes) if plan.repeated else []:
            logger.warning("%s; the weights may differ slightly from those of the repeated run", change)
        with ProgressBar() as bar:
            return learn(plan.dataset, plan.recipe, plan.folder, resume=resume, progress=bar, processes=processes)


def _result(plan: _Plan, outcome: Outcome) -> dict[str, Any]:
    training = outcome.card.training
    return {
        "run": str(plan.folder.path),
        "fingerprint": outcome.card.fingerprint,
        "epochs": outcome.position.epochs_done,
        "best_epoch": training.best_epoch,
        "held_out": training.held_out,
        "data": plan.dataset.facts(),
    }


def _merge(options: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Combine the settings that have an option of their own with those of --set."""
    from reid.train.recipe import read_assignments

    settings = read_assignments(assignments)
    if twice := options.keys() & settings.keys():
        raise typer.BadParameter(
            f"{', '.join(sorted(twice))}: also given by an option of its own; leave one of them out", param_hint="--set"
        )
    return {**options, **settings}


def _read_batch(text: str | None) -> dict[str, int]:
    if text is None:
        return {}
    vehicles, _, images = text.partition("x")
    p, k = (whole_number(size, most=_LARGEST_SIZE) for size in (vehicles, images))
    if p is None or k is None or p < 2:
        reason = f"{text!r} is not vehicles x images, from 2x1 to {_LARGEST_SIZE}x{_LARGEST_SIZE}; write it like 16x4"
        raise typer.BadParameter(reason, param_hint="--batch")
    return {"vehicles_per_batch": p, "images_per_vehicle": k}


def main() -> None:
    """Entry point."""
    # Read by OpenMP when PyTorch loads. On few cores its spinning threads and the decoding processes would compete for
    # them, and a step would take many times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()
    run(app)


if __name__ == "__main__":  # torchrun -m reid.commands.train
    main()
