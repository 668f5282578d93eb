"""`reid-embed` on a Ray cluster of this machine, with two workers: what kills cost, and what is said."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from stored_galleries import contents

from reid.runtime.appending import append
from reid.runtime.galleries.store.store import Store
from reid.runtime.opening import open_session

pytest.importorskip("ray", reason="needs Ray")

_PROGRAM = (
    "import sys; from reid.runtime.embedding_jobs import parts; parts._FRAMES = 1; "  # so that there are many parts
    "from reid.commands.embed import main; main()"
)


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """The environment of Ray and of all who talk to it: nothing is written at home, and no stranger is let in."""
    return os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def head(environment: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """A cluster of two CPUs: its address, and the process that all of it descends from."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="ray-")  # sockets have short paths
    options = {"port": port, "node-ip-address": "127.0.0.1", "num-cpus": 2, "object-store-memory": 80 << 20}
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"),
        *("--include-dashboard=false", f"--temp-dir={folder}"),
        *(f"--{name}={value}" for name, value in options.items()),
    ]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout
        said = []
        for line in process.stdout:
            said.append(line)
            if "Ray runtime started" in line:
                break
        else:
            pytest.fail("".join(said))
        yield f"127.0.0.1:{port}", process.pid
    finally:
        for one in descendants(process.pid):
            os.kill(one, signal.SIGKILL)
        process.communicate()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def crops(veri: Path, tmp_path: Path) -> Path:
    """97 loose images, a track of four frames, a picture that is none, and a text."""
    folder = tmp_path / "crops"
    shutil.copytree(veri / "image_test", folder)
    (folder / "track").mkdir()
    for image in sorted((veri / "image_query").iterdir())[:4]:
        shutil.copy(image, folder / "track")
    (folder / "broken.jpg").write_text("no picture")
    (folder / "notes.txt").write_text("all my work")
    return folder


@pytest.fixture
def start(
    crops: Path, bundle: Path, tmp_path: Path, environment: Mapping[str, str]
) -> Callable[..., subprocess.Popen[str]]:
    """Start the command in a folder of its own."""

    def started(address: str, *options: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _PROGRAM, "crops", "store", "--ray", address, "--json"]
        return subprocess.Popen(
            [*command, "--model", str(bundle), *map(str, options)],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return started


def descendants(ancestor: int) -> dict[int, str]:
    """Return the processes that descend from one, and what they call themselves."""
    names: dict[int, str] = {}
    found, parents = {ancestor}, dict(filter(None, map(_parent_of, Path("/proc").glob("[0-9]*"))))
    while more := {process for process, parent in parents.items() if parent in found} - found:
        found |= more
    for process in found:
        with contextlib.suppress(OSError):  # it has ended
            names[process] = Path(f"/proc/{process}/cmdline").read_text()
    return names


def _parent_of(process: Path) -> tuple[int, int] | None:
    try:
        return int(process.name), int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def wait_for(what: Callable[[], object], driver: subprocess.Popen[str]) -> None:
    while not what():
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.02)


def parts_in(folder: Path) -> dict[str, int]:
    """Return the parts that are on disk, and when each was written."""
    found: dict[str, int] = {}
    for file in folder.glob("part-*.npz"):
        with contextlib.suppress(FileNotFoundError):  # they go when they are in the store
            found[file.name] = file.stat().st_mtime_ns
    return found


def test_killed_workers_cost_nothing_and_the_store_is_that_of_an_append(
    head: tuple[str, int], start: Callable[..., subprocess.Popen[str]], crops: Path, bundle: Path, tmp_path: Path
) -> None:
    driver = start(head[0])
    wait_for(lambda: parts_in(tmp_path / "store.parts"), driver)
    workers = [process for process, name in descendants(head[1]).items() if "MapWorker" in name]
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    out, err = driver.communicate()
    assert driver.returncode == 0, err
    found = json.loads(out)
    assert workers
    assert found["parts"] == 99
    assert (found["added"], found["known"], found["entries"], found["frames"], found["kept"]) == (98, 0, 98, 102, 0)
    assert "note: 1 of 102 frames could not be read: " in err
    assert f"{crops / 'broken.jpg'}: not a readable image" in err
    assert "notes.txt" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crops", "store"]

    with open_session(bundle) as session:
        append(session, tmp_path / "appended", crops)
    with Store.open(tmp_path / "store") as store, Store.open(tmp_path / "appended") as appended:
        mine, other = contents(store), contents(appended)
    assert [entry for entry, _ in mine.values()] == [entry for entry, _ in other.values()]
    np.testing.assert_allclose(mine.pop("track")[1], other.pop("track")[1], atol=1e-6)  # in batches of other frames
    assert mine == other


def test_after_a_killed_driver_what_was_whole_is_not_embedded_again(
    head: tuple[str, int], start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    driver = start(head[0])
    wait_for(lambda: len(parts_in(tmp_path / "store.parts")) >= 5, driver)
    driver.kill()
    driver.communicate()
    while any("MapWorker" in name for name in descendants(head[1]).values()):  # Ray ends the workers of who has died
        time.sleep(0.1)
    kept = parts_in(tmp_path / "store.parts")
    assert 5 <= len(kept) < 99
    assert not (tmp_path / "store").exists()

    again = start(head[0])
    seen: dict[str, int] = {}
    while again.poll() is None:
        seen |= parts_in(tmp_path / "store.parts")
        time.sleep(0.02)
    out, err = again.communicate()
    assert again.returncode == 0, err
    found = json.loads(out)
    assert (found["added"], found["entries"]) == (98, 98)
    assert (found["kept"], found["parts"]) == (len(kept), 99 - len(kept))
    assert kept.items() <= seen.items()
    assert not (tmp_path / "store.parts").exists()


def test_a_worker_that_cannot_open_the_model_is_named_by_its_machine_and_nothing_is_left(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    driver = start("local", "--workers", 2, "--model", "elsewhere")
    out, err = driver.communicate()
    assert (driver.returncode, out) == (1, "")
    where = tmp_path / "elsewhere"
    assert err.splitlines() == [
        f"error: on {platform.node()}: {where}: no such model; give a bundle, an .onnx file, or a run of reid-train"
    ]
    assert list((tmp_path / "store.parts").iterdir()) == []
