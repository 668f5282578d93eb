"""One small data set, one small model and its bundle, shared by all tests. Treat them as read-only; copy to change."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from headless_browser import NAMES, Browser
from hypothesis import settings

# Read by OpenMP when PyTorch loads: spinning threads would fight with the loader's processes for few cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))

from reid.data.synthesis.veri import synthesize
from reid.runtime.gpu import find_device

# How long an example takes depends on what else the machine does.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `gpu` where there is none."""
    if find_device() is None:
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU, and this machine has none"))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's cache folder: a fresh one, so that tests neither read nor leave anything at home."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture
def run_main(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Run a command's `main` in this process: (main, its name, arguments ...) -> (exit code, output, errors)."""
    handler = signal.getsignal(signal.SIGINT)

    def run(main: Callable[[], None], name: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        assert isinstance(code, int | None)
        return (code or 0, *capfd.readouterr())

    yield run
    signal.signal(signal.SIGINT, handler)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """Chromium; tests that need it are skipped where it is not installed, and fail in CI."""
    program = Browser.find()
    if program is None:
        reason = f"none of {', '.join(NAMES)} is installed"
        pytest.fail(reason) if "CI" in os.environ else pytest.skip(reason)
    return Browser(program, tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="session")
def veri(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic data set in VeRi's layout: 12 vehicles, 3 cameras."""
    root = tmp_path_factory.mktemp("data") / "veri"
    synthesize(root, vehicles=12, cameras=3, seed=7)
    return root


@pytest.fixture(scope="session")
def checkpoint(veri: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with an untrained model of two levels, 16 dimensions each, at 64 x 64 pixels."""
    import torch

    from reid.data.layout import open_dataset
    from reid.runtime.model_card import FORMAT_VERSION, ModelCard
    from reid.train.model.backbone import create_backbone
    from reid.train.model.checkpoint import describe, save_checkpoint
    from reid.train.model.multi_level import MultiLevelReID
    from reid.train.run.provenance import reference_crops

    torch.manual_seed(0)
    backbone = create_backbone("resnet10t", (3, 4), image_size=64, weights="none")
    levels, preprocessing = describe(backbone, 16, 64)
    model = MultiLevelReID(backbone.module, backbone.indices, backbone.channels, levels, preprocessing).eval()
    card = ModelCard(
        format_version=FORMAT_VERSION,
        fingerprint="",
        backbone="resnet10t",
        levels=levels,
        preprocessing=preprocessing,
    )
    run = tmp_path_factory.mktemp("runs") / "untrained"
    run.mkdir()
    save_checkpoint(run, model, card, reference_crops(open_dataset(veri, needs="query").gallery.images))
    return run


@pytest.fixture(scope="session")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `checkpoint`."""
    from reid.export.bundle import write_bundle
    from reid.train.model.checkpoint import load_checkpoint

    output = tmp_path_factory.mktemp("bundles") / "bundle"
    write_bundle(load_checkpoint(checkpoint), output)
    return output
