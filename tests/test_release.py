"""What a release says of itself: one version, the licenses of all that is required, wheels that are compared."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from importlib.metadata import requires
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
            "nvimgcodec",
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


def test_a_license_is_the_expression_else_the_classifiers_else_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    license_of = script("inventory", monkeypatch).license_of
    classifier = ["License :: OSI Approved :: MIT License", "License :: OSI Approved", "Topic :: Office"]
    text = "\n Apache\nall of it"
    assert license_of({"license_expression": "MIT", "classifier": classifier}) == "MIT"
    assert license_of({"classifier": classifier, "license": text}) == "MIT License"
    assert license_of({"classifier": ["License :: Other/Proprietary License"], "license": text}) == "Apache"
    assert license_of({"name": "x"}) == "not stated"


def test_a_package_of_several_extras_has_one_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    inventory = script("inventory", monkeypatch)
    brought = {"lean": ["a"], "onnx": ["a", "B_c"], "cpu": ["a", "B_c", "d"]}
    for extra, names in brought.items():
        found = [{"metadata": {"name": name, "version": "1", "license": "X | Y"}} for name in [*names, "reid"]]
        (tmp_path / extra).write_text(json.dumps({"install": found}))
    page = inventory.page((extra, str(tmp_path / extra)) for extra in brought)
    assert page.endswith(
        "| a | 1 | X / Y | every installation |\n| b-c | 1 | X / Y | `onnx`, `cpu` |\n| d | 1 | X / Y | `cpu` |\n"
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
