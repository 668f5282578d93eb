"""Every Python block in README and docs: it compiles, and what it takes from reid exists; many run."""

from __future__ import annotations

import ast
import inspect
import os
import shutil
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from documents import PAGES, ROOT, Block, blocks

import reid

ALL = [block for page in PAGES for block in blocks(page, "python")]

ELSEWHERE = {
    "README.md": "tests/test_readme.py",
    "docs/deepstream.md": "tests/export/test_deepstream.py",
    "docs/identities.md": "tests/runtime/live/test_docs.py",
    "docs/live-tracks.md": "tests/runtime/live/test_docs.py",
    "docs/trackers.md": "tests/runtime/live/test_docs.py",
    "docs/triton.md": "tests/export/test_triton.py",
}
"""Pages whose blocks another test runs."""

HERE = {
    "docs/extending/backend.md",
    "docs/extending/data-set.md",
    "docs/extending/loss.md",
    "docs/galleries.md",
    "docs/getting-started.md",
    "docs/python.md",
    "docs/sessions.md",
    "docs/streams.md",
    "docs/verification.md",
}
"""Pages of which the tests below run blocks."""

NOT_RUN = {
    "docs/engines.md": "needs an NVIDIA GPU",
    "docs/int8-quantizers.md": "needs other environments",
    "docs/jetson.md": "needs TensorRT",
    "docs/kernels.md": "needs an NVIDIA GPU",
    "docs/operating-points.md": "needs a bundle that was verified on many vehicles",
}


def run(page: str, *numbers: int, **names: Any) -> dict[str, Any]:  # noqa: ANN401
    """Run a page's blocks, one after another as in one program, or only those of these numbers."""
    for number, block in enumerate(blocks(ROOT / "docs" / page, "python")):
        if not numbers or number in numbers:
            exec(compile(block.text, str(block), "exec", dont_inherit=True), names)
    return names


def from_reid(tree: ast.AST) -> dict[str, Any]:
    """Import what a block imports from reid: name in the block -> object."""
    found: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "reid":
            module = import_module(node.module)
            found |= {alias.asname or alias.name: getattr(module, alias.name) for alias in node.names}
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "reid":
                    import_module(alias.name)
                    found[alias.asname or "reid"] = reid
    return found


def resolved(node: ast.expr, names: dict[str, Any]) -> object:
    """Return what a name, or an attribute of one of reid's modules and classes, stands for; None for anything else."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = resolved(node.value, names)
        return getattr(owner, node.attr) if inspect.ismodule(owner) or inspect.isclass(owner) else None
    return None


def calls(tree: ast.AST, names: dict[str, Any]) -> Iterator[tuple[Callable[..., Any], ast.Call]]:
    """Yield the calls of what is reid's, with what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and callable(called := resolved(node.func, names)):
            yield called, node


def check(block: Block) -> None:
    """Check a block's names and arguments. Raises ImportError, AttributeError or TypeError."""
    tree = ast.parse(block.text, str(block))
    names = {"reid": reid} | {name: getattr(reid, name) for name in reid.__all__} | from_reid(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            resolved(node, names)
    for called, call in calls(tree, names):
        if any(isinstance(one, ast.Starred) for one in call.args) or any(one.arg is None for one in call.keywords):
            continue
        inspect.signature(called).bind(*call.args, **{one.arg: one.value for one in call.keywords if one.arg})


@pytest.mark.parametrize("block", ALL, ids=str)
def test_it_compiles_and_uses_what_is_there(block: Block) -> None:
    check(block)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("from reid.runtime.embedding import imbed", AttributeError),
        ("import reid\nreid.open_sesame('bundle')", AttributeError),
        ("reid.open_session('bundle', device='cpu')", TypeError),
        ("open_session()", TypeError),
        ("for x in", SyntaxError),
    ],
)
def test_what_is_not_there_is_noticed(code: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        check(Block(ROOT / "README.md", "python", code, 1))


def test_every_page_with_python_is_accounted_for() -> None:
    pages = {block.page.relative_to(ROOT).as_posix() for block in ALL}
    assert sorted(pages - HERE - ELSEWHERE.keys()) == sorted(NOT_RUN)
    assert pages >= HERE | ELSEWHERE.keys()
    for page, test in ELSEWHERE.items():
        assert Path(page).name in (ROOT / test).read_text()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_bundle: Path, veri: Path) -> Path:
    """A folder with what the pages assume is there."""
    (tmp_path / "bundle").symlink_to(whole_bundle)
    for name in ("VeRi", "rendered"):
        (tmp_path / name).symlink_to(veri)
    for name in ("query", "gallery", "crops"):
        (tmp_path / name).symlink_to(veri / "image_query")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_those_of_the_first_pages(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("getting-started.md")
    ranked = capsys.readouterr().out.splitlines()
    assert len(ranked) == len(list((folder / "rendered" / "image_query").iterdir()))
    run("python.md")
    assert reid.__version__ in capsys.readouterr().out


def test_those_of_sessions_and_streams(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("sessions.md", **{name: getattr(reid, name) for name in ("open_session", "embed", "read_folder")})
    assert "OpenVINO" in capsys.readouterr().out
    names = run("streams.md", 0)
    assert capsys.readouterr().out.count("car") == 2
    with reid.open_session("bundle") as session:
        run("streams.md", 1, embed_events=reid.embed_events, session=session, events=names["seen"]())


def test_those_of_galleries_and_verification(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("galleries.md", 2)
    assert "(" in capsys.readouterr().out
    run("verification.md")
    assert capsys.readouterr().out.strip()


def test_the_loss_is_trained_with(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from reid.runtime.model_card import Level
    from reid.train.builders import build_loss
    from reid.train.losses import METRIC_LOSSES
    from reid.train.recipe import RECIPES

    monkeypatch.setitem(METRIC_LOSSES, "contrastive", torch.nn.Identity)  # the page's comes in its place, and goes
    names = run("extending/loss.md")
    recipe = RECIPES["poster"].model_copy(update={"loss": "contrastive", "levels": (3, 4)})
    loss = build_loss(recipe, [Level(name="level3", size=8), Level(name="level4", size=8)])
    embedding = names["embedding"].requires_grad_()
    total, parts = loss([embedding] * 2, [torch.zeros(5, 3)] * 2, names["vehicle"])
    total.backward()
    assert parts["level3/metric"].item() == pytest.approx(
        names["ContrastiveLoss"]()(embedding, names["vehicle"]).item()
    )
    assert embedding.grad is not None
    assert torch.isfinite(embedding.grad).all()


@pytest.mark.skipif(
    int(cv2.__version__.split(".")[0]) < 5, reason="OpenCV 4 cannot read graphs with batches of any size"
)
def test_the_backend_is_found_checked_and_right(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a package of its own: what its pyproject.toml says is in the metadata that pip would write."""
    page = ROOT / "docs" / "extending" / "backend.md"
    module, use = blocks(page, "python")
    (entry_point,) = blocks(page, "toml")
    packages = folder / "packages"
    metadata = packages / "reid_opencv-1.dist-info"
    metadata.mkdir(parents=True)
    (packages / "reid_opencv.py").write_text(module.text)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: reid-opencv\nVersion: 1\n")
    header, line = entry_point.text.strip().splitlines()
    assert header == '[project.entry-points."reid.sessions"]'
    (metadata / "entry_points.txt").write_text("[reid.sessions]\n" + line.replace('"', "") + "\n")
    monkeypatch.syspath_prepend(str(packages))
    exec(compile(use.text, str(use), "exec", dont_inherit=True), {})
    checks = Path(os.environ["XDG_CACHE_HOME"], "reid", "self-checks")
    assert any('"session": "opencv' in check.read_text() for check in checks.iterdir())
    with pytest.raises(reid.SessionError, match="OpenCV has no device 'cuda' here"):
        reid.open_session("bundle", "opencv:cuda")


def test_the_data_set_is_read_with_its_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from reid.data.layout import READERS

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(READERS, "labels", READERS["flat"])  # the page's comes in its place, and goes
    crops = tmp_path / "mine" / "crops"
    crops.mkdir(parents=True)
    lines = []
    for number, (vehicle, camera) in enumerate([(v, c) for v in range(8) for c in ("north", "south")]):
        cv2.imwrite(str(crops / f"{number}.png"), np.full((8, 8, 3), number, np.uint8))
        lines.append(f"{number}.png car{vehicle} {camera}")
    shutil.copy(crops / "0.png", crops / "unlisted.png")
    lines += ["gone.png car1 north", "only two", "../../secret.jpg car1 north"]
    (tmp_path / "mine" / "labels.txt").write_text("\n".join(lines))
    run("extending/data-set.md")
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "12 to train on, 4 queries, 4 in the gallery"
    assert sorted(line.split(" crops")[0].split(" labels")[0] for line in said[1:]) == [
        "damaged list",
        "damaged list",
        "missing file",
        "not in label file",
    ]
