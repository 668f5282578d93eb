"""Data sets without lists: images whose folders or file names tell vehicle and camera.

They may be split into folders: `train`, `query` and `gallery`, or the names that Market-1501, VeRi and others use.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from reid.data.dataset import Dataset, Problem, Split
from reid.data.shape import ImagePlace, Shape, TreeLayout, find_shape, shape_of
from reid.data.splitting import hold_out_for_evaluation
from reid.data.tracks import group_into_tracklets, own_tracklets
from reid.runtime.errors import DataError
from reid.runtime.file_names import JUNK, parse_name, parse_name_without_camera
from reid.runtime.imaging import is_image
from reid.runtime.labels import UNKNOWN, Labels, camera_of_track, same_label
from reid.runtime.listing import Listing, joined
from reid.runtime.tracklet import Frame, Tracklet

__all__ = ["SPLIT_FOLDERS", "find_tree_shape", "read_tree"]

SPLIT_FOLDERS = {
    "train": ("train_all", "train", "bounding_box_train", "image_train", "training"),
    "query": ("query", "image_query", "queries"),
    "gallery": ("gallery", "test", "bounding_box_test", "image_test"),
}
"""Split -> the names of its folder; the first that is there is taken."""

_OF_MACOS = "__MACOSX"
"""Beside what is in an archive, macOS stores hidden files in folders of the same names."""


def find_tree_shape(listing: Listing) -> Shape:
    """Return how a tree of images is to be read. Raises DataError where it cannot be told."""
    images = _places(listing)
    if not images:
        raise DataError(f"{listing.root} holds no images")
    try:
        return find_shape(images)
    except DataError as error:
        raise DataError(f"{listing.root}: {error}") from None


def read_tree(listing: Listing, how: TreeLayout | Shape) -> Dataset:
    """Read a tree of images.

    Vehicle and camera are those of the file's name, or else of its folders; where both tell them and disagree, it is a
    problem. In layouts whose folders are tracklets, the middle frame of each query tracklet is the query image.

    Args:
        listing: what there is.
        how: its layout, or what find_tree_shape returned.

    Raises:
        DataError: the tree cannot be read in this layout.
    """
    shape = how if isinstance(how, Shape) else shape_of(how, _places(listing))
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


def _places(listing: Listing) -> list[ImagePlace]:
    folders = _split_folders(listing).values() or [""]
    return [place for folder in folders for place in _places_in(listing, folder)]


def _places_in(listing: Listing, base: str) -> Iterator[ImagePlace]:
    """Yield where the images of a split lie within it, folder by folder."""
    start = f"{base}/" if base else ""
    for folder, inside in listing.contents.items():
        if folder != base and not folder.startswith(start):
            continue
        inner = folder.removeprefix(base).removeprefix("/")
        folders = tuple(inner.split("/")) if inner else ()
        names = [name for name in inside.files if is_image(name)]
        for name in filter(is_image, inside.folders):  # named like an image: a damaged one, unless it holds some
            if not any(map(is_image, listing.folder(joined(folder, name)).files)):
                names = sorted((*names, name))
        yield from (ImagePlace(folders, name) for name in names)


def _read_split(listing: Listing, base: str, shape: Shape, problems: list[Problem]) -> Split:
    by_folder: dict[tuple[str, ...], list[Tracklet]] = defaultdict(list)
    for place in _places_in(listing, base):
        labels = _labels(place, base, shape, problems)
        if labels.vehicle is None or labels.vehicle == JUNK:  # junk boxes count as neither right nor wrong
            continue
        inner = "/".join((*place.folders, place.name))
        path = listing.path(joined(base, inner))
        image = Tracklet(inner.rpartition(".")[0], (path,), labels.camera, labels.vehicle)
        by_folder[place.folders].append(image)
    images = [image for members in by_folder.values() for image in members]
    if shape.has_tracks:
        problems += _empty_folders(listing, base, shape)
        tracklets = tuple(one for folders, members in by_folder.items() for one in _tracklets(folders, members))
    elif shape.names == "labels":
        tracklets = group_into_tracklets(images)
    else:
        tracklets = ()
    return Split(tuple(images), tracklets)


def _labels(place: ImagePlace, base: str, shape: Shape, problems: list[Problem]) -> Labels:
    """Return what an image's name tells, or else its folders do; without a vehicle, it becomes a problem."""
    named = _labels_by_name(place.name, shape)
    if len(place.folders) != len(shape.levels):
        if shape.names == "labels" and not shape.has_tracks and named.vehicle is not None:
            return named  # the folders say nothing that is needed
        if shape.has_tracks and len(place.folders) < len(shape.levels):
            problems.append(Problem("not in a track", _where(place, base), "not used"))
        else:
            problems.append(Problem("unexpected depth", _where(place, base), f"not at the depth of {shape}; not used"))
        return UNKNOWN
    placed = _labels_by_folders(place.folders, shape)
    pairs = ("vehicle", named.vehicle, placed.vehicle), ("camera", named.camera, placed.camera)
    for what, by_name, by_folder in pairs:
        if by_name and by_folder and by_name != JUNK and not same_label(by_name, by_folder):
            detail = f"{what} {by_name} by its name, {by_folder} by its folder; the name is used"
            problems.append(Problem("name and folder disagree", _where(place, base), detail))
    labels = Labels(named.vehicle or placed.vehicle, named.camera or placed.camera)
    if labels.vehicle is None:
        detail = "neither its name nor its folder tells the vehicle"
        problems.append(Problem("unknown identity", _where(place, base), detail))
    return labels


def _where(place: ImagePlace, base: str) -> str:
    return joined(base, "/".join((*place.folders, place.name)))


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


def _tracklets(folders: tuple[str, ...], images: Sequence[Tracklet]) -> Iterator[Tracklet]:
    """Yield the tracklets of a folder: one, unless the names in it tell several vehicles or cameras."""
    frames: dict[Labels, list[Frame]] = defaultdict(list)
    for image in images:
        frames[Labels(image.vehicle, image.camera)] += image.frames
    for labels, members in frames.items():
        words = folders if len(frames) == 1 else (*folders, labels.vehicle or "", labels.camera or "")
        yield Tracklet("/".join(words), members, labels.camera, labels.vehicle)


def _empty_folders(listing: Listing, base: str, shape: Shape) -> Iterator[Problem]:
    """Find vehicles without tracklets and tracklets without images."""
    start = f"{base}/" if base else ""
    vehicle_depth = len(shape.levels) - 1
    for folder, inside in listing.contents.items():
        if not folder.startswith(start) or folder == base or _OF_MACOS in folder.split("/"):
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
