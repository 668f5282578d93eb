"""Deployment never imports torch: shown in processes in which torch and its companions cannot be imported.

Calibration takes graphs apart, for which it needs onnx; running them does not.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise RuntimeError(f"deployment imported {name}")

sys.meta_path.insert(0, Blocker())
"""
TRAINING = {"torch", "torchvision", "timm", "safetensors"}
EXPORT = {"onnx", "onnxscript"}


def python(
    code: str, *arguments: str, blocked: set[str] = TRAINING | EXPORT, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"BLOCKED = {blocked}{BLOCKER}{code}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60, check=False)


def test_the_blocker_blocks() -> None:
    done = python("import torch")
    assert done.returncode != 0
    assert "deployment imported torch" in done.stderr


@pytest.mark.parametrize(("package", "blocked"), [("runtime", TRAINING | EXPORT), ("calibration", TRAINING)])
def test_no_module_of_runtime_or_calibration_imports_torch(package: str, blocked: set[str]) -> None:
    code = f"""
import importlib, pkgutil
import reid.{package} as package

modules = [module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for module in modules:
    importlib.import_module(module)
assert not BLOCKED & sys.modules.keys()
print(len(modules))
"""
    done = python(code, blocked=blocked)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 8


def test_importing_the_runtime_alone_imports_nothing_heavy() -> None:
    done = python("import reid.runtime; print(*{'numpy', 'cv2', 'onnxruntime', 'rich'} & sys.modules.keys())")
    assert done.stdout == "\n", done.stdout + done.stderr


def test_inference_works_from_folders_to_results_where_torch_cannot_be_imported(
    veri: Path, bundle: Path, tmp_path: Path
) -> None:
    gallery, query = tmp_path / "gallery", tmp_path / "query"
    gallery.mkdir()
    query.mkdir()
    images = sorted((veri / "image_test").iterdir())
    for image in images[:6]:
        shutil.copy(image, gallery)
    shutil.copy(images[3], query)
    code = "from reid.commands.infer import main; main()"
    done = python(code, "gallery", "query", "--model", str(bundle), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["queries"] == 1
    rankings = json.loads((tmp_path / "results" / "rankings.json").read_text())
    assert rankings["queries"][0]["matches"][0]["tracklet"] == images[3].name
