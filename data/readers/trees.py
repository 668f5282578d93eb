"""Data sets without lists: images whose folders or file names tell vehicle and camera.

They may be split into folders: `train`, `query` and `gallery`, or the names that Market-1501, VeRi and others use.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reid.data.dataset import Dataset, Problem, Split
from reid.data.shape import ImagePlace, Shape, TreeLayout, find_shape, shape_of
from reid.data.splitting import hold_out_for_evaluation
from reid.data.tracks import group_into_tracklets, own_tracklets
from reid.runtime.errors import DataError
from reid.runtime.file_names import JUNK, parse_name, parse_name_without_camera
from reid.runtime.labels import UNKNOWN, Labels, camera_of_track, same_label
from reid.runtime.listing import Listing, joined
from reid.runtime.tracklet import Tracklet

__all__ = ["SPLIT_FOLDERS", "find_tree_layout", "read_tree"]

SPLIT_FOLDERS = {
    "train": ("train_all", "train", "bounding_box_train", "image_train", "training"),
    "query": ("query", "image_query", "queries"),
    "gallery": ("gallery", "test", "bounding_box_test", "image_test"),
}
"""Split -> the names of its folder; the first that is there is taken."""

_OF_MACOS = "__MACOSX"
"""Beside what is in an archive, macOS stores hidden files in folders of the same names."""


@dataclass(frozen=True, slots=True)
class _Image:
    """An image in a tree.

    Attributes:
        where: its name relative to the data set's root.
        inner: its name relative to the folder of its split.
        place: the folders around it within its split, and its file name.
        path: the file.
    """

    where: str
    inner: str
    place: ImagePlace
    path: Path


def find_tree_layout(listing: Listing) -> TreeLayout:
    """Return the layout of a tree of images. Raises DataError where it cannot be told."""
    return _shape(listing, None).layout


def read_tree(listing: Listing, layout: TreeLayout | None) -> Dataset:
    """Read a tree of images.

    Vehicle and camera are those of the file's name, or else of its folders; where both tell them and disagree, it is a
    problem. In layouts whose folders are tracklets, the middle frame of each query tracklet is the query image.

    Args:
        listing: what there is.
        layout: how to read it; None to find out.

    Raises:
        DataError: it cannot be told how the tree is to be read.
    """
    shape = _shape(listing, layout)
    problems: list[Problem] = []
    folders = _split_folders(listing)
    splits = {part: _read_split(listing, folder, shape, problems) for part, folder in folders.items()}
    if "query" not in splits and "gallery" not in splits:
        labeled = splits["train"] if "train" in splits else _read_split(listing, "", shape, problems)
        held_out = hold_out_for_evaluation(labeled, ".", problems)
        return Dataset(
            shape.layout,
            listing.root,
            held_out.train,
            held_out.query,
            held_out.gallery,
            tuple(problems),
            split_facts=held_out.facts,
            notes=_notes(shape),
        )
    train, query, gallery = (splits.get(part, Split()) for part in SPLIT_FOLDERS)
    for part, split in zip(SPLIT_FOLDERS, (train, query, gallery), strict=True):
        if not split.images:
            problems.append(Problem("empty split", part, "the folder is missing or holds no usable images"))
    queries = _queries(query, gallery, shape)
    return Dataset(shape.layout, listing.root, train, queries, gallery, tuple(problems), notes=_notes(shape))


def _notes(shape: Shape) -> tuple[str, ...]:
    return () if shape.is_told else (f"read as {shape}",)


def _split_folders(listing: Listing) -> dict[str, str]:
    there = set(listing.folder("").folders)
    found = {part: next((name for name in names if name in there), None) for part, names in SPLIT_FOLDERS.items()}
    return {part: name for part, name in found.items() if name is not None}


def _shape(listing: Listing, layout: TreeLayout | None) -> Shape:
    folders = _split_folders(listing).values() or [""]
    images = [image.place for folder in folders for image in _images_in(listing, folder)]
    if layout is not None:
        return shape_of(layout, images)
    if not images:
        raise DataError(f"{listing.root} holds no images")
    try:
        return find_shape(images)
    except DataError as error:
        raise DataError(f"{listing.root}: {error}") from None


def _images_in(listing: Listing, base: str) -> Iterator[_Image]:
    """Yield the images of a split, folder by folder."""
    start = f"{base}/" if base else ""
    for folder in listing.contents:
        if folder != base and not folder.startswith(start):
            continue
        inner = folder.removeprefix(base).removeprefix("/")
        parts = tuple(inner.split("/")) if inner else ()
        for name, path in listing.images(folder, or_folders=True).items():
            if not listing.images(joined(folder, name)):  # a folder that is named like an image, and holds some
                yield _Image(joined(folder, name), joined(inner, name), ImagePlace(parts, name), path)


def _read_split(listing: Listing, base: str, shape: Shape, problems: list[Problem]) -> Split:
    by_folder: dict[tuple[str, ...], list[tuple[_Image, Labels]]] = defaultdict(list)
    for image in _images_in(listing, base):
        labels = _labels(image, shape, problems)
        if labels.vehicle is not None and labels.vehicle != JUNK:  # junk boxes count as neither right nor wrong
            by_folder[image.place.folders].append((image, labels))
    images = [
        Tracklet(image.inner.rpartition(".")[0], (image.path,), labels.camera, labels.vehicle)
        for members in by_folder.values()
        for image, labels in members
    ]
    if shape.has_tracks:
        problems += _empty_folders(listing, base, shape)
        tracklets = tuple(one for folders, members in by_folder.items() for one in _tracklets(folders, members))
    elif shape.names == "labels":
        tracklets = group_into_tracklets(images)
    else:
        tracklets = ()
    return Split(tuple(images), tracklets)


def _labels(image: _Image, shape: Shape, problems: list[Problem]) -> Labels:
    """Return what an image's name tells, or else its folders do; without a vehicle, it becomes a problem."""
    place = image.place
    named = _labels_by_name(place.name, shape)
    if len(place.folders) != len(shape.levels):
        if shape.names == "labels" and not shape.has_tracks and named.vehicle is not None:
            return named  # the folders say nothing that is needed
        if shape.has_tracks and len(place.folders) < len(shape.levels):
            problems.append(Problem("not in a track", image.where, "not used"))
        else:
            problems.append(Problem("unexpected depth", image.where, f"not at the depth of {shape}; not used"))
        return UNKNOWN
    placed = _labels_by_folders(place.folders, shape)
    for what in ("vehicle", "camera"):
        by_name, by_folder = getattr(named, what), getattr(placed, what)
        if by_name and by_folder and by_name != JUNK and not same_label(by_name, by_folder):
            detail = f"{what} {by_name} by its name, {by_folder} by its folder; the name is used"
            problems.append(Problem("name and folder disagree", image.where, detail))
    labels = Labels(named.vehicle or placed.vehicle, named.camera or placed.camera)
    if labels.vehicle is None:
        problems.append(Problem("unknown identity", image.where, "neither its name nor its folder tells the vehicle"))
    return labels


def _labels_by_name(name: str, shape: Shape) -> Labels:
    if shape.names == "vehicle":
        return Labels(parse_name_without_camera(name), None)
    parsed = parse_name(name)
    return Labels(parsed.vehicle, parsed.camera) if parsed else UNKNOWN


def _labels_by_folders(folders: Sequence[str], shape: Shape) -> Labels:
    vehicle = camera = None
    for folder, level in zip(folders, shape.levels, strict=True):
        if level == "vehicle":
            vehicle = folder
        elif level == "camera":
            camera = folder
        elif level == "camera_track":
            camera = camera_of_track(folder)
    return Labels(vehicle, camera)


def _tracklets(folders: tuple[str, ...], members: Sequence[tuple[_Image, Labels]]) -> Iterator[Tracklet]:
    """Yield the tracklets of a folder: one, unless the names in it tell several vehicles or cameras."""
    frames: dict[Labels, list[Path]] = defaultdict(list)
    for image, labels in members:
        frames[labels].append(image.path)
    for labels, paths in frames.items():
        words = folders if len(frames) == 1 else (*folders, labels.vehicle or "", labels.camera or "")
        yield Tracklet("/".join(words), tuple(paths), labels.camera, labels.vehicle)


def _empty_folders(listing: Listing, base: str, shape: Shape) -> Iterator[Problem]:
    """Find vehicles without tracklets and tracklets without images."""
    start = f"{base}/" if base else ""
    vehicle_depth = len(shape.levels) - 1
    for folder, inside in listing.contents.items():
        if not folder.startswith(start) or folder == base or folder.startswith(_OF_MACOS):
            continue
        depth = folder.removeprefix(start).count("/") + 1
        if depth == len(shape.levels) and not listing.images(folder):
            yield Problem("empty split", folder, "the tracklet holds no images")
        elif depth == vehicle_depth and not inside.folders:
            yield Problem("empty split", folder, "it has no tracklets")


def _queries(query: Split, gallery: Split, shape: Shape) -> Split:
    if shape.has_tracks:
        middle = (Tracklet(t.id, (t.frames[len(t.frames) // 2],), t.camera, t.vehicle) for t in query.tracklets)
        return Split(tuple(middle), query.tracklets)
    return Split(query.images, own_tracklets(query.images, gallery.tracklets))
