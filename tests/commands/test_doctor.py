"""`reid-doctor`: the sessions of this machine, with and without a bundle."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from command_line import Run

from reid.commands.doctor import main


def test_a_session_that_works_is_named_and_the_command_succeeds(run_main: Run) -> None:
    code, out, err = run_main(main, "reid-doctor", "--session", "onnxruntime:cpu")
    assert code == 0, err
    assert re.search(r"^onnxruntime:cpu +works +ONNX Runtime \S+ on CPU: fp32, fp16, int8", out, re.MULTILINE)
    for name in ("Python", "processor", "disk", "cache", "pictures", "NVIDIA GPU", r"reid\[train\]"):
        assert re.search(rf"^{name} ", out, re.MULTILINE), name


def test_a_bundle_is_checked_in_each_precision(run_main: Run, whole_bundle: Path) -> None:
    code, out, err = run_main(main, "reid-doctor", whole_bundle, "--session", "onnxruntime:cpu", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["works"]
    assert [(one["name"], one["state"]) for one in found["sessions"]] == [
        (f"onnxruntime:cpu {precision}", "works") for precision in ("fp32", "fp16", "int8")
    ]
    assert {"sessions", "machine", "extras", "remedies"} < found.keys()


def test_a_session_that_fails_is_broken_with_its_command_and_the_exit_code_is_1(
    run_main: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "packages" / "openvino"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text("raise ImportError('libtbb.so.12: \x1b[31m cannot open')")
    monkeypatch.setenv("PYTHONPATH", str(library.parent))
    code, out, err = run_main(main, "reid-doctor", "--session", "openvino")
    assert code == 1
    assert err.endswith("error: openvino does not work on this machine\n")
    assert "\x1b" not in out
    table, _, commands = out.partition("\nWhat mends the rest, the most useful first:\n\n")
    assert re.search(r"^openvino +broken +openvino does not load \(libtbb", table, re.MULTILINE)
    assert re.match(r"  pip install --force-reinstall openvino +# openvino\n", commands)


@pytest.mark.torch
def test_a_checkpoint_is_opened_by_pytorch(run_main: Run, checkpoint: Path) -> None:
    code, out, err = run_main(main, "reid-doctor", checkpoint)
    assert code == 0, err
    assert re.search(r"^torch +works +PyTorch \S+ on \S.*: fp32", out, re.MULTILINE)
