"""Data sets without lists: tracklet folders (`vehicle/camera_track/*.jpg`) and flat folders of labeled names.

Either may be split into folders: `train`, `query` and `gallery`, or the names that Market-1501 and VeRi use for these.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from reid.data.dataset import Dataset, Problem, Split
from reid.data.readers.contents import read_contents
from reid.data.splitting import hold_out_for_evaluation
from reid.data.tracks import group_into_tracklets, own_tracklets
from reid.runtime.file_names import JUNK, parse_name
from reid.runtime.folders import Contents
from reid.runtime.tracklet import Tracklet

__all__ = ["SPLIT_FOLDERS", "read_flat", "read_tracklets"]

SPLIT_FOLDERS = {
    "train": ("train", "bounding_box_train", "image_train"),
    "query": ("query", "image_query"),
    "gallery": ("gallery", "test", "bounding_box_test", "image_test"),
}


def read_tracklets(root: Path) -> Dataset:
    """Read tracklet folders. The middle frame of each query tracklet is the query image."""
    return _read(root, "tracklets", _tracklets_in, _middle_frames)


def read_flat(root: Path) -> Dataset:
    """Read flat folders whose file names give vehicle and camera."""
    return _read(root, "flat", _named_images_in, _with_own_tracklets)


def _read(
    root: Path,
    layout: str,
    read_split: Callable[[Path, Path, list[Problem]], Split],
    as_queries: Callable[[Split, Split], Split],
) -> Dataset:
    problems: list[Problem] = []
    folders = {part: _first_folder(root, names) for part, names in SPLIT_FOLDERS.items()}
    splits = {part: read_split(root, folder, problems) for part, folder in folders.items() if folder}
    if "query" in splits or "gallery" in splits:
        train, query, gallery = (splits.get(part, Split()) for part in ("train", "query", "gallery"))
        for part, split in (("train", train), ("query", query), ("gallery", gallery)):
            if not split.images:
                problems.append(Problem("empty split", part, "the folder is missing or holds no usable images"))
        return Dataset(layout, root, train, as_queries(query, gallery), gallery, tuple(problems))
    labeled = splits["train"] if "train" in splits else read_split(root, root, problems)
    held_out = hold_out_for_evaluation(labeled, ".", problems)
    return Dataset(
        layout, root, held_out.train, held_out.query, held_out.gallery, tuple(problems), split_facts=held_out.facts
    )


def _first_folder(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / name for name in names if os.path.isdir(root / name)), None)


def _tracklets_in(root: Path, folder: Path, problems: list[Problem]) -> Split:
    tracklets = []
    contents = read_contents(folder, root, problems)
    loose = _loose_images(contents)
    for vehicle in contents.folders:
        inside = read_contents(vehicle, root, problems)
        loose += _loose_images(inside)
        if not inside.folders:
            problems.append(Problem("empty split", str(vehicle.relative_to(root)), "the vehicle has no tracklets"))
        for track in inside.folders:
            frames = read_contents(track, root, problems).images
            name = str(track.relative_to(folder))
            if frames:
                tracklets.append(Tracklet(name, frames, track.name.partition("_")[0], vehicle.name))
            else:
                problems.append(Problem("empty split", str(track.relative_to(root)), "the tracklet holds no images"))
    problems += [Problem("not in a track", str(path.relative_to(root)), "not used") for path in loose]
    images = (
        Tracklet(str(Path(frame).relative_to(folder).with_suffix("")), (frame,), tracklet.camera, tracklet.vehicle)
        for tracklet in tracklets
        for frame in tracklet.frames
        if isinstance(frame, Path)
    )
    return Split(tuple(images), tuple(tracklets))


def _loose_images(contents: Contents) -> list[Path]:
    folders = frozenset(contents.folders)
    return [path for path in contents.images if path not in folders]


def _middle_frames(split: Split, gallery: Split) -> Split:
    images = (Tracklet(t.id, (t.frames[len(t.frames) // 2],), t.camera, t.vehicle) for t in split.tracklets)
    return Split(tuple(images), split.tracklets)


def _named_images_in(root: Path, folder: Path, problems: list[Problem]) -> Split:
    images = []
    for path in read_contents(folder, root, problems).images:
        name = parse_name(path.name)
        if name is None:
            where = str(path.relative_to(root))
            problems.append(Problem("unknown identity", where, "not a VeRi-style or Market-style name"))
        elif name.vehicle != JUNK:  # junk boxes count as neither right nor wrong
            images.append(Tracklet(path.stem, (path,), name.camera, name.vehicle))
    return Split(tuple(images), group_into_tracklets(images))


def _with_own_tracklets(split: Split, gallery: Split) -> Split:
    return Split(split.images, own_tracklets(split.images, gallery.tracklets))
