"""A gallery of the first version of the format, kept in tests/stored/, loads with what it says."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from reid.runtime.errors import DataError
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.store.store import Store
from reid.runtime.space import Space

STORED = Path(__file__).parents[3] / "stored" / "gallery"


def test_a_gallery_of_version_1() -> None:
    with Store.open(STORED, Space("f" * 64, "fp16", 8)) as store:
        assert store.storage == "fp16"
        assert store.verify() == []
        (first, embeddings), (second, _) = store.batches()
        assert first == [Entry("a/1", "c001", "0007", 12.5, "/crops/a/1.jpg", 3), Entry("b")]
        assert second == [Entry("c", "c002", "0009", -1.0, "", 1)]
        np.testing.assert_array_equal(embeddings, np.eye(3, 8)[[0, 2]])
        (found,) = store.search(np.eye(3, 8, dtype=np.float32)[2:], 3)
        assert [match.entry.id for match in found] == ["b", "c", "a/1"]
        assert [match.score for match in found] == [1, float(np.float32(np.float16(8**-0.5))), 0]


def test_it_can_be_changed(tmp_path: Path) -> None:
    shutil.copytree(STORED, tmp_path / "gallery")
    with Store.open(tmp_path / "gallery", write=True) as store:
        store.remove(["b"])
        store.compact()
        assert [entry.id for entries, _ in store.batches() for entry in entries] == ["a/1", "c"]


def test_a_newer_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    facts = json.loads((STORED / "gallery.json").read_text()) | {"format_version": 2}
    del facts["digest"]
    sealed = json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
    (tmp_path / "gallery.json").write_text(json.dumps({**facts, "digest": hashlib.sha256(sealed).hexdigest()}))
    with pytest.raises(DataError, match="format_version: 2, where this reid knows up to 1: update reid"):
        Store.open(tmp_path)
