"""Reader for VeRi-776 (Liu et al., ECCV 2016): name lists, label XML, test tracks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from reid.data.dataset import Dataset, Problem, Split
from reid.data.readers.contents import read_contents
from reid.data.readers.lists import Label, read_labels, read_names, read_tracks
from reid.data.tracks import group_into_tracklets, own_tracklets, tracklets_from_list
from reid.runtime.file_names import parse_name
from reid.runtime.tracklet import Tracklet

__all__ = ["read"]


def read(root: Path) -> Dataset:
    """Read a VeRi-776 folder as far as it can be read; whatever is wrong with it is listed in `problems`."""
    problems: list[Problem] = []
    train_labels = read_labels(root / "train_label.xml", problems)
    test_labels = read_labels(root / "test_label.xml", problems)
    train = _read_images(root, "train", train_labels, problems)
    query_labels = _labels_of_queries(root, test_labels)
    gallery_labels = _without_separate_queries(test_labels, query_labels, root / "image_test")
    gallery = _read_images(root, "test", gallery_labels, problems)
    query = _read_images(root, "query", query_labels, problems)
    tracks = read_tracks(root / "test_track.txt", problems)
    if tracks is None:
        tracklets = group_into_tracklets(gallery)
    else:
        tracklets = tracklets_from_list(tracks, gallery, root / "image_test", "test_track.txt", problems)
    return Dataset(
        layout="veri",
        root=root,
        train=Split(train, group_into_tracklets(train)),
        query=Split(query, own_tracklets(query, tracklets)),
        gallery=Split(gallery, tracklets),
        problems=tuple(problems),
    )


def _labels_of_queries(root: Path, test_labels: Mapping[str, Label] | None) -> Mapping[str, Label] | None:
    """Return the queries' labels: those of the test images that the queries are copies of."""
    if test_labels is None:
        return None
    queries = read_contents(root / "image_query", root, []).images  # its problems are noted when it is read for good
    return {path.name: test_labels[path.name] for path in queries if path.name in test_labels}


def _without_separate_queries(
    test_labels: Mapping[str, Label] | None, query_labels: Mapping[str, Label] | None, folder: Path
) -> Mapping[str, Label] | None:
    """Leave out the labels of queries that are not test images: some copies of the data set keep the two apart."""
    if test_labels is None or query_labels is None:
        return test_labels
    return {
        name: label for name, label in test_labels.items() if name not in query_labels or os.path.exists(folder / name)
    }


def _read_images(
    root: Path, part: str, labels: Mapping[str, Label] | None, problems: list[Problem]
) -> tuple[Tracklet, ...]:
    folder = root / f"image_{part}"
    on_disk = {path.name: path for path in read_contents(folder, root, problems).images}
    listed = read_names(root / f"name_{part}.txt", problems)
    if not on_disk:
        problems.append(Problem("empty split", folder.name, "the folder is missing or holds no images"))
    if listed is not None:
        problems += [Problem("missing file", f"{folder.name}/{name}") for name in listed if name not in on_disk]
        unlisted = sorted(on_disk.keys() - set(listed))
        problems += [Problem("not in name list", f"{folder.name}/{name}") for name in unlisted]
    if labels is not None:
        problems += [Problem("not in label file", f"{folder.name}/{name}") for name in on_disk if name not in labels]
        absent = labels.keys() - on_disk.keys() - set(listed or ())
        problems += [Problem("missing file", f"{folder.name}/{name}", "has a label") for name in sorted(absent)]
    images = (_identify(path, (labels or {}).get(name), problems) for name, path in on_disk.items())
    return tuple(image for image in images if image is not None)


def _identify(path: Path, label: Label | None, problems: list[Problem]) -> Tracklet | None:
    """Identify an image by the label file or, if that does not say, by its name."""
    name = parse_name(path.name)
    vehicle = (label.vehicle if label else None) or (name.vehicle if name else None)
    camera = (label.camera if label else None) or (name.camera if name else None)
    where = f"{path.parent.name}/{path.name}"
    if vehicle is None or camera is None:
        problems.append(Problem("unknown identity", where, "neither its label nor its name gives vehicle and camera"))
        return None
    if name and (name.vehicle, name.camera) != (vehicle, camera):
        problems.append(Problem("label and name disagree", where, f"labeled {vehicle} at {camera}; the label is used"))
    return Tracklet(path.stem, (path,), camera, vehicle)
