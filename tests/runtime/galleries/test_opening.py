"""Galleries by where they are."""

from __future__ import annotations

import zipfile
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest
from stored_galleries import SPACE, make_entries, unit

from reid.runtime.errors import DataError, ReidError
from reid.runtime.galleries.memory import MemoryGallery
from reid.runtime.galleries.opening import is_gallery, is_uri, local_path, open_gallery, writable_gallery
from reid.runtime.galleries.protocol import GrowingGallery
from reid.runtime.galleries.store.store import Store


def fail_with(opened: AbstractContextManager[GrowingGallery]) -> None:
    """Fail while a gallery is open that then fails, too."""
    with opened as gallery:
        gallery.close()
        raise OSError("what failed first")


def test_a_file_and_a_folder_are_opened_as_what_they_are(tmp_path: Path) -> None:
    entries, embeddings = tuple(make_entries("abc")), unit(3)
    MemoryGallery(entries, embeddings, SPACE).save(tmp_path / "gallery.npz")
    with writable_gallery(tmp_path / "store", SPACE, "fp16") as made:
        made.add(entries, embeddings)
    for source, kind in ((tmp_path / "gallery.npz", MemoryGallery), (str(tmp_path / "store"), Store)):
        for space in (None, SPACE):
            gallery = open_gallery(source, space)
            assert type(gallery) is kind
            assert [entry.id for some, _ in gallery.batches() for entry in some] == ["a", "b", "c"]
            gallery.close()
        assert is_gallery(source)
    with pytest.raises(DataError, match="is not a folder; `reid-gallery merge"):
        writable_gallery(tmp_path / "gallery.npz", SPACE).__enter__()
    with writable_gallery(str(tmp_path / "store"), SPACE) as again:
        assert list(again.contains(["a", "z"])) == [True, False]


@pytest.mark.parametrize("uri", ["lance://{}/table", "milvus://{}/file.db/cars"])
def test_other_engines_are_opened_made_and_gone_if_they_get_nothing(tmp_path: Path, uri: str) -> None:
    pytest.importorskip("lancedb" if uri.startswith("lance") else "milvus_lite")
    uri = uri.format(tmp_path)
    with writable_gallery(uri, SPACE):
        pass
    with pytest.raises(DataError):
        open_gallery(uri)
    for name in "ab":
        with writable_gallery(uri, SPACE) as made:
            made.add(make_entries(name), unit(1))
    with pytest.raises(OSError, match="what failed first"):
        fail_with(writable_gallery(f"{uri}2", SPACE))
    with pytest.raises(DataError, match="leave out --storage"), writable_gallery(uri, SPACE, "fp16"):
        pass
    with closing(open_gallery(uri, SPACE)) as gallery:
        assert [entry.id for some, _ in gallery.batches() for entry in some] == ["a", "b"]


def test_what_failed_first_is_told_where_the_store_fails_then_too(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="what failed first"):
        fail_with(writable_gallery(tmp_path / "store", SPACE))


def test_crops_are_no_gallery(tmp_path: Path) -> None:
    zipfile.ZipFile(tmp_path / "crops.zip", "w").close()
    for name in ("", "crops.zip", "nowhere"):
        assert not is_gallery(tmp_path / name)
    with pytest.raises(DataError, match="nowhere: No such file"):
        open_gallery(tmp_path / "nowhere")


@pytest.mark.parametrize("uri", ["s3://bucket/gallery", "file:///gallery.npz", "http://host/a", "LANCE://x"])
def test_a_kind_that_is_not_known_is_refused_with_those_that_are(uri: str) -> None:
    assert is_uri(uri)
    assert is_gallery(uri)
    for opened in (lambda: open_gallery(uri, SPACE), lambda: writable_gallery(uri, SPACE).__enter__()):
        with pytest.raises(ReidError, match=rf"{uri}: no such kind of gallery.*lance://.*milvus://"):
            opened()


@pytest.mark.parametrize("source", ["lance:/x", "lance:x", "milvus:/host/a", "milvus+tls:host"])
def test_what_is_nearly_an_address_is_no_folder(source: str) -> None:
    for asked in (is_uri, is_gallery, open_gallery):
        with pytest.raises(DataError, match=r"write (lance|milvus|milvus\+tls)://, with two slashes"):
            asked(source)


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("a/store", Path("a/store")),
        ("lance://a/b", Path("a/b")),
        ("lance:///a/b?probes=20", Path("/a/b")),
        ("milvus:///a/b.db/cars", Path("/a/b.db")),
        ("milvus://host:19530/cars", None),
    ],
)
def test_what_is_on_this_machine_has_a_path(source: str, place: Path | None) -> None:
    assert local_path(source) == place
