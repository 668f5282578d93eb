"""The names that `import reid` promises, and what they cost."""

from __future__ import annotations

import importlib
import inspect
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import reid

PUBLIC = [
    "DataError",
    "Dataset",
    "Embedded",
    "Gallery",
    "GateError",
    "Match",
    "Metrics",
    "ModelError",
    "Ranking",
    "ReidError",
    "Session",
    "SessionError",
    "Tracklet",
    "__version__",
    "embed",
    "evaluate",
    "open_gallery",
    "open_session",
    "read_dataset",
    "read_folder",
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


def test_paths_may_be_text(veri: Path, bundle: Path) -> None:
    assert reid.read_dataset(str(veri)).root == veri
    paths = [tracklet.frames for tracklet in reid.read_folder(veri / "image_query")]
    assert [tracklet.frames for tracklet in reid.read_folder(str(veri / "image_query"))] == paths
    with reid.open_session(str(bundle)) as session:
        assert session.info.precision == "fp32"
