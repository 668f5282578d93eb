"""Writing the procedural data set to disk, in VeRi-776's layout."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from reid.data.synthesis.body import BODIES
from reid.data.synthesis.scene import Track, plan_tracks
from reid.data.synthesis.styles import STYLES, Style, StyleName
from reid.data.synthesis.vehicle import PAINTS
from reid.runtime.errors import DataError
from reid.runtime.files.storage import atomic_directory
from reid.runtime.progress import SILENT, Progress

__all__ = ["SplitSummary", "SynthesisSummary", "synthesize"]

VEHICLES, CAMERAS, SEEDS = range(4, 10_000), range(2, 1000), range(1 << 63)
TEST_REMAINDERS = (2, 4)
"""Vehicles whose number modulo 5 is one of these are for testing, so that every fleet is in both splits."""


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """The size of one split."""

    vehicles: int
    images: int
    tracks: int


@dataclass(frozen=True, slots=True)
class SynthesisSummary:
    """The size of what was written; every query is also one of the test images."""

    train: SplitSummary
    test: SplitSummary
    queries: int


def synthesize(
    output: Path,
    *,
    vehicles: int = 60,
    cameras: int = 6,
    seed: int = 0,
    style: StyleName = "plain",
    progress: Progress = SILENT,
) -> SynthesisSummary:
    """Write a data set of procedural vehicles in VeRi-776's layout; `output` is whole or absent afterwards.

    The same arguments give the same bytes. A vehicle looks the same and is in the same split whatever the number of
    vehicles, and a camera is the same whatever the number of cameras.

    Args:
        output: the folder to write; it must not exist, or be empty.
        vehicles: number of identities in train and test together, 4 to 9999; about 60 % are for training.
        cameras: number of cameras, 2 to 999.
        seed: random seed, 0 to 2 ** 63 - 1.
        style: "plain" or "varied"; both have the same tracks.
        progress: follows the images as they are rendered.

    Raises:
        DataError: a number is out of range.
        ReidError: `output` is in use.
    """
    _check(vehicles, cameras, seed)
    tracks = [track for number in range(1, vehicles + 1) for track in plan_tracks(seed, number, cameras)]
    train = [track for track in tracks if not _is_test(track.vehicle)]
    test = [track for track in tracks if _is_test(track.vehicle)]
    queries = _draw_queries(test, seed)
    with atomic_directory(output, records=None, last="*.*") as folder:  # the lists
        _write_images(folder, tracks, STYLES[style], seed, progress)
        for name in queries:
            shutil.copyfile(folder / "image_test" / name, folder / "image_query" / name)
        _write_lists(folder, train, test, queries, STYLES[style], seed)
    return SynthesisSummary(_summarize(train), _summarize(test), len(queries))


def _check(vehicles: int, cameras: int, seed: int) -> None:
    if vehicles not in VEHICLES:
        raise DataError(
            f"{vehicles} vehicles: VeRi-776's names and splits need 4 to 9999; choose a number in this range"
        )
    if cameras not in CAMERAS:
        raise DataError(f"{cameras} cameras: VeRi-776's names and queries need 2 to 999; choose a number in this range")
    if seed not in SEEDS:
        raise DataError(f"seed {seed} is out of range; choose 0 to {SEEDS[-1]}")


def _is_test(vehicle: int) -> bool:
    return vehicle % 5 in TEST_REMAINDERS


def _names(tracks: Iterable[Track]) -> list[str]:
    return sorted(name for track in tracks for name in track.names())


def _draw_queries(test: Sequence[Track], seed: int) -> list[str]:
    """Draw one image of each test vehicle and camera; return their names in order."""
    views: defaultdict[tuple[int, int], list[str]] = defaultdict(list)
    for track in test:
        views[track.vehicle, track.camera].extend(track.names())
    return sorted(names[np.random.default_rng([seed, 8, *view]).integers(len(names))] for view, names in views.items())


def _write_images(folder: Path, tracks: Sequence[Track], style: Style, seed: int, progress: Progress) -> None:
    """Film one camera after another, so that only one empty road is in memory at a time."""
    for name in ("image_train", "image_query", "image_test"):
        (folder / name).mkdir()
    progress.begin("rendering", sum(len(track.times) for track in tracks), "images")
    for camera in sorted({track.camera for track in tracks}):
        own = [track for track in tracks if track.camera == camera]
        for track, shots in zip(own, style.shoot(seed, camera, own), strict=True):
            split = folder / ("image_test" if _is_test(track.vehicle) else "image_train")
            for name, (image, quality) in zip(track.names(), shots, strict=True):
                (split / name).write_bytes(_encode(image, quality))
                progress.advance()


def _encode(image: NDArray[np.uint8], quality: int) -> bytes:
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.tobytes()


def _write_lists(
    folder: Path, train: Sequence[Track], test: Sequence[Track], queries: Sequence[str], style: Style, seed: int
) -> None:
    gallery = _names(test)
    lists = {
        "name_train.txt": _names(train),
        "name_query.txt": queries,
        "name_test.txt": gallery,
        "test_track.txt": [" ".join(track.names()) for track in test],
        "gt_index.txt": _index(queries, gallery, same_camera=False),
        "jk_index.txt": _index(queries, gallery, same_camera=True),
        "list_color.txt": [f"{k} {paint.name}" for k, paint in enumerate(PAINTS, start=1)],
        "list_type.txt": [f"{k} {body.name}" for k, body in enumerate(BODIES, start=1)],
    }
    for name, lines in lists.items():
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    _write_labels(folder / "train_label.xml", "TrainingImages", lists["name_train.txt"], style, seed)
    _write_labels(folder / "test_label.xml", "TestImages", gallery, style, seed)


def _index(queries: Iterable[str], gallery: Iterable[str], *, same_camera: bool) -> list[str]:
    """Return, for each query, the positions (from 1) of its vehicle's images by its own or by other cameras."""
    shots: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for position, name in enumerate(gallery, start=1):
        vehicle, camera, *_ = name.split("_")
        shots[vehicle].append((position, camera))
    rows = []
    for query in queries:
        vehicle, camera, *_ = query.split("_")
        rows.append(" ".join(str(k) for k, other in shots[vehicle] if (other == camera) is same_camera))
    return rows


def _write_labels(path: Path, root: str, names: Sequence[str], style: Style, seed: int) -> None:
    looks = {number: style.look(seed, int(number)) for number in {name[:4] for name in names}}
    lines = [
        '<?xml version="1.0" encoding="gb2312"?>',
        f'<{root} Version="1.0">',
        f'  <Items number="{len(names)}">',
    ]
    for name in names:
        number, camera, *_ = name.split("_")
        paint, body = looks[number]
        lines.append(
            f'    <Item imageName="{name}" vehicleID="{number}" cameraID="{camera}"'
            f' colorID="{paint + 1}" typeID="{body + 1}" />'
        )
    lines += ["  </Items>", f"</{root}>", ""]
    path.write_text("\n".join(lines), encoding="gb2312")


def _summarize(tracks: Sequence[Track]) -> SplitSummary:
    return SplitSummary(
        vehicles=len({track.vehicle for track in tracks}),
        images=sum(len(track.times) for track in tracks),
        tracks=len(tracks),
    )
