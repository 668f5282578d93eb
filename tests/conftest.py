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
from made_once import made_once

# Read by OpenMP when PyTorch loads: spinning threads would fight with the loader's processes for few cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))

# Dozens of programs import the package: what one of them has compiled, the others need not.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import untrained

from reid.runtime.gpu import find_device

_LONGEST = (
    "test_readme.py",
    "test_processes.py",
    "test_full_disk.py",
    "test_nothing_gets_out.py",
    "test_loop.py",
    "test_start.py",
    "test_foreign_weights.py",
    "test_kills.py",
    "test_embed.py",
    "test_resume.py",
    "test_held_out.py",
)
"""The files that take longest, longest first: at the end, one process would run them while the others wait."""

# How long an example takes depends on what else the machine does.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let an environment without PyTorch take the models that another one has made."""
    parser.addoption("--untrained", type=Path, help="folder that tests/helpers/untrained.py has written")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked `gpu` where there is none; begin with the files whose tests take longest."""
    places = {name: place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
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
    return made_once(tmp_path_factory.getbasetemp(), "veri", untrained.write_data)


@pytest.fixture(scope="session")
def made(request: pytest.FixtureRequest) -> Path | None:
    """The folder of models that another environment has made; None to make them here."""
    folder = request.config.getoption("--untrained")
    assert folder is None or isinstance(folder, Path)
    return folder


@pytest.fixture(scope="session")
def checkpoint(made: Path | None, veri: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with an untrained model of two levels, 16 dimensions each, at 64 x 64 pixels."""
    if made:
        return made / untrained.CHECKPOINT
    base = tmp_path_factory.getbasetemp()
    return made_once(base, untrained.CHECKPOINT, lambda run: untrained.write_checkpoint(run, veri))


@pytest.fixture(scope="session")
def bundle(made: Path | None, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `checkpoint`."""
    if made:
        return made / untrained.BUNDLE
    base = tmp_path_factory.getbasetemp()
    return made_once(base, untrained.BUNDLE, lambda output: untrained.write_bundle(output, checkpoint))


@pytest.fixture(scope="session")
def whole_bundle(
    made: Path | None, checkpoint: Path, bundle: Path, veri: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The bundle of `checkpoint` with a graph in every precision."""
    if made:
        return made / untrained.WHOLE_BUNDLE
    base = tmp_path_factory.getbasetemp()
    return made_once(
        base, untrained.WHOLE_BUNDLE, lambda output: untrained.write_whole_bundle(output, checkpoint, bundle, veri)
    )
