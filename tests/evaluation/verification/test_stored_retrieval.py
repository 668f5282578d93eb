"""What a bundle keeps of PyTorch's results gives the comparison that PyTorch gives, on that data and no other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reid.evaluation.verification.stored_retrieval as store
from reid.data.dataset import Dataset
from reid.data.layout import open_dataset
from reid.evaluation.protocols import PROTOCOLS
from reid.evaluation.verification.compare import compare
from reid.evaluation.verification.records import Tolerance
from reid.evaluation.verification.reference import Crops, Reference, Retrieval, embed_retrieval, facts_of
from reid.evaluation.verification.stored_retrieval import read_retrieval, write_retrieval
from reid.runtime.bundle import REFERENCE_RETRIEVAL, Bundle
from reid.runtime.errors import ModelError
from reid.runtime.files.reading import sha256_of
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.opening import open_session
from reid.runtime.sessions.session import Session

ARRAYS = ("average_precision", "first_hit", "counted", "unanswerable")


@pytest.fixture(scope="module")
def session(bundle: Path) -> Iterator[Session]:
    with open_session(bundle, "onnxruntime:cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def data(veri: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set with a query and two gallery images that cannot be read, one of them in a tracklet."""
    root = Path(shutil.copytree(veri, tmp_path_factory.mktemp("data") / "veri"))
    dataset = open_dataset(root, needs="query")
    for image in (dataset.query.images[2], dataset.gallery.images[3], dataset.gallery.images[-1]):
        Path(str(image.frames[0])).write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def dataset(data: Path) -> Dataset:
    return open_dataset(data, needs="query")


@pytest.fixture(scope="module")
def live(session: Session, dataset: Dataset) -> Retrieval:
    return embed_retrieval(session, dataset.query, dataset.gallery)


def keeping(bundle: Path, folder: Path, live: Retrieval, dataset: Dataset) -> Path:
    """A copy of a bundle that keeps results."""
    shutil.copytree(bundle, folder)
    assert write_retrieval(folder / REFERENCE_RETRIEVAL, live, dataset)
    list_file(folder, REFERENCE_RETRIEVAL)
    return folder


def list_file(folder: Path, name: str) -> None:
    card = json.loads((folder / "model.json").read_text())
    card["files"][name] = sha256_of(folder / name)
    (folder / "model.json").write_text(json.dumps(card))


@pytest.fixture(scope="module")
def kept(bundle: Path, live: Retrieval, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return keeping(bundle, tmp_path_factory.mktemp("kept") / "bundle", live, dataset)


def read(kept: Path, dataset: Dataset, post_processing: PostProcessing = PLAIN) -> Retrieval:
    found = read_retrieval(Bundle.open(kept), dataset, post_processing)
    assert found is not None
    return found


def test_metrics_and_matches_are_the_very_ones_and_embeddings_are_those_in_fp16(
    kept: Path, live: Retrieval, dataset: Dataset
) -> None:
    found = read(kept, dataset)
    assert [(one.protocol, one.post_processing) for one in found.ranked] == [(name, PLAIN) for name in PROTOCOLS]
    for stored, original in zip(found.ranked, live.ranked, strict=True):
        assert (stored.queries, stored.gallery) == (original.queries, original.gallery)
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(stored.metrics, name), getattr(original.metrics, name))
        assert stored.metrics.summary() == original.metrics.summary()
        np.testing.assert_array_equal(stored.matches, original.matches)
    assert found.data.embeddings.keys() == live.data.embeddings.keys()
    for entry, embedding in live.data.embeddings.items():
        np.testing.assert_allclose(found.data.embeddings[entry], embedding, atol=2**-11)
        assert np.linalg.norm(found.data.embeddings[entry]) == pytest.approx(1, abs=1e-6)
    assert (found.data.query, found.data.gallery) == (live.data.query, live.data.gallery)
    assert (found.data.unreadable, found.data.queries_left_out) == (live.data.unreadable, live.data.queries_left_out)
    assert len(found.data.unreadable) == 3
    assert found.session == f"{live.session}, as the bundle keeps it"


def test_a_comparison_with_it_is_that_with_the_session_itself(
    kept: Path, live: Retrieval, dataset: Dataset, session: Session
) -> None:
    bundle = Bundle.open(kept)
    crops, levels = Crops.of(bundle), bundle.card.levels
    own, stored = (
        compare(Reference(levels, crops, one, facts_of(dataset, one), Tolerance()), "fp32", session)
        for one in (live, read(kept, dataset))
    )
    assert [one.protocol for one in own.protocols] == [one.protocol for one in stored.protocols]
    for before, after in zip(own.protocols, stored.protocols, strict=True):
        for change, kept_change in zip(before.changes, after.changes, strict=True):
            # Rounded to FP16, two that are nearly as close may change their order.
            assert kept_change.measure == change.measure
            assert kept_change.reference == pytest.approx(change.reference, abs=0.2)
            assert kept_change.candidate == pytest.approx(change.candidate, abs=0.2)
    for before, after in zip(own.similarity.levels, stored.similarity.levels, strict=True):
        assert after.minimum == pytest.approx(before.minimum, abs=1e-6)
    assert replace(own, similarity=stored.similarity, protocols=stored.protocols) == stored


def test_a_post_processing_that_was_not_ranked_is_ranked_from_the_embeddings(kept: Path, dataset: Dataset) -> None:
    found = read(kept, dataset, PostProcessing(rerank=True))
    names = [(one.protocol, one.post_processing.name) for one in found.ranked]
    assert names == [(protocol, name) for name in ("plain", "re-ranking") for protocol in PROTOCOLS]


def test_a_post_processing_that_was_ranked_is_kept(
    bundle: Path, session: Session, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expansion = PostProcessing(expand_queries=2)
    live = embed_retrieval(session, dataset.query, dataset.gallery, post_processing=expansion)
    kept = keeping(bundle, tmp_path / "bundle", live, dataset)
    monkeypatch.setattr(store, "rank", lambda *_: pytest.fail("it is there"))
    found = read(kept, dataset, expansion)
    assert [one.metrics.summary() for one in found.ranked] == [one.metrics.summary() for one in live.ranked]
    assert [one.post_processing for one in read(kept, dataset).ranked] == [PLAIN] * 3


def test_the_same_data_elsewhere_is_that_data_and_a_changed_one_is_not(kept: Path, data: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(data, tmp_path / "copy"))
    moved = open_dataset(copy, needs="query")
    assert read(kept, moved).data.query.images[0] is moved.query.images[0]
    image = Path(str(moved.gallery.images[5].frames[0]))
    image.write_bytes(image.read_bytes()[:-1] + b"\0")
    assert read_retrieval(Bundle.open(kept), open_dataset(copy, needs="query")) is None


def test_a_bundle_that_keeps_nothing_has_nothing(bundle: Path, dataset: Dataset) -> None:
    assert read_retrieval(Bundle.open(bundle), dataset) is None


def test_embeddings_of_too_many_frames_are_not_kept(
    live: Retrieval, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    frames = sum(len(entry) == 1 for entry in live.data.embeddings)
    monkeypatch.setattr(store, "LARGEST_EMBEDDINGS", 2 * 32 * frames - 1)
    assert not write_retrieval(tmp_path / "retrieval.npz", live, dataset)
    assert not (tmp_path / "retrieval.npz").exists()
    assert "are not kept in the bundle" in caplog.text
    monkeypatch.setattr(store, "LARGEST_EMBEDDINGS", 2 * 32 * frames)
    assert write_retrieval(tmp_path / "retrieval.npz", live, dataset)


def first_set_to(value: Any) -> Callable[[np.ndarray], np.ndarray]:  # noqa: ANN401
    def change(array: np.ndarray) -> np.ndarray:
        changed = array.copy()
        changed.reshape(-1)[0] = value
        return changed

    return change


WRONG: dict[str, tuple[str, Callable[[np.ndarray], Any]]] = {
    "a newer format": ("format_version", lambda _: np.array(2)),
    "a version that is none": ("format_version", lambda _: np.array("1")),
    "no view": ("view", lambda _: np.array(["camera"])),
    "a session of two lines": ("session", lambda _: np.array("a\nb")),
    "a long session": ("session", lambda _: np.array("a" * 2000)),
    "float32": ("embeddings", lambda array: array.astype(np.float32)),
    "another size": ("embeddings", lambda array: array[:, :-1]),
    "a frame less": ("embeddings", lambda array: array[:-1]),
    "not a number": ("embeddings", first_set_to(np.nan)),
    "infinity": ("embeddings", first_set_to(np.inf)),
    "long": ("embeddings", lambda array: 2 * array),
    "a frame that is not there": ("unreadable", first_set_to(10**6)),
    "a frame twice": ("unreadable", lambda array: np.full_like(array, array[0])),
    "a protocol that is none": ("rankings", lambda _: np.array(["i2i", "i2t", "i2x"])),
    "no protocol": ("rankings", lambda array: array[:0]),
    "protocols in another order": ("rankings", lambda _: np.array(["i2t", "i2i", "t2t"])),
    "a rank beyond the gallery": ("0.first_hit", first_set_to(10**6)),
    "a rank below it": ("0.first_hit", first_set_to(-1)),
    "too good": ("1.average_precision", first_set_to(1.5)),
    "no precision": ("1.average_precision", first_set_to(np.nan)),
    "a query less": ("1.average_precision", lambda array: array[:-1]),
    "a match that is not there": ("2.matches", first_set_to(10**6)),
    "fewer matches": ("2.matches", lambda array: array[:, :-1]),
    "a query twice": ("0.counted", lambda array: np.full_like(array, array[0])),
    "queries that are not asked": ("0.counted", lambda array: array + 10**6),
    "a strange post-processing": ("0.post_processing", lambda _: np.array([0, 7])),
    "another strange one": ("0.post_processing", lambda _: np.array([-1, 0])),
}


def with_file(kept: Path, folder: Path) -> tuple[Bundle, Path]:
    """A bundle of nothing but a card and the path of its results: the hashes of the rest are not the matter here."""
    path = folder / REFERENCE_RETRIEVAL
    path.parent.mkdir()
    return Bundle(folder, Bundle.open(kept).card), path


@pytest.fixture(scope="module")
def fields(kept: Path) -> dict[str, np.ndarray]:
    with np.load(kept / REFERENCE_RETRIEVAL) as file:
        return dict(file)


@pytest.mark.parametrize("name", list(WRONG))
def test_what_cannot_be_is_refused_in_one_line(
    name: str, kept: Path, fields: dict[str, np.ndarray], dataset: Dataset, tmp_path: Path
) -> None:
    bundle, path = with_file(kept, tmp_path)
    field, change = WRONG[name]
    np.savez(path, **{**fields, field: change(fields[field])})
    with pytest.raises(
        ModelError, match=r"retrieval\.npz does not hold PyTorch's results .*; export the bundle again$"
    ):
        read_retrieval(bundle, dataset)


def test_a_field_that_is_missing_is_refused_in_one_line(
    kept: Path, fields: dict[str, np.ndarray], dataset: Dataset, tmp_path: Path
) -> None:
    bundle, path = with_file(kept, tmp_path)
    for field in fields:
        np.savez(path, **{name: value for name, value in fields.items() if name != field})
        with pytest.raises(ModelError, match=f"{field} is missing"):
            read_retrieval(bundle, dataset)


@pytest.mark.parametrize("content", [None, b"", b"PK", b"\x93NUMPY"])
def test_another_file_is_refused_in_one_line(
    content: bytes | None, kept: Path, dataset: Dataset, tmp_path: Path
) -> None:
    bundle, path = with_file(kept, tmp_path)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"export the bundle again$"):
        read_retrieval(bundle, dataset)


def test_a_bundle_that_keeps_results_opens_and_its_crops_are_the_same(kept: Path, bundle: Path) -> None:
    assert [path.name for path in Bundle.open(kept).reference()[0]] == [
        path.name for path in Bundle.open(bundle).reference()[0]
    ]
    open_session(kept, "onnxruntime:cpu").close()
