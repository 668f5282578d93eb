from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import onnx
import pytest

import reid.export.bundle as writer
from reid.export.command import main
from reid.runtime.bundle import Bundle
from reid.runtime.model_card import ModelCard
from reid.train.model import MultiLevelReID

Run: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Run the command in this process, with a graph that was exported before: (exit code, output, errors)."""
    handler = signal.getsignal(signal.SIGINT)

    def copy(model: MultiLevelReID, card: ModelCard, path: Path) -> None:
        shutil.copy(bundle / "model.fp32.onnx", path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["reid-export", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        assert isinstance(code, int | None)
        return (code or 0, *capfd.readouterr())

    monkeypatch.setattr(writer, "export_graph", copy)
    monkeypatch.chdir(tmp_path)
    yield call
    signal.signal(signal.SIGINT, handler)


def assert_one_line_of_error(code: int, out: str, err: str, *, expected: int = 1) -> str:
    assert (code, out) == (expected, "")
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    return line


def test_without_arguments_it_exports_the_latest_run_to_bundle(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "latest").symlink_to(checkpoint)
    code, out, err = run()
    assert (code, out) == (0, "bundle\n")
    assert "differs from PyTorch by at most" in err
    Bundle.open(tmp_path / "bundle")


def test_json_is_alone_on_standard_output(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    code, out, _ = run(checkpoint, "--output", "deep/bundle", "--json")
    assert code == 0
    result = json.loads(out)
    card = Bundle.open(tmp_path / "deep" / "bundle").card
    assert (result["bundle"], result["fingerprint"]) == ("deep/bundle", card.fingerprint)
    assert result["fp32"]["largest_difference"] <= result["fp32"]["tolerance"]


def test_a_failed_gate_ends_with_3_and_leaves_no_bundle(
    run: Run, checkpoint: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export_without_pooling(model: MultiLevelReID, card: ModelCard, path: Path) -> None:
        graph = onnx.load(bundle / "model.fp32.onnx")
        (last,) = (node for node in graph.graph.node if node.output[0] == "pooled")
        node = onnx.helper.make_node("MatMul", list(last.input), ["sum"])
        graph.graph.node.remove(last)
        graph.graph.node.extend([node, onnx.helper.make_node("Sin", ["sum"], ["pooled"])])
        onnx.save(graph, path)

    monkeypatch.setattr(writer, "export_graph", export_without_pooling)
    assert "differs from PyTorch" in assert_one_line_of_error(*run(checkpoint), expected=3)
    assert os.listdir(tmp_path) == []


def test_a_failure_is_one_line_that_names_the_cause(run: Run, checkpoint: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    damaged = Path(shutil.copytree(checkpoint, tmp_path / "damaged"))
    content = (damaged / "checkpoint.safetensors").read_bytes()
    (damaged / "checkpoint.safetensors").write_bytes(content[: len(content) // 2])
    other = tmp_path / "other"
    other.mkdir()
    (other / "work.txt").touch()
    before = sorted(os.listdir(tmp_path))
    for arguments, named in (
        ((), "runs/latest"),
        (("absent",), "absent"),
        ((bundle,), "checkpoint.safetensors"),
        ((damaged,), "checkpoint.safetensors"),
        ((checkpoint, "--output", "/proc/bundle"), "/proc"),
        ((checkpoint, "--output", "file"), "file"),
        ((checkpoint, "--output", "file/bundle"), "file"),
        ((checkpoint, "--output", "other"), "other"),
    ):
        assert named in assert_one_line_of_error(*run(*arguments, "--json"))
        assert sorted(os.listdir(tmp_path)) == before


def test_wrong_usage_ends_with_2(run: Run) -> None:
    code, out, err = run("one", "two")
    assert (code, out) == (2, "")
    assert "Traceback" not in err
