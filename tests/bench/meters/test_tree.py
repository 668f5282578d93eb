from __future__ import annotations

import os
from pathlib import Path

import pytest
from machine_tree import plant

from reid.bench.meters.tree import Tree


def test_a_file_that_comes_in_pieces_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(plant(tmp_path, "proc/cpuinfo = " + "processor : 0\\n" * 50))
    read = os.read
    monkeypatch.setattr("os.read", lambda file, size: read(file, min(size, 7)))
    assert tree.text("proc/cpuinfo") == "\n".join(["processor : 0"] * 50)


def test_what_is_not_there_or_no_number_is_none(tmp_path: Path) -> None:
    tree = Tree(plant(tmp_path, "a = 12\nb = max\nc = "))
    assert [tree.integer(name) for name in ("a", "b", "c", "d", ".")] == [12, None, None, None, None]
    assert tree.text("c") == ""
    assert tree.text("d") is None
    assert tree.names("nowhere") == []
    assert not tree.is_refused("a")
    assert not tree.is_refused("d")


def test_texts_of_a_device_tree_end_in_a_zero(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"NVIDIA Jetson\0")
    assert Tree(str(tmp_path)).text("model") == "NVIDIA Jetson"
