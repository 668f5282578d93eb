"""`reid-gallery index`: what it builds, what it says of it, and what it refuses."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from command_line import Run, assert_one_line_of_error
from numpy.typing import NDArray
from stored_galleries import make_entries

from reid.commands.gallery import main
from reid.runtime.galleries.lance.gallery import LanceGallery
from reid.runtime.galleries.milvus import MilvusGallery
from reid.runtime.galleries.opening import open_gallery
from reid.runtime.galleries.protocol import Gallery, GrowingGallery
from reid.runtime.galleries.store.store import Store
from reid.runtime.space import Space

COUNT = 400
SPACE = Space("f" * 64, "fp32", 16)


def unit() -> NDArray[np.float32]:
    """Return embeddings of entries in forty groups, float32 [COUNT, 16]."""
    random = np.random.default_rng(0)
    vectors = random.standard_normal((40, 16))[np.arange(COUNT) % 40] + 0.3 * random.standard_normal((COUNT, 16))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def run(run_main: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    return partial(run_main, main, "reid-gallery")


def fill(gallery: GrowingGallery) -> None:
    gallery.add(make_entries([f"e{number}" for number in range(COUNT)]), unit())
    gallery.close()


def best_of(gallery: Gallery) -> list[str]:
    best = [found[0].entry.id for found in gallery.search(unit()[::40], 1)]
    gallery.close()
    return best


def test_an_index_in_lancedb_is_built_and_what_it_finds_is_said(run: Run, tmp_path: Path) -> None:
    fill(LanceGallery.create(f"lance://{tmp_path}/cars", SPACE))
    code, out, _ = run("index", "lance://cars", "--json")
    assert code == 0
    said = json.loads(out)
    assert 0.5 < said["recall"] <= 1
    assert (said["gallery"], said["k"], said["probes"]) == ("lance://cars", 10, 20)
    assert best_of(open_gallery("lance://cars?probes=20", SPACE)) == [f"e{number}" for number in range(0, COUNT, 40)]
    code, out, _ = run("index", "lance://cars")
    assert (code, out.count("\n")) == (0, 1)
    assert out.startswith("lance://cars: finds ")


def test_a_gallery_in_milvus_is_made_of_a_store_anew(run: Run, tmp_path: Path) -> None:
    fill(Store.create(tmp_path / "store", SPACE))
    uri = f"milvus://{tmp_path}/cars.db/cars"
    assert run("index", uri, "--of", "store")[:2] == (0, f"{uri}: {COUNT} entries of store, searched by flat\n")
    with Store.open(tmp_path / "store", write=True) as store:
        store.remove(["e0"])
    assert json.loads(run("index", uri, "--of", "store", "--method", "hnsw", "--json")[1])["entries"] == COUNT - 1
    assert best_of(MilvusGallery.open(uri, SPACE))[1:] == [f"e{number}" for number in range(40, COUNT, 40)]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("store",), 1, "store needs no index"),
        (("lance://cars", "--of", "store"), 2, "--of is for Milvus"),
        (("milvus:///cars.db/cars",), 2, "name it with --of STORE"),
        (("lance://nowhere",), 1, "nowhere"),
        (("milvus:///cars.db/cars", "--of", "nowhere"), 1, "nowhere"),
    ],
)
def test_what_cannot_be_indexed_is_refused(run: Run, arguments: tuple[str, ...], code: int, says: str) -> None:
    found, out, error = run("index", *arguments)
    assert (found, says in " ".join(error.split())) == (code, True)
    if code == 1:
        assert_one_line_of_error(found, out, error)
