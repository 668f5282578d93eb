"""What a release says of itself: one version, the licenses of all that is required, wheels that are compared."""

from __future__ import annotations

import importlib.util
import re
import sys
from importlib.metadata import distribution, requires
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
VERSION = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)[0]


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "release" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_the_version_is_one() -> None:
    assert re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[0] == VERSION
    assert f"\nversion: {VERSION}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_licenses_of_everything_that_is_required_are_listed() -> None:
    listed = set(re.findall(r"^\| (\S+) \| ", (ROOT / "docs" / "licenses.md").read_text(), flags=re.MULTILINE))
    required = {
        requirement.name
        for requirement in map(Requirement, requires("reid") or [])
        for extra in (
            "",
            "bench",
            "cpu",
            "export",
            "lance",
            "milvus",
            "onnx",
            "ray",
            "rtx",
            "table",
            "train",
        )
        if requirement.name != "reid"
        and (requirement.marker is None or requirement.marker.evaluate({"extra": extra, "sys_platform": "linux"}))
    }
    assert len(required) > 15
    assert sorted(required - listed) == []


def write_package(folder: Path, name: str, *headers: str) -> None:
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", f"Name: {name}", "Version: 1", *headers, ""]))


def test_a_license_is_the_expression_else_the_classifiers_else_the_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    license_of = script("inventory", monkeypatch).license_of
    classifiers = "Classifier: License :: OSI Approved :: MIT License", "Classifier: Topic :: Office"
    stated = {
        ("License-Expression: MIT", *classifiers): "MIT",
        (*classifiers, "License: Apache"): "MIT License",
        ("Classifier: License :: Other/Proprietary License", "License: Apache", "        of 2004"): "Apache",
        (): "not stated",
    }
    for number, headers in enumerate(stated):
        write_package(tmp_path, f"package{number}", *headers)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = [license_of(distribution(f"package{number}")) for number in range(len(stated))]
    assert found == list(stated.values())


def test_what_extras_bring_is_followed_to_the_end_and_listed_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_package(
        tmp_path,
        "reid",
        "Requires-Dist: a",
        "Requires-Dist: B_c[more]; extra == 'onnx'",
        "Requires-Dist: reid[onnx]; extra == 'cpu'",
        "Requires-Dist: d; extra == 'cpu'",
        "Requires-Dist: nowhere; sys_platform == 'none'",
    )
    write_package(tmp_path, "a", "License: X | Y")
    write_package(tmp_path, "B_c", "License: X", "Requires-Dist: e; extra == 'more'", "Requires-Dist: a")
    for name in "de":
        write_package(tmp_path, name, "License: X")
    monkeypatch.syspath_prepend(str(tmp_path))
    inventory = script("inventory", monkeypatch)
    assert inventory.page(["lean", "onnx", "cpu"]) == inventory.PREAMBLE + (
        "| a | 1 | X / Y | every installation |\n"
        "| b-c | 1 | X | `onnx`, `cpu` |\n"
        "| d | 1 | X | `cpu` |\n"
        "| e | 1 | X | `onnx`, `cpu` |\n"
    )


def test_wheels_that_differ_and_files_that_are_missing_or_surplus_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    distributions = script("distributions", monkeypatch)
    found = distributions.differences({"a": b"1", "b": b"1"}, {"a": b"2", "c": b"1"})
    assert [line.split(" in one")[0] for line in found] == ["a differs", "b is missing", "c is missing"]
    tracked = "runtime/x.py\nruntime/kernels/k.cu\npages/page.css\n"
    monkeypatch.setattr(distributions, "run", lambda *_: tracked)
    whole = {f"reid/{name}": b"" for name in ("__init__.py", "py.typed", "runtime/x.py", "pages/page.css")}
    whole["reid-1.dist-info/RECORD"] = b""
    assert distributions.surplus_and_missing(whole, kernels=False) == []
    assert distributions.surplus_and_missing(whole, kernels=True) == [f"the wheel lacks {distributions.FAT_BINARY}"]
    changed = {**{name: b"" for name in whole if name != "reid/runtime/x.py"}, "reid/runtime/kernels/k.cu": b""}
    assert distributions.surplus_and_missing(changed, kernels=False) == [
        "the wheel lacks reid/runtime/x.py",
        "the wheel holds reid/runtime/kernels/k.cu, which is no file of the package",
    ]
