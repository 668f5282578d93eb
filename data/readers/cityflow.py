"""Reader for CityFlow-ReID (Tang et al., CVPR 2019; AI City challenge, track 2).

The identities of its test images are not public, so evaluation uses a seeded split of the training vehicles.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from reid.data.dataset import Challenge, Dataset, Problem, Split
from reid.data.readers.lists import Label, read_labels, read_names, read_tracks
from reid.data.splitting import hold_out_for_evaluation
from reid.data.tracks import group_into_tracklets, tracklets_from_list
from reid.runtime.listing import Listing, joined
from reid.runtime.tracklet import Tracklet

__all__ = ["LISTS", "read"]

LISTS = (
    "train_label.xml",
    "query_label.xml",
    "test_label.xml",
    "train_track.txt",
    "test_track.txt",
    "name_train.txt",
    "name_query.txt",
    "name_test.txt",
)


def read(listing: Listing) -> Dataset:
    """Read a CityFlow-ReID folder as far as it can be read; whatever is wrong with it is listed in `problems`."""
    problems: list[Problem] = []
    labels = read_labels(listing.path("train_label.xml"), problems)
    images = _read_labeled(listing, labels, problems)
    tracks = read_tracks(listing.path("train_track.txt"), problems)
    if tracks is None:
        tracklets = group_into_tracklets(images)
    else:
        there = set(listing.folder("image_train").files)
        tracklets = tracklets_from_list(tracks, images, "image_train", there, "train_track.txt", problems)
    held_out = hold_out_for_evaluation(Split(images, tracklets), "image_train", problems)
    challenge = _read_challenge(listing, problems)
    return Dataset(
        layout="cityflow",
        root=listing.root,
        train=held_out.train,
        query=held_out.query,
        gallery=held_out.gallery,
        problems=tuple(problems),
        challenge=challenge,
        split_facts=held_out.facts,
        lists=LISTS,
    )


def _read_labeled(
    listing: Listing, labels: Mapping[str, Label] | None, problems: list[Problem]
) -> tuple[Tracklet, ...]:
    on_disk = _read_part(listing, "train", labels or {}, problems)
    if labels is None:
        return ()
    images = []
    for name, path in on_disk.items():
        label = labels.get(name)
        if label is None:
            problems.append(Problem("not in label file", f"image_train/{name}", "not used"))
        elif label.vehicle is None or label.camera is None:
            problems.append(Problem("unknown identity", f"image_train/{name}", "its label lacks vehicle or camera"))
        else:
            images.append(Tracklet(path.stem, (path,), label.camera, label.vehicle))
    return tuple(images)


def _read_challenge(listing: Listing, problems: list[Problem]) -> Challenge:
    sides: list[tuple[Tracklet, ...]] = []
    for part in ("query", "test"):
        label_file = f"{part}_label.xml"
        labels = (read_labels(listing.path(label_file), problems) if listing.has(label_file) else None) or {}
        images = _read_part(listing, part, labels, problems)
        cameras = {name: label.camera for name, label in labels.items()}
        sides.append(tuple(Tracklet(path.stem, (path,), cameras.get(name)) for name, path in images.items()))
    query, gallery = ([image for image in side if _is_numbered(image, problems)] for side in sides)
    tracks = read_tracks(listing.path("test_track.txt"), problems)
    if tracks is not None:  # only to find problems: the challenge ranks images
        there = set(listing.folder("image_test").files)
        tracklets_from_list(tracks, sides[1], "image_test", there, "test_track.txt", problems)
    return Challenge(tuple(query), tuple(gallery))


def _is_numbered(image: Tracklet, problems: list[Problem]) -> bool:
    """Return whether an image's name is a number, as the challenge's submission file needs."""
    if image.id.isdecimal():
        return True
    where = "/".join(Path(str(image.frames[0])).parts[-2:])
    problems.append(Problem("unknown identity", where, "its name is not a number; not used"))
    return False


def _read_part(listing: Listing, part: str, labels: Mapping[str, Label], problems: list[Problem]) -> dict[str, Path]:
    """List a folder's images in the order of their numbers; names that are in its lists only become problems."""
    folder = f"image_{part}"
    images = listing.images(folder, or_folders=True)
    on_disk = {name: images[name] for name in sorted(images, key=_number)}
    if not on_disk:
        problems.append(Problem("empty split", folder, "the folder is missing or holds no images"))
    name_list = f"name_{part}.txt"  # in some copies of the data set
    listed = (read_names(listing.path(name_list), problems) if listing.has(name_list) else None) or []
    expected = dict.fromkeys(listed, f"is in {name_list}") | dict.fromkeys(labels, f"is in {part}_label.xml")
    others = set(listing.folder(folder).files) - on_disk.keys()
    for name, detail in expected.items():
        if name in others:
            problems.append(Problem("unreadable image", joined(folder, name), "its suffix is not that of an image"))
        elif name not in on_disk:
            problems.append(Problem("missing file", joined(folder, name), detail))
    if listed:
        unlisted = on_disk.keys() - set(listed)
        problems += [Problem("not in name list", joined(folder, name)) for name in sorted(unlisted)]
    return on_disk


def _number(name: str) -> tuple[int, str]:
    stem = name.rpartition(".")[0]
    return (int(stem) if stem.isdecimal() else 0, name)
