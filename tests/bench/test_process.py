import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_subject import OPENER

from reid.bench.process import HostDiedError, HostProcess, HostStuckError, SubjectError, start_host

PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of ten frames, more than fit into two batches of the fake subject."""
    file = tmp_path_factory.mktemp("frames") / "frames.npy"
    np.save(file, np.arange(10 * 3 * 2 * 2, dtype=np.uint8).reshape(10, 3, 2, 2))
    return file


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def comes_true(condition: Callable[[], bool]) -> bool:
    """Wait until it is true, for as long as a busy machine may take."""
    end = time.monotonic() + PATIENCE_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_a_subject_is_opened_timed_and_closed(frames: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    with start_host(OPENER, environment={"FAKE": "1"}) as host:
        opened = host.open("model", frames, imports=["decimal"], closed=str(tmp_path / "closed"), batch_s=0.001)
        assert opened.facts == {"backend": "Fake 1.0", "device": "CPU", "precision": "fp32"}
        assert opened.most_frames == 4
        assert opened.first_batch_s >= 0.001
        assert 0 < opened.import_s + opened.open_s + opened.first_batch_s < time.monotonic() - started
        assert "decimal" in host.ask("modules", PATIENCE_S)["names"]

        warm = host.warm_up(2, at_most_s=0.05)
        assert warm.batches > 0
        turn = host.turn(2, seconds=0.02)
        assert started < turn.started < turn.ended < time.monotonic()  # the same clock in all processes
        assert min(turn.wall_ms) >= 1
        assert sum(turn.wall_ms) / 1000 <= turn.ended - turn.started + 1e-9
        served = host.serve(200, seconds=0.1, seed=0, most_frames=4)
        assert len(served.latency_ms) + served.unfinished > 5
        for size, rows in ((2, 10), (4, 12)):
            host.embed(tmp_path / "embeddings.npy", size)
            expected = np.load(frames).reshape(10, -1)[np.arange(rows) % 10, :3]
            np.testing.assert_array_equal(np.load(tmp_path / "embeddings.npy"), expected)
        memory = host.memory()
        assert 5 < memory.host < 1000
        assert memory.device is None
        folder = host.ask("directory", PATIENCE_S)["path"]
        assert folder != os.getcwd()
        variables = host.ask("environment", PATIENCE_S)
        assert variables["FAKE"] == "1"
        assert Path(variables["TORCHINDUCTOR_CACHE_DIR"]).is_relative_to(folder)
    assert (tmp_path / "closed").exists()
    assert not is_running(host.pid)


def test_an_exception_ends_the_request_and_not_the_process(frames: Path) -> None:
    with start_host(OPENER) as host:
        with pytest.raises(SubjectError, match=r"^nothing is open for 'turn'$"):
            host.turn(1, 0.01)
        with pytest.raises(SubjectError, match=r"^the model is broken$") as failed:
            host.open("broken", frames)
        assert failed.value.kind == "RuntimeError"
        host.open("model", frames)
        with pytest.raises(SubjectError, match=r"^division by zero$") as failed:
            host.ask("fail", PATIENCE_S)
        assert failed.value.kind == "ZeroDivisionError"
        with pytest.raises(SubjectError, match=r"^the library gave up$") as failed:
            host.ask("quit", PATIENCE_S)
        assert failed.value.kind == "SystemExit"
        with pytest.raises(SubjectError, match=r"'nonsense' is none of child, .*, turn, warm_up"):
            host.ask("nonsense", PATIENCE_S)
        assert host.turn(1, 0.001).wall_ms


def test_a_process_that_ends_says_how_and_its_last_words(frames: Path) -> None:
    with start_host(OPENER) as host:
        host.open("model", frames)
        with pytest.raises(SubjectError):
            host.ask("fail", PATIENCE_S)  # leaves a traceback, which is not about what comes
        with pytest.raises(HostDiedError, match=r"^its process ended with exit code 7$") as died:
            host.ask("exit", PATIENCE_S, code=7)
        assert (died.value.returncode, died.value.last_line) == (7, "")
        with pytest.raises(HostDiedError, match="exit code 7"):
            host.turn(1, 0.01)
    with start_host(OPENER) as host:
        host.open("model", frames)
        os.kill(host.pid, signal.SIGKILL)
        with pytest.raises(
            HostDiedError, match="killed by SIGKILL, as the kernel does where memory is used up"
        ) as died:
            host.turn(1, 0.01)
    assert died.value.returncode == -signal.SIGKILL


def test_a_python_that_cannot_run_the_host_says_why(frames: Path, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho first >&2\necho '  No module named numpy  ' >&2\necho >&2\nexit 3\n")
    python.chmod(0o755)
    with start_host(OPENER, python=python) as host, pytest.raises(HostDiedError) as died:
        host.open("model", frames)
    assert str(died.value) == "its process ended with exit code 3; its last words: No module named numpy"


def test_a_process_that_does_not_answer_is_killed(frames: Path) -> None:
    with start_host(OPENER) as host:
        host.open("model", frames)
        with pytest.raises(HostStuckError, match=r"did not answer 'sleep' within 0\.1 s"):
            host.ask("sleep", 0.1, seconds=1000)
        assert not is_running(host.pid)


@pytest.mark.parametrize("ending", [KeyboardInterrupt, None])
def test_nothing_of_it_is_left(frames: Path, ending: type[BaseException] | None) -> None:
    def use(host: HostProcess) -> tuple[int, str]:
        host.open("model", frames)
        return host.ask("child", PATIENCE_S)["pid"], host.ask("directory", PATIENCE_S)["path"]

    with start_host(OPENER) as host:
        child, folder = use(host)
        assert is_running(child)
        try:
            if ending:
                raise ending
        except BaseException:
            pass
    assert comes_true(lambda: not is_running(child))
    assert not is_running(host.pid)
    assert not Path(folder).exists()


def test_it_ends_if_its_parent_is_killed(frames: Path, tmp_path: Path) -> None:
    program = f"""
import time
from reid.bench.process import start_host
with start_host({OPENER!r}) as host:
    host.open("model", {str(frames)!r})
    print(host.pid, host.ask("child", 30)["pid"], flush=True)
    host.ask("sleep", 1000, seconds=1000)
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.kill()
    assert comes_true(lambda: not any(map(is_running, pids)))


def test_the_host_needs_nothing_but_numpy(frames: Path) -> None:
    with start_host(OPENER) as host:
        host.open("model", frames)
        names = host.ask("modules", PATIENCE_S)["names"]
    foreign = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert {name for name in foreign if not name.startswith("_")} <= {"fake_subject", "numpy", "reid", "cython_runtime"}
    assert {name for name in names if name.startswith("reid.")} <= {
        "reid.bench",
        *(name for name in names if name.startswith("reid.bench.host")),
    }
