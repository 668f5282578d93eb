"""Timing caches beside a builder's configuration that keeps them as sets of measurements."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from reid.export.engines.timing_cache import load_timing_cache, save_timing_cache
from reid.export.engines.watch import BuildWatch
from reid.runtime.errors import SessionError
from reid.runtime.progress import SILENT


class Cache:
    """Measurements, serialized as "device:one,two"; one of another device is refused, with an error in the log."""

    def __init__(self, content: bytes, watch: BuildWatch, device: bytes) -> None:
        former, _, measured = content.partition(b":")
        self.device, self.measured = former or device, set(filter(None, measured.split(b",")))
        self.watch = watch

    def is_of(self, device: bytes) -> bool:
        if self.device != device:
            self.watch.log(True, "the timing cache does not match")
        return self.device == device

    def combine(self, input_cache: Cache, ignore_mismatch: bool) -> bool:
        accepted = not ignore_mismatch and input_cache.is_of(self.device)
        self.measured |= input_cache.measured if accepted else set()
        return accepted

    def serialize(self) -> bytes:
        return self.device + b":" + b",".join(sorted(self.measured))


class Config:
    def __init__(self, watch: BuildWatch, device: bytes = b"L4") -> None:
        self.watch, self.device, self.cache = watch, device, Cache(b"", watch, device)

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Cache | None:
        if serialized_timing_cache == b"a graph":  # as TensorRT says it
            self.watch.log(True, "Serialization assertion magicTagRead == kMAGIC_TAG failed.Magic tag does not match")
            return None
        return Cache(serialized_timing_cache, self.watch, self.device)

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        accepted = cache.is_of(self.device)
        self.cache = cache if accepted else self.cache
        return accepted

    def get_timing_cache(self) -> Cache:
        return self.cache


@pytest.fixture
def watch() -> BuildWatch:
    return BuildWatch(SILENT, "building")


@pytest.mark.parametrize(
    ("stored", "used", "saved"),
    [(None, set(), b"L4:new"), (b"L4:old", {b"old"}, b"L4:new,old"), (b"H100:old", set(), b"L4:new")],
)
def test_a_cache_is_used_and_kept_if_it_is_this_devices(
    tmp_path: Path, watch: BuildWatch, stored: bytes | None, used: set[bytes], saved: bytes
) -> None:
    path, config = tmp_path / "timing.cache", Config(watch)
    if stored is not None:
        path.write_bytes(stored)
    load_timing_cache(path, config, watch)  # type: ignore[arg-type]
    assert config.cache.measured == used
    config.cache.measured.add(b"new")
    save_timing_cache(path, config, watch)  # type: ignore[arg-type]
    assert path.read_bytes() == saved
    assert os.listdir(tmp_path) == ["timing.cache"]
    assert watch.errors == []  # a cache that is refused is not the reason of a later failure


def test_what_another_build_wrote_meanwhile_is_kept(tmp_path: Path, watch: BuildWatch) -> None:
    path, configs = tmp_path / "timing.cache", [Config(watch) for _ in range(8)]
    for index, config in enumerate(configs):
        load_timing_cache(path, config, watch)  # type: ignore[arg-type]
        config.cache.measured.add(b"%d" % index)
    builds = [threading.Thread(target=save_timing_cache, args=(path, config, watch)) for config in configs]
    for build in builds:
        build.start()
    for build in builds:
        build.join()
    assert path.read_bytes() == b"L4:0,1,2,3,4,5,6,7"


def test_a_file_that_is_no_timing_cache_is_not_replaced(tmp_path: Path, watch: BuildWatch) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"a graph")
    with pytest.raises(SessionError, match=f"^{path} is not a timing cache, and would be replaced; choose another"):
        load_timing_cache(path, Config(watch), watch)  # type: ignore[arg-type]
    assert path.read_bytes() == b"a graph"


def test_a_timing_cache_that_became_something_else_is_one_line(tmp_path: Path, watch: BuildWatch) -> None:
    os.mkfifo(path := tmp_path / "timing.cache")
    with pytest.raises(SessionError, match=f"^{path}: a named pipe, not a file; choose another --timing-cache$"):
        load_timing_cache(path, Config(watch), watch)  # type: ignore[arg-type]


def test_a_timing_cache_is_saved_into_a_folder_that_is_made(tmp_path: Path, watch: BuildWatch) -> None:
    save_timing_cache(path := tmp_path / "deep" / "timing.cache", Config(watch), watch)  # type: ignore[arg-type]
    assert path.read_bytes() == b"L4:"


def test_a_builder_that_makes_no_cache_at_all_builds_without(tmp_path: Path, watch: BuildWatch) -> None:
    config = SimpleNamespace(create_timing_cache=lambda content: None)
    load_timing_cache(tmp_path / "timing.cache", config, watch)  # type: ignore[arg-type]
