"""No command and no backend looks up a host, or writes anything but what it was told to write.

The programs run under the shim (see test_shim.py), with a home, cache and temporary folder of their own.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shimmed import looked_up, shimmed_environment, written

ROOT = Path(__file__).parents[2]
PACKAGE = sorted(path for path in (ROOT / "src" / "reid").iterdir() if path.is_dir())
SMALL = ("--backbone", "test_resnet", "--image-size", 32, "--levels", "3,4", "--epochs", 1, "--batch", "4x2")


@pytest.fixture
def short_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose temporary folder has a path short enough for the sockets of training."""
    return tmp_path_factory.mktemp("w")


def watch(folder: Path, *command: object, succeeds: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a Python program in `folder/here`, without any opt-out of telemetry in its environment."""
    (folder / "here").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env=shimmed_environment(folder),
        cwd=folder / "here",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode == 0) == succeeds, done.stderr
    return done


def watch_command(
    folder: Path, name: str, *arguments: object, succeeds: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run the command in `commands/NAME.py`."""
    return watch(folder, "-c", f"from reid.commands.{name} import main; main()", *arguments, succeeds=succeeds)


def strays(folder: Path, output: str = "") -> Iterator[Path]:
    """Yield what was written although it is neither the output, nor a remembered self-check, nor gone again.

    Args:
        folder: the one given to `watch`.
        output: the output's name in `here`.
    """
    for path in sorted(written(folder) | {left for name in ("home", "tmp") for left in (folder / name).rglob("*")}):
        if _is_output(path, folder / "here", output) or _is_self_check(path, folder / "cache"):
            continue
        if _is_temporary(path, folder / "tmp") and not path.exists():
            continue
        if path.parent == folder / "tmp" and path.name.startswith("torchinductor_") and not any(path.iterdir()):
            continue  # PyTorch makes this folder when it is imported
        yield path


def _is_output(path: Path, here: Path, output: str) -> bool:
    """Return whether a path is the output, lies in it, or was its temporary neighbor."""
    if not output or here not in path.parents:
        return False
    top = path.relative_to(here).parts[0]
    return top == output or (top.startswith(f".{output}.") and not (here / top).exists())


def _is_self_check(path: Path, cache: Path) -> bool:
    checks = cache / "reid" / "self-checks"
    return path in (checks.parent, checks) or checks in path.parents


def _is_temporary(path: Path, folder: Path) -> bool:
    return folder in path.parents or path.parent == Path("/dev/shm")


def assert_nothing_got_out(folder: Path, output: str = "") -> None:
    assert looked_up(folder) == []
    assert list(strays(folder, output)) == []


@pytest.mark.parametrize("session", ["onnxruntime", "openvino"])
def test_inference(veri: Path, bundle: Path, session: str, tmp_path: Path) -> None:
    query, options = veri / "image_query", ("--model", bundle, "--session", session, "--output", "results")
    watch_command(tmp_path, "infer", veri / "image_test", query, *options)
    assert_nothing_got_out(tmp_path, "results")
    assert (tmp_path / "here" / "results" / "rankings.json").exists()
    assert any((tmp_path / "cache" / "reid" / "self-checks").iterdir())


def test_evaluation_of_a_bundle(veri: Path, bundle: Path, tmp_path: Path) -> None:
    done = watch_command(tmp_path, "evaluate", bundle, veri, "--json")
    assert_nothing_got_out(tmp_path)
    assert json.loads(done.stdout)["protocols"]


def test_training_on_weights_of_this_machine_evaluation_and_export_of_the_checkpoint_with_an_engine(
    veri: Path, checkpoint: Path, short_path: Path
) -> None:
    """In one process, which imports PyTorch once."""
    options = ("--weights", checkpoint / "checkpoint.safetensors", "--output", "runs/new")
    engine = "--engine tensorrt-rtx --optimization-level 0 --compute-capability 8.9"
    code = f"""
import sys
from contextlib import redirect_stdout, suppress
from reid.commands import evaluate, export, train

with suppress(SystemExit), redirect_stdout(sys.stderr):
    train.main()
sys.argv[1:] = "runs/new --fp16 --precision fp16 {engine} --output runs/bundle".split()
with suppress(SystemExit), redirect_stdout(sys.stderr):
    export.main()
sys.argv[1:] = ["runs/new", {str(veri)!r}, "--json"]
evaluate.main()
"""
    done = watch(short_path, "-c", code, veri, *SMALL, *options)
    assert_nothing_got_out(short_path, "runs")
    assert any((short_path / "here" / "runs" / "new" / "tensorboard").iterdir())
    assert any((short_path / "here" / "runs" / "bundle" / "engines").iterdir())
    assert json.loads(done.stdout)["protocols"]


def test_training_on_default_weights_asks_hugging_face_and_nobody_else(veri: Path, short_path: Path) -> None:
    options = (*SMALL, "--weights", "default", "--output", "runs/new")
    done = watch_command(short_path, "train", veri, *options, succeeds=False)
    assert "cannot be downloaded" in done.stderr
    assert {target.partition(":")[0] for target in looked_up(short_path)} == {"huggingface.co"}


def test_calibration(veri: Path, bundle: Path, tmp_path: Path) -> None:
    watch_command(tmp_path, "calibrate", bundle, veri, "--output", "calibration")
    assert_nothing_got_out(tmp_path, "calibration")
    assert any((tmp_path / "here" / "calibration").iterdir())


def test_data(tmp_path: Path) -> None:
    watch(tmp_path / "made", "-m", "reid.commands.data", "synthesize", "data", "--vehicles", 4, "--cameras", 2)
    assert_nothing_got_out(tmp_path / "made", "data")
    watch(tmp_path / "read", "-m", "reid.commands.data", "inspect", tmp_path / "made" / "here" / "data")
    assert_nothing_got_out(tmp_path / "read")


def test_importing_reid_first_silences_the_libraries_for_everything_in_the_process(tmp_path: Path) -> None:
    """Also those that nothing of ours imports in this process: a program, or a library of a library, may."""
    code = """
import subprocess, sys
import reid
import cv2, onnx, onnxruntime, onnxscript, pydantic, rich, tensorrt_rtx, timm, torch.utils.tensorboard, torchvision
import tritonclient.grpc, typer
from huggingface_hub.utils import build_hf_headers, send_telemetry
from reid.train.model.backbone import create_backbone

create_backbone("resnet10t", (4,), image_size=64, weights="none")
send_telemetry("reid", library_name="reid")
print(build_hf_headers(library_name="timm", library_version="1")["user-agent"])
subprocess.run([sys.executable, "-c", "import onnxruntime"], check=True)
"""
    agent = watch(tmp_path, "-c", code).stdout
    assert "timm/1" in agent
    assert "torch" not in agent
    assert_nothing_got_out(tmp_path)


@pytest.mark.parametrize("library", ["onnxruntime", "openvino"])
def test_what_reports_would_be_noticed(library: str, tmp_path: Path) -> None:
    """If it were not, the tests above could not fail."""
    watch(tmp_path, "-c", f"import {library}")
    assert looked_up(tmp_path) or list(strays(tmp_path))


@pytest.mark.parametrize("library", ["onnxruntime", "openvino"])
def test_one_function_imports_a_library_that_reports(library: str) -> None:
    importing = [
        (path.relative_to(ROOT), function)
        for room in PACKAGE
        for path in room.resolve().rglob("*.py")
        for function in _importers(ast.parse(path.read_bytes()), library)
    ]
    file = {"onnxruntime": "onnxruntime_providers.py", "openvino": "openvino.py"}[library]
    assert importing == [(Path("runtime", "sessions", file), f"import_{library}")]


def _importers(tree: ast.Module, library: str) -> Iterator[str]:
    """Yield the names of the functions, or of the module, that import a library by a statement or by its name."""
    for part in tree.body:
        for node in ast.walk(part):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [] if node.level else [node.module or ""]
            elif isinstance(node, ast.Call):
                function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                named = [value.value for value in node.args if isinstance(value, ast.Constant)]
                modules = [str(name) for name in named] if function in ("import_module", "__import__") else []
            else:
                continue
            if any(module.partition(".")[0] == library for module in modules):
                yield getattr(part, "name", "the module")
