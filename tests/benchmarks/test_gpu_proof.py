from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import plan
import pytest
import run_sections

GPU = Path(plan.__file__).parent

BODIES = {
    "passing": 'proof.check("one", True)',
    "failing": 'proof.check("two", False, 3)\n    proof.note("after", 4)',
    "raising": 'raise ValueError("five")',
    "skipping": 'raise Skipped("no six")',
    "dying": 'proof.note("before", 7)\n    os._exit(8)',
    "hanging": 'proof.note("before", 9)\n    time.sleep(60)',
    "slipping": 'proof.attempt("ten", divmod, 1, 0)\n    proof.note("after", 11)',
}
SECTION = """
import os, time
from proving import Proof, Skipped, prove
def body(proof):
    {body}
prove(body)
"""


def test_the_sections_are_those_of_the_plan() -> None:
    assert {file.stem for file in plan.FOLDER.glob("*.py")} == {section.name for section in plan.SECTIONS}


@pytest.mark.parametrize("section", plan.SECTIONS, ids=lambda section: section.name)
def test_a_section_says_what_it_proves_and_has_a_limit(section: plan.Section) -> None:
    module = ast.parse((plan.FOLDER / f"{section.name}.py").read_text())
    assert ast.get_docstring(module)
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    assert ast.get_docstring(functions[section.name])
    assert ast.unparse(module.body[-1]) == f"if __name__ == '__main__':\n    prove({section.name})"
    assert section.seconds > 0
    assert section.quick <= section.seconds


def test_what_the_sections_take_from_reid_is_public_there() -> None:
    """They run only where there is a GPU, so what is renamed must be noticed here."""
    files = [*GPU.glob("*.py"), *plan.FOLDER.glob("*.py")]
    nodes = [(file, node) for file in files for node in ast.walk(ast.parse(file.read_text()))]
    imports = [(file, node) for file, node in nodes if isinstance(node, ast.ImportFrom) and node.module is not None]
    ours = [(file, node) for file, node in imports if str(node.module).startswith("reid.")]
    assert len(ours) > 50
    for file, node in ours:
        names = {name.name for name in node.names}
        assert names <= public_names(str(node.module)), f"{file.name}: from {node.module} import {names}"


def public_names(module: str) -> set[str]:
    """Return a module's `__all__`, without importing it."""
    path = GPU.parents[1].joinpath("src", *module.split("."))
    source = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def test_the_plan_keeps_its_promises() -> None:
    assert plan.PROMISED == 8 * 60
    assert plan.SETUP + sum(section.seconds for section in plan.SECTIONS) + plan.MARGIN <= plan.PROMISED
    quick = plan.chosen([], quick=True)
    assert plan.PROMISED_QUICK == 3 * 60
    assert plan.SETUP_QUICK + sum(section.quick for section in quick) + plan.MARGIN <= plan.PROMISED_QUICK
    assert all(section.quick for section in quick)  # what they need is quick, too


def test_a_section_brings_what_it_needs_before_it() -> None:
    assert [section.name for section in plan.chosen(["accuracy"], quick=False)] == ["model", "accuracy"]
    for section in plan.SECTIONS:
        names = [one.name for one in plan.chosen([section.name], quick=False)]
        assert names == ([section.needs] if section.needs else []) + [section.name]
    with pytest.raises(KeyError):
        plan.chosen(["unknown"], quick=False)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The results of BODIES, each a section."""
    folder, out, work = (tmp_path / name for name in ("sections", "out", "work"))
    for one in (folder, out, work):
        one.mkdir()
    for name, body in BODIES.items():
        (folder / f"{name}.py").write_text(SECTION.format(body=body))
    monkeypatch.setenv("PYTHONPATH", str(GPU))
    monkeypatch.setattr(run_sections, "FOLDER", folder)
    monkeypatch.setattr(run_sections, "LEAST", 0)
    monkeypatch.setattr(run_sections, "chosen", lambda names, quick: tuple(plan.Section(n, 0) for n in BODIES))
    monkeypatch.setattr(
        run_sections, "seconds_allowed", lambda section, left, reserved: 0.4 if section.name == "hanging" else 9
    )
    monkeypatch.setattr(sys, "argv", ["run_sections.py", "--out", str(out), "--work", str(work)])
    with pytest.raises(SystemExit) as ended:
        run_sections.main()
    assert ended.value.code == 1
    return out


def test_a_section_that_fails_dies_or_hangs_ends_only_itself(results: Path) -> None:
    found = json.loads((results / "proof.json").read_text())
    assert {name: (result["state"], result["reason"].partition(";")[0]) for name, result in found.items()} == {
        "passing": ("passed", ""),
        "failing": ("failed", "two"),
        "raising": ("failed", "ValueError: five"),
        "skipping": ("skipped", "no six"),
        "dying": ("failed", "it ended with exit code 8"),
        "hanging": ("failed", "it was stopped after 0.4 s"),
        "slipping": ("failed", "ten"),
    }
    assert (found["failing"]["after"], found["slipping"]["after"]) == (4, 11)
    assert (found["dying"]["before"], found["hanging"]["before"]) == (7, 9)
    assert found["hanging"]["seconds"] < 9
    assert "ZeroDivisionError" in (results / "log.txt").read_text()
    report = (results / "proof.md").read_text()
    assert "1 passed, 5 failed, 1 skipped" in report
    assert "| skipping | skipped |" in report
    assert "- **not ok**: two: 3" in report


def test_time_that_earlier_sections_left_goes_to_later_ones() -> None:
    section = plan.Section("one", 10)
    assert run_sections.seconds_allowed(section, left=100, reserved=90) == 10
    assert run_sections.seconds_allowed(section, left=115, reserved=90) == 25
    assert run_sections.seconds_allowed(section, left=400, reserved=90) == 30  # and no more than three times its own
    assert run_sections.seconds_allowed(section, left=400, reserved=0) == 400  # but for the last one


@pytest.mark.parametrize("script", ["prove.sh", "carry.sh"])
def test_the_scripts_parse(script: str) -> None:
    assert subprocess.run(["bash", "-n", str(GPU / script)], check=False).returncode == 0
