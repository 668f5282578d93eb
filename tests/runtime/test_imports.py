"""Deployment never imports torch: shown in processes in which torch and its companions cannot be imported."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "torchvision", "timm", "safetensors", "onnx", "onnxscript"}:
            raise RuntimeError(f"deployment imported {name}")

sys.meta_path.insert(0, Blocker())
"""


def python(code: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BLOCKER + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60, check=False)


def test_the_blocker_blocks() -> None:
    done = python("import torch")
    assert done.returncode != 0
    assert "deployment imported torch" in done.stderr


def test_no_module_of_runtime_or_calibration_imports_torch() -> None:
    code = """
import importlib, pkgutil
import reid.calibration, reid.runtime

count = 0
for package in (reid.runtime, reid.calibration):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
        count += 1
forbidden = {"torch", "torchvision", "timm", "safetensors"} & sys.modules.keys()
assert not forbidden, forbidden
print(count)
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40


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
    code = "from reid.runtime.commands.infer import main; main()"
    done = python(code, "gallery", "query", "--model", str(bundle), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["queries"] == 1
    rankings = json.loads((tmp_path / "results" / "rankings.json").read_text())
    assert rankings["queries"][0]["matches"][0]["tracklet"] == images[3].name
