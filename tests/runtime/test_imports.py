"""Deployment never imports torch: shown in processes in which torch and its companions cannot be imported.

Calibrating and building engines take graphs apart, which needs onnx; running graphs does not.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reid.runtime.bundle import Bundle

BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise RuntimeError(f"deployment imported {name}")

sys.meta_path.insert(0, Blocker())
"""
TRAINING = {"torch", "torchvision", "timm", "safetensors", "tensorboard", "onnxscript"}
ONNX = {"onnx"}


def python(
    code: str, *arguments: str, blocked: set[str] = TRAINING | ONNX, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"BLOCKED = {blocked}{BLOCKER}{code}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60, check=False)


def test_the_blocker_blocks() -> None:
    done = python("import torch")
    assert done.returncode != 0
    assert "deployment imported torch" in done.stderr


@pytest.mark.parametrize(
    ("packages", "blocked"),
    [
        (("runtime", "data", "evaluation", "pages", "export.engines"), TRAINING | ONNX),
        (("calibration", "export.int8", "export.verification"), TRAINING),
    ],
    ids=["a device", "calibration"],
)
def test_no_module_of_a_room_that_is_deployed_imports_torch(packages: tuple[str, ...], blocked: set[str]) -> None:
    code = """
import importlib, pkgutil

for name in sys.argv[1:]:
    package = importlib.import_module(f"reid.{name}")
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
        print(module.name)
assert not BLOCKED & sys.modules.keys()
"""
    done = python(code, *packages, blocked=blocked)
    assert done.returncode == 0, done.stderr
    root = Path(__file__).parents[2]
    files = [file for package in packages for file in (root / package.replace(".", "/")).rglob("*.py")]
    assert len(done.stdout.splitlines()) == len(files) - len(packages)


def test_importing_the_runtime_alone_imports_nothing_heavy() -> None:
    done = python("import reid.runtime; print(*{'numpy', 'cv2', 'onnxruntime', 'rich'} & sys.modules.keys())")
    assert done.stdout == "\n", done.stdout + done.stderr


def run(
    command: str, *arguments: object, cwd: Path, blocked: set[str] = TRAINING | ONNX
) -> subprocess.CompletedProcess[str]:
    """Run a command line where the blocked packages cannot be imported."""
    code = f"from reid.commands.{command} import main; main()"
    done = python(code, *map(str, arguments), blocked=blocked, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done


def test_inference_works_from_folders_to_results(veri: Path, bundle: Path, tmp_path: Path) -> None:
    gallery, query = tmp_path / "gallery", tmp_path / "query"
    gallery.mkdir()
    query.mkdir()
    images = sorted((veri / "image_test").iterdir())
    for image in images[:6]:
        shutil.copy(image, gallery)
    shutil.copy(images[3], query)
    done = run("infer", "gallery", "query", "--model", bundle, "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["queries"] == 1
    rankings = json.loads((tmp_path / "results" / "rankings.json").read_text())
    assert rankings["queries"][0]["matches"][0]["tracklet"] == images[3].name


def test_data_is_rendered_inspected_and_evaluated_on(veri: Path, bundle: Path, tmp_path: Path) -> None:
    run("data", "synthesize", "rendered", "--vehicles", 4, "--cameras", 2, cwd=tmp_path)
    assert json.loads(run("data", "inspect", "rendered", "--json", cwd=tmp_path).stdout)["problems"] == []
    done = run("evaluate", bundle, veri, "--protocols", "t2t", "--rerank", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["protocols"]["t2t"]["queries"] > 0


def test_a_bundle_is_calibrated_and_its_layers_are_measured_in_int8(veri: Path, bundle: Path, tmp_path: Path) -> None:
    options = ("--frames", 8, "--sensitivity", "--ranges", "max", "--json")
    done = run("calibrate", bundle, veri, *options, cwd=tmp_path, blocked=TRAINING)
    assert json.loads(done.stdout)["sensitivity"]["layers"]
    files = sorted(path.name for path in (tmp_path / "calibration").glob("[!.]*"))
    assert files == ["report.html", "scales.json", "sensitivity.json"]


@pytest.mark.rtx
def test_an_engine_is_added_to_a_bundle(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    options = ("--engine", "tensorrt-rtx", "--optimization-level", 0, "--compute-capability", "8.9")
    run("export", copy, *options, cwd=tmp_path, blocked=TRAINING)
    assert [path.suffix for path in sorted((copy / "engines").glob("*"))] == [".engine", ".json"]
    Bundle.open(copy)


def test_what_needs_torch_says_so_in_one_line(veri: Path, checkpoint: Path, tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["torch"] = None  # as if it were not installed
from reid.commands.evaluate import main
sys.argv = ["reid-eval", {str(checkpoint)!r}, {str(veri)!r}]
main()
"""
    done = python(code, blocked=set(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "pip install 'reid[train]'" in done.stderr.splitlines()[-1]
