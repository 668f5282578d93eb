"""`reid-infer`: rank a gallery for every query."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reid.commands.notes import note_files, note_frames
from reid.commands.options import (
    DEFAULT_PIXELS,
    OUTPUT,
    AsJson,
    Cameras,
    ExpandQueries,
    FalseMatchRate,
    MaxPixels,
    ModelOption,
    NotCameras,
    OtherCameras,
    PrecisionOption,
    Rerank,
    SeenSince,
    SeenUntil,
    SessionOption,
    ShardOption,
    SightingsOption,
    TravelTimesOption,
)
from reid.commands.shell import ProgressBar, application, print_json, run
from reid.commands.terminal import print_result
from reid.runtime.text import printable

if TYPE_CHECKING:
    from reid.runtime.galleries.filters import Filters
    from reid.runtime.inference import Inference

app = application()
CHECK = "Check"
logger = logging.getLogger(__name__)


@app.command(epilog="Example: reid-infer gallery/ query/")
def infer(
    gallery: Annotated[
        str,
        typer.Argument(
            metavar="GALLERY",
            help="Folder or archive of crops, a saved gallery (.npz), the folder of reid-gallery, lance://FOLDER, or "
            "milvus://HOST:PORT/NAME.",
        ),
    ],
    query: Annotated[Path, typer.Argument(metavar="QUERY", help="Folder or archive of crops.")],
    top_k: Annotated[int, typer.Option(min=1, max=1_000_000, help="Number of matches per query.")] = 10,
    expand_queries: ExpandQueries = 0,
    rerank: Rerank = False,
    false_match_rate: FalseMatchRate = None,
    shard: ShardOption = None,
    camera: Cameras = None,
    not_camera: NotCameras = None,
    other_cameras: OtherCameras = False,
    since: SeenSince = None,
    until: SeenUntil = None,
    travel_times: TravelTimesOption = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Compare the crops of each camera with those that the bundle was verified on.",
            rich_help_panel=CHECK,
        ),
    ] = False,
    new_cameras: Annotated[
        bool,
        typer.Option(
            "--new-cameras",
            help="The cameras are not those of the verification, though names are the same.",
            rich_help_panel=CHECK,
        ),
    ] = False,
    fail_on_drift: Annotated[
        bool,
        typer.Option("--fail-on-drift", help="End in exit code 3 where a camera has changed.", rich_help_panel=CHECK),
    ] = False,
    sightings: SightingsOption = None,
    max_pixels: MaxPixels = DEFAULT_PIXELS,
    model: ModelOption = Path("bundle"),
    session: SessionOption = "auto",
    precision: PrecisionOption = "fp32",
    output: Annotated[
        Path, typer.Option(help="Folder for rankings.json, rankings.csv and report.html.", rich_help_panel=OUTPUT)
    ] = Path("results"),
    as_json: AsJson = False,
) -> None:
    """Rank the gallery's tracklets for every query.

    In both folders, a subfolder is a tracklet and a loose image is a tracklet of one frame.
    """
    from reid.commands.drift_table import check_facts, print_checks, refuse_drift
    from reid.pages.results import write_results
    from reid.runtime.data_drift.observing import Observer
    from reid.runtime.data_drift.reference import read_reference
    from reid.runtime.files.manifest import replaceable_directory
    from reid.runtime.galleries.opening import local_path
    from reid.runtime.inference import infer as rank
    from reid.runtime.opening import open_session
    from reid.runtime.shards import Shard
    from reid.runtime.sightings import read_sightings

    if false_match_rate is not None and (expand_queries or rerank):
        raise typer.BadParameter(
            "--false-match-rate decides by thresholds for plain scores: leave it out, or --expand-queries and --rerank"
        )
    if shard is not None and rerank:
        raise typer.BadParameter("--rerank looks at all queries together: leave it out, or --shard")
    if (new_cameras or fail_on_drift) and not check:
        raise typer.BadParameter("--new-cameras and --fail-on-drift are about the check of the crops: add --check")
    filters = _filters(camera, not_camera, since, until, travel_times, other_cameras=other_cameras)
    inputs = [path for path in (local_path(gallery), query, model, travel_times, sightings) if path is not None]
    # Opening the folder first finds out before the work whether it can be written.
    with replaceable_directory(output, inputs=inputs) as results, open_session(model, session, precision) as opened:
        reference = read_reference(model, opened.info) if check else None
        observer = None if reference is None else Observer(reference.center)
        with ProgressBar() as progress:
            inference = rank(
                opened,
                gallery,
                query,
                k=top_k,
                expand_queries=expand_queries,
                rerank=rerank,
                false_match_rate=false_match_rate,
                filters=filters,
                sightings=None if sightings is None else read_sightings(sightings),
                shard=None if shard is None else Shard.parse(shard),
                observer=observer,
                progress=progress,
            )
        checks = None
        if reference is not None and observer is not None:
            checks = observer.compared(reference, new_cameras=new_cameras)
        with closing(inference.gallery):
            write_results(results, inference, opened, checks)
            facts = {
                "output": str(output),
                "model": opened.info.card.fingerprint,
                "session": str(opened.info),
                "precision": opened.info.precision,
                **_summary(inference),
                **({} if checks is None else {"check": check_facts(checks)}),
            }
    _note(inference)
    if as_json:
        print_json(facts)
    else:
        if checks is not None:
            print_checks(checks)
        print_result(printable(output / "report.html"))
    if checks is not None and fail_on_drift:
        refuse_drift(checks)


def _filters(
    cameras: list[str] | None,
    not_cameras: list[str] | None,
    since_s: float | None,
    until_s: float | None,
    travel_times: Path | None,
    *,
    other_cameras: bool,
) -> Filters:
    from reid.runtime.galleries.filters import Filters
    from reid.runtime.galleries.travel_times import TravelTimes

    if since_s is not None and until_s is not None and since_s > until_s:
        raise typer.BadParameter(f"--since {since_s:g} is after --until {until_s:g}")
    if not all([*(cameras or []), *(not_cameras or [])]):
        raise typer.BadParameter("--camera and --not-camera take the name of a camera, which is not empty")
    if both := set(cameras or []) & set(not_cameras or []):
        raise typer.BadParameter(f"--camera and --not-camera are both {min(both)}: leave out one")
    travel = None if travel_times is None else TravelTimes.load(travel_times)
    only = frozenset(cameras) if cameras else None
    return Filters(only, frozenset(not_cameras or []), other_cameras, since_s, until_s, travel)


def _summary(inference: Inference) -> dict[str, object]:
    """Return what came of it, for programs."""
    point = inference.operating_point
    left_out = {str(folder): [asdict(one) for one in files] for folder, files in inference.left_out.items()}
    return {
        "post_processing": inference.post_processing.name,
        "filters": dict(inference.filters.facts),
        "operating_point": None if point is None else point.model_dump(mode="json"),
        "queries": len(inference.rankings),
        "unmatched": inference.unmatched,
        "gallery": len(inference.gallery),
        "frames": inference.frames,
        "unreadable": list(inference.unreadable),
        "left_out": left_out,
    }


def _note(inference: Inference) -> None:
    note_frames(inference.unreadable, inference.frames)
    for folder, left_out in inference.left_out.items():
        note_files(folder, left_out)
    if inference.unmatched:
        queries = len(inference.rankings)
        logger.warning("nothing passes the filters for %d of %d queries", inference.unmatched, queries)


def main() -> None:
    """Entry point."""
    run(app)
