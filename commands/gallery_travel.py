"""`reid-gallery learn-travel`: how long vehicles take from camera to camera."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.commands.options import AsJson, LayoutOption, finite
from reid.commands.shell import ProgressBar, note_problems, print_json
from reid.commands.terminal import print_result, print_tables
from reid.runtime.text import printable

if TYPE_CHECKING:
    from reid.data.travel import Journeys
    from reid.runtime.galleries.entry import Entry
    from reid.runtime.galleries.travel_times import TravelTimes

logger = logging.getLogger(__name__)


def learn_travel(
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="A data set, or a gallery whose entries have vehicle, camera and time."),
    ],
    output: Annotated[Path, typer.Option(metavar="FILE", help="File to write.")] = Path("travel-times.json"),
    clock: Annotated[
        float,
        typer.Option(min=1e-6, max=1e9, callback=finite, help="Ticks a second of the times in names of images."),
    ] = 25.0,
    share: Annotated[
        float,
        typer.Option(
            min=0.5, max=0.9999, callback=finite, help="How likely the limits hold for a journey to come, at least."
        ),
    ] = 0.98,
    layout: LayoutOption = None,
    as_json: AsJson = False,
) -> None:
    """Learn the least and the most time between cameras, from vehicles that are known.

    Pairs of cameras with too few journeys get no limits. The default share takes 99 of them, and 0.9 takes 20.
    """
    from reid.data.travel import journeys, journeys_for, limits_of
    from reid.runtime.errors import DataError

    found = journeys(_sightings(data, clock, layout))
    if not found:
        raise DataError(
            f"{data} shows no vehicle twice at a known time; give a data set whose names tell times, or append with "
            "--sightings and give the gallery"
        )
    times = limits_of(found, share=share)
    if not times.limits:
        most, needed = max(map(len, found.values())), journeys_for(share)
        raise DataError(
            f"no two cameras have the {needed:,} journeys that --share {share:g} takes, the most is {most:,}; "
            "use more data or a smaller --share"
        )
    times.save(output)
    _print(found, times, output, as_json=as_json)


def _sightings(data: str, clock: float, layout: str | None) -> Iterator[Entry]:
    """Return sightings of a gallery's entries, or of a data set's images: of those for training, if there are any."""
    from contextlib import closing

    from reid.data.layout import read_dataset
    from reid.data.passages import passages
    from reid.runtime.galleries.opening import is_gallery, open_gallery

    if layout is None and is_gallery(data):
        with closing(open_gallery(data)) as gallery, ProgressBar() as progress:
            progress.begin("reading", len(gallery), "entries")
            for entries in gallery.entries():
                yield from entries
                progress.advance(len(entries))
        return
    dataset = read_dataset(data, layout)
    note_problems(dataset)
    if not dataset.train.images:
        logger.warning("%s has no training images; learned from the gallery's", dataset.root)
    yield from passages(dataset.train.images or dataset.gallery.images, clock)


def _print(found: Journeys, times: TravelTimes, output: Path, *, as_json: bool) -> None:
    without = {pair: len(seconds) for pair, seconds in found.items() if pair not in times.limits}
    if as_json:
        pairs = [
            {"start": start, "end": end, "least_s": least, "most_s": most, "journeys": len(found[start, end])}
            for (start, end), (least, most) in times.limits.items()
        ]
        few = [{"start": start, "end": end, "journeys": count} for (start, end), count in without.items()]
        print_json({"output": str(output), "pairs": pairs, "without_limits": few})
        return
    from rich.table import Table

    table = Table("from", "to", "least", "most", "journeys")
    for (start, end), (least, most) in times.limits.items():
        numbers = f"{least:,.1f} s", f"{most:,.1f} s", f"{len(found[start, end]):,}"
        table.add_row(printable(start), printable(end), *numbers)
    print_tables(table, width=10_000)
    if without:
        print_result(f"{len(without):,} pairs with fewer journeys, up to {max(without.values()):,}, have no limits")
    print_result(printable(output))
