"""Reader for CityFlow-ReID (Tang et al., CVPR 2019; AI City challenge, track 2).

The identities of its test images are not public, so evaluation uses a seeded split of the training vehicles.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from reid.data.dataset import Challenge, Dataset, Problem, Split
from reid.data.readers.contents import read_contents
from reid.data.readers.lists import Label, read_labels, read_names, read_tracks
from reid.data.splitting import hold_out_for_evaluation
from reid.data.tracks import group_into_tracklets, tracklets_from_list
from reid.runtime.tracklet import Tracklet

__all__ = ["read"]


def read(root: Path) -> Dataset:
    """Read a CityFlow-ReID folder as far as it can be read; whatever is wrong with it is listed in `problems`."""
    problems: list[Problem] = []
    labels = read_labels(root / "train_label.xml", problems)
    images = _read_labeled(root, labels, problems)
    tracks = read_tracks(root / "train_track.txt", problems)
    if tracks is None:
        tracklets = group_into_tracklets(images)
    else:
        tracklets = tracklets_from_list(tracks, images, root / "image_train", "train_track.txt", problems)
    labeled = Split(images, tracklets)
    held_out = hold_out_for_evaluation(labeled, "image_train", problems)
    challenge = _read_challenge(root, problems)
    return Dataset(
        layout="cityflow",
        root=root,
        train=held_out.train,
        query=held_out.query,
        gallery=held_out.gallery,
        problems=tuple(problems),
        challenge=challenge,
        split_facts=held_out.facts,
    )


def _read_labeled(root: Path, labels: Mapping[str, Label] | None, problems: list[Problem]) -> tuple[Tracklet, ...]:
    on_disk = _read_part(root, "train", labels or {}, problems)
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


def _read_challenge(root: Path, problems: list[Problem]) -> Challenge:
    sides: list[tuple[Tracklet, ...]] = []
    for part in ("query", "test"):
        label_file = root / f"{part}_label.xml"
        labels = (read_labels(label_file, problems) if os.path.lexists(label_file) else None) or {}
        images = _read_part(root, part, labels, problems)
        cameras = {name: label.camera for name, label in labels.items()}
        sides.append(tuple(Tracklet(path.stem, (path,), cameras.get(name)) for name, path in images.items()))
    query, gallery = ([image for image in side if _is_numbered(image, problems)] for side in sides)
    tracks = read_tracks(root / "test_track.txt", problems)
    if tracks is not None:  # only to find problems: the challenge ranks images
        tracklets_from_list(tracks, sides[1], root / "image_test", "test_track.txt", problems)
    return Challenge(tuple(query), tuple(gallery))


def _is_numbered(image: Tracklet, problems: list[Problem]) -> bool:
    """Return whether an image's name is a number, as the challenge's submission file needs."""
    if image.id.isdecimal():
        return True
    where = "/".join(Path(str(image.frames[0])).parts[-2:])
    problems.append(Problem("unknown identity", where, "its name is not a number; not used"))
    return False


def _read_part(root: Path, part: str, labels: Mapping[str, Label], problems: list[Problem]) -> dict[str, Path]:
    """List a folder's images in the order of their numbers; names that are in its lists only become problems."""
    folder = root / f"image_{part}"
    images = read_contents(folder, root, problems).images
    found = sorted(images, key=lambda path: (int(path.stem) if path.stem.isdecimal() else 0, path.name))
    on_disk = {path.name: path for path in found}
    if not on_disk:
        problems.append(Problem("empty split", folder.name, "the folder is missing or holds no images"))
    name_list = root / f"name_{part}.txt"  # in some copies of the data set
    listed = (read_names(name_list, problems) if os.path.lexists(name_list) else None) or []
    expected = dict.fromkeys(listed, f"is in {name_list.name}") | dict.fromkeys(labels, f"is in {part}_label.xml")
    problems += [
        Problem("missing file", f"{folder.name}/{name}", detail)
        for name, detail in expected.items()
        if name not in on_disk
    ]
    if listed:
        unlisted = on_disk.keys() - set(listed)
        problems += [Problem("not in name list", f"{folder.name}/{name}") for name in sorted(unlisted)]
    return on_disk
