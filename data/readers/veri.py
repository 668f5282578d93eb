"""Reader for VeRi-776 (Liu et al., ECCV 2016): name lists, label XML, test tracks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reid.data.dataset import Dataset, Problem, Split
from reid.data.readers.lists import Label, read_labels, read_names, read_tracks
from reid.data.tracks import group_into_tracklets, own_tracklets, tracklets_from_list
from reid.runtime.file_names import parse_name
from reid.runtime.labels import same_label
from reid.runtime.listing import Listing, joined
from reid.runtime.tracklet import Tracklet

__all__ = ["COMPANIONS", "LISTS", "read"]

LISTS = (
    "train_label.xml",
    "test_label.xml",
    "name_train.txt",
    "name_query.txt",
    "name_test.txt",
    "test_track.txt",
)

COMPANIONS = (
    "camera_Dist.txt",
    "camera_ID.txt",
    "gt_image.txt",
    "gt_index.txt",
    "jk_image.txt",
    "jk_index.txt",
    "list_color.txt",
    "list_type.txt",
)
"""Other files of the data set, which nothing here needs."""


def read(listing: Listing) -> Dataset:
    """Read a VeRi-776 folder as far as it can be read; whatever is wrong with it is listed in `problems`."""
    problems: list[Problem] = []
    train_labels = read_labels(listing.path("train_label.xml"), problems)
    test_labels = read_labels(listing.path("test_label.xml"), problems)
    train = _read_images(listing, "train", train_labels, problems)
    query_labels = _labels_of_queries(listing, test_labels)
    gallery_labels = _without_separate_queries(listing, test_labels, query_labels)
    gallery = _read_images(listing, "test", gallery_labels, problems)
    query = _read_images(listing, "query", query_labels, problems)
    tracks = read_tracks(listing.path("test_track.txt"), problems)
    if tracks is None:
        tracklets = group_into_tracklets(gallery)
    else:
        there = set(listing.folder("image_test").files)
        tracklets = tracklets_from_list(tracks, gallery, "image_test", there, "test_track.txt", problems)
    return Dataset(
        layout="veri",
        root=listing.root,
        train=Split(train, group_into_tracklets(train)),
        query=Split(query, own_tracklets(query, tracklets)),
        gallery=Split(gallery, tracklets),
        problems=tuple(problems),
        lists=LISTS,
    )


def _labels_of_queries(listing: Listing, test_labels: Mapping[str, Label] | None) -> Mapping[str, Label] | None:
    """Return the queries' labels: those of the test images that the queries are copies of."""
    if test_labels is None:
        return None
    return {name: test_labels[name] for name in listing.images("image_query", or_folders=True) if name in test_labels}


def _without_separate_queries(
    listing: Listing, test_labels: Mapping[str, Label] | None, query_labels: Mapping[str, Label] | None
) -> Mapping[str, Label] | None:
    """Leave out the labels of queries that are not test images: some copies of the data set keep the two apart."""
    if test_labels is None or query_labels is None:
        return test_labels
    there = set(listing.folder("image_test").files)
    return {name: label for name, label in test_labels.items() if name not in query_labels or name in there}


def _read_images(
    listing: Listing, part: str, labels: Mapping[str, Label] | None, problems: list[Problem]
) -> tuple[Tracklet, ...]:
    folder = f"image_{part}"
    on_disk = listing.images(folder, or_folders=True)
    others = set(listing.folder(folder).files) - on_disk.keys()
    listed = read_names(listing.path(f"name_{part}.txt"), problems)
    if not on_disk:
        problems.append(Problem("empty split", folder, "the folder is missing or holds no images"))
    expected = dict.fromkeys(listed or (), "")
    expected |= {name: "has a label" for name in sorted((labels or {}).keys() - on_disk.keys()) if name not in expected}
    for name, detail in expected.items():
        if name in others:
            problems.append(Problem("unreadable image", joined(folder, name), "its suffix is not that of an image"))
        elif name not in on_disk:
            problems.append(Problem("missing file", joined(folder, name), detail))
    if listed is not None:
        unlisted = sorted(on_disk.keys() - set(listed))
        problems += [Problem("not in name list", joined(folder, name)) for name in unlisted]
    if labels is not None:
        problems += [Problem("not in label file", joined(folder, name)) for name in on_disk if name not in labels]
    images = (
        _identify(joined(folder, name), path, (labels or {}).get(name), problems) for name, path in on_disk.items()
    )
    return tuple(image for image in images if image is not None)


def _identify(where: str, path: Path, label: Label | None, problems: list[Problem]) -> Tracklet | None:
    """Identify an image by the label file or, if that does not say, by its name."""
    name = parse_name(path.name)
    vehicle = (label.vehicle if label else None) or (name.vehicle if name else None)
    camera = (label.camera if label else None) or (name.camera if name else None)
    if vehicle is None or camera is None:
        problems.append(Problem("unknown identity", where, "neither its label nor its name gives vehicle and camera"))
        return None
    if name and not (same_label(name.vehicle, vehicle) and same_label(name.camera, camera)):
        problems.append(Problem("label and name disagree", where, f"labeled {vehicle} at {camera}; the label is used"))
    return Tracklet(path.stem, (path,), camera, vehicle)
