"""The fingerprint of queries and gallery changes with everything that a ranking depends on, and with nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reid.data.dataset import Dataset, Split
from reid.data.evaluation_fingerprint import evaluation_fingerprint
from reid.data.layout import open_dataset
from reid.runtime.tracklet import Tracklet


@pytest.fixture
def copy(veri: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(veri, tmp_path / "elsewhere"))


def fingerprint(root: Path) -> str:
    return evaluation_fingerprint(open_dataset(root, needs="query"))


def gallery_files(root: Path) -> list[Path]:
    return sorted((root / "image_test").iterdir())


def test_where_the_folder_lies_and_its_training_split_do_not_matter(veri: Path, copy: Path) -> None:
    next((copy / "image_train").iterdir()).write_bytes(b"another")
    assert fingerprint(copy) == fingerprint(veri)


def exchanged(root: Path) -> None:
    """Let two pictures of one size change places."""
    first, second = gallery_files(root)[:2]
    contents = [first.read_bytes(), second.read_bytes()]
    longest = max(map(len, contents))
    for path, content in zip((second, first), contents, strict=True):
        path.write_bytes(content.ljust(longest, b"\0"))


def padded(root: Path) -> None:
    """The same sizes as `exchanged` leaves."""
    paths = gallery_files(root)[:2]
    longest = max(path.stat().st_size for path in paths)
    for path in paths:
        path.write_bytes(path.read_bytes().ljust(longest, b"\0"))


def flipped(root: Path) -> None:
    path = gallery_files(root)[3]
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)


def unreadable(root: Path) -> None:
    path = gallery_files(root)[3]
    path.unlink()
    path.symlink_to("nowhere")


def missing(root: Path) -> None:
    gallery_files(root)[3].unlink()


@pytest.mark.parametrize("change", [padded, flipped, unreadable, missing])
def test_every_picture_counts(change: Callable[[Path], None], copy: Path) -> None:
    before = fingerprint(copy)
    change(copy)
    assert fingerprint(copy) != before


def test_pictures_that_change_places_are_noticed_though_all_sizes_stay(veri: Path, copy: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(veri, tmp_path / "other"))
    padded(copy)
    exchanged(other)
    sizes = [[path.stat().st_size for path in gallery_files(root)] for root in (copy, other)]
    assert sizes[0] == sizes[1]
    assert fingerprint(copy) != fingerprint(other)


def labeled(entry: Tracklet, **labels: str) -> Tracklet:
    facts = {"camera": entry.camera, "vehicle": entry.vehicle, **labels}
    return Tracklet(entry.id, entry.frames, **facts)


def with_gallery(dataset: Dataset, images: tuple[Tracklet, ...], tracklets: tuple[Tracklet, ...]) -> Dataset:
    return replace(dataset, gallery=Split(images, tracklets))


def test_labels_and_tracklets_count(veri: Path) -> None:
    dataset = open_dataset(veri, needs="query")
    (first, *others), tracklets = dataset.gallery.images, dataset.gallery.tracklets
    variants = [
        dataset,
        with_gallery(dataset, (labeled(first, vehicle="9999"), *others), tracklets),
        with_gallery(dataset, (labeled(first, camera="c999"), *others), tracklets),
        with_gallery(dataset, (*others, first), tracklets),
        with_gallery(dataset, tuple(others), tracklets),
        with_gallery(dataset, dataset.gallery.images, tracklets[1:]),
        with_gallery(dataset, dataset.gallery.images, (*tracklets[1:], tracklets[0])),
        with_gallery(
            dataset,
            dataset.gallery.images,
            (
                Tracklet(tracklets[0].id, tracklets[0].frames[::-1], tracklets[0].camera, tracklets[0].vehicle),
                *tracklets[1:],
            ),
        ),
        replace(dataset, query=dataset.gallery, gallery=dataset.query),
    ]
    assert len({evaluation_fingerprint(one) for one in variants}) == len(variants)
