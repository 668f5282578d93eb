"""The names that `import reid` promises, and what they cost."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import get_args, get_origin, get_type_hints

import numpy as np
import pytest

import reid
from reid.runtime.bundle import Bundle

PUBLIC = [
    "Associator",
    "Condition",
    "Crop",
    "DataError",
    "Dataset",
    "Embedded",
    "Entry",
    "EveryFrame",
    "FrameEvent",
    "Gallery",
    "GateError",
    "LiveTrack",
    "Match",
    "MemoryGallery",
    "Metrics",
    "ModelError",
    "OnChange",
    "Ranking",
    "ReidError",
    "SeenTrack",
    "Session",
    "SessionError",
    "Store",
    "StreamEndedError",
    "Track",
    "Tracklet",
    "TrackletStream",
    "UntilSettled",
    "__version__",
    "associate",
    "embed",
    "embed_boxes",
    "embed_events",
    "evaluate",
    "open_gallery",
    "open_session",
    "rank",
    "read_dataset",
    "read_folder",
    "threshold_of",
    "verify",
]
"""Changing this list changes what programs may rely on."""

HEAVY = {"cv2", "numpy", "onnx", "onnxruntime", "openvino", "pydantic", "rich", "tensorrt", "torch", "typer"}


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)


def cpu_seconds(code: str) -> float:
    """CPU time of a process that runs `code`, user and system; the best of several, since others use the caches too."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        python(code)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    return min(once() for _ in range(7))


def test_the_names_are_these() -> None:
    assert reid.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(reid))


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - {"__version__"}))
def test_a_name_is_the_documented_object_of_its_own_module(name: str) -> None:
    value = getattr(reid, name)
    assert value is getattr(importlib.import_module(value.__module__), name)
    assert name in importlib.import_module(value.__module__).__all__
    documentation = inspect.getdoc(value) or ""
    assert len(documentation) > 20
    assert not documentation.startswith(f"{name}(")  # what a dataclass has without a docstring


def test_every_name_can_be_imported_from_the_package_as_the_first_thing_that_a_process_does() -> None:
    for name in PUBLIC:
        assert python(f"from reid import {name}; print('{name}' in vars(__import__('reid')))").stdout == "True\n"


def test_an_unknown_name_is_an_attribute_error_and_rooms_are_still_imported() -> None:
    with pytest.raises(AttributeError, match="'reid' has no attribute 'embedd'"):
        _ = reid.embedd  # type: ignore[attr-defined]
    assert python("from reid import data; print(data.__name__)").stdout == "reid.data\n"
    with pytest.raises(ImportError):
        importlib.import_module("reid.embedd")


def test_the_version_is_the_installed_one_and_of_the_project_file() -> None:
    assert reid.__version__ == version("reid")
    project = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    assert f'\nversion = "{reid.__version__}"\n' in project


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import sys, reid; dir(reid); print(*sorted({HEAVY} & sys.modules.keys()), *reid.__all__, sep=',')"
    assert python(code).stdout == f"{','.join(PUBLIC)}\n"
    loaded = python("import sys, reid; print(*(name for name in sys.modules if name.startswith('reid')))").stdout
    assert loaded == "reid\n"


def test_importing_the_package_takes_less_than_50_ms_of_cpu_time() -> None:
    assert cpu_seconds("import reid") - cpu_seconds("pass") < 0.05


def mentioned(hint: object) -> set[object]:
    """All types that a type hint is made of."""
    if isinstance(hint, list):  # a Callable's arguments
        return set().union(*map(mentioned, hint))
    return {hint, get_origin(hint)}.union(*map(mentioned, get_args(hint)))


def callables() -> Iterator[tuple[str, Callable[..., object]]]:
    """The public functions, and the constructors and public methods of the public classes."""
    for name in PUBLIC:
        value = getattr(reid, name)
        if inspect.isfunction(value):
            yield name, value
        elif inspect.isclass(value):
            for member, function in inspect.getmembers(value, inspect.isroutine):
                own = str(getattr(function, "__module__", None)).startswith("reid.")
                if own and (member == "__init__" or not member.startswith("_")):
                    yield f"{name}.{member}", function


# What `read_dataset`, `Store.create`, `Store.open` and `TrackletStream` return: facts, and no program gives them.
FACTS = {("Dataset.__init__", "root"), ("Store.__init__", "path"), ("LiveTrack.__init__", "picture")}


def test_every_parameter_that_takes_a_path_takes_text_and_whatever_is_a_path() -> None:
    paths = {
        (name, parameter): mentioned(hint)
        for name, function in callables()
        for parameter, hint in get_type_hints(function).items()
        if parameter != "return" and {Path, PurePath, os.PathLike} & mentioned(hint)
    }
    found = {key for key in paths if key not in FACTS}
    assert found >= {
        ("open_session", "model"),
        ("open_gallery", "source"),
        ("read_dataset", "folder"),
        ("read_folder", "folder"),
        ("verify", "bundle"),
        ("FrameEvent.__init__", "crop"),
        ("MemoryGallery.save", "path"),
        ("MemoryGallery.open", "path"),
        ("Store.create", "path"),
        ("Store.open", "path"),
        ("Tracklet.__init__", "frames"),
    }
    assert {key for key in found if not {str, os.PathLike[str]} <= paths[key]} == set()


def test_paths_may_be_text(veri: Path, bundle: Path, tmp_path: Path) -> None:
    """Of every parameter that the test above finds, and of what the documents show."""
    assert reid.read_dataset(str(veri)).root == veri
    tracklets = reid.read_folder(veri / "image_query")
    frames = [tracklet.frames for tracklet in tracklets]
    assert [tracklet.frames for tracklet in reid.read_folder(str(veri / "image_query"))] == frames
    as_text = [reid.Tracklet(one.id, [str(frame) for frame in one.frames]) for one in tracklets]
    assert [tracklet.frames for tracklet in as_text] == frames
    assert reid.FrameEvent("t", str(frames[0][0])).crop == frames[0][0]
    assert Bundle.open(str(bundle)).card == Bundle.open(bundle).card
    with reid.open_session(str(bundle)) as session:
        embedded = list(reid.embed(session, as_text))
        gallery = reid.MemoryGallery.collect(embedded, session.info.space)
    gallery.save(str(tmp_path / "gallery.npz"))
    opened = reid.open_gallery(str(tmp_path / "gallery.npz"), gallery.space)
    rankings = reid.rank(opened, embedded, 1)
    assert [ranking.matches[0].entry.id for ranking in rankings] == [one.id for one in tracklets]


def test_a_tracklet_is_a_record_of_its_frames_as_paths_and_pixels() -> None:
    pixels = np.zeros((2, 2, 3), np.uint8)
    tracklet = reid.Tracklet("t", ["a.jpg", Path("b.jpg"), pixels], camera="c")
    assert tracklet.frames[:2] == (Path("a.jpg"), Path("b.jpg"))
    assert tracklet.frames[2] is pixels
    changed = dataclasses.replace(tracklet, vehicle="v")
    assert (changed.id, changed.frames, changed.camera, changed.vehicle) == ("t", tracklet.frames, "c", "v")
    assert pickle.loads(pickle.dumps(tracklet)).frames[:2] == tracklet.frames[:2]
    with pytest.raises(dataclasses.FrozenInstanceError):
        tracklet.id = "u"  # type: ignore[misc]
    with pytest.raises(ValueError, match="'t' has no frames"):
        reid.Tracklet("t", ())
