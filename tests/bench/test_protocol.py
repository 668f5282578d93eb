import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_subject import OPENER, FakeSubject, open_fake
from numpy.typing import NDArray

from reid.bench.host import protocol
from reid.bench.host.memory import peak_host_mib
from reid.bench.host.protocol import Host, answer
from reid.bench.host.subject import load_opener


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    np.save(tmp_path / "frames.npy", np.arange(3 * 3 * 2 * 2, dtype=np.uint8).reshape(3, 3, 2, 2))
    return tmp_path / "frames.npy"


def open_host(monkeypatch: pytest.MonkeyPatch, subject: FakeSubject, frames: Path) -> Host:
    monkeypatch.setattr(protocol, "load_opener", lambda _: lambda _: subject)
    host = Host("any:opener")
    host.do({"do": "open", "model": "model", "frames": str(frames)})
    return host


def test_each_line_is_answered_by_a_line(frames: Path) -> None:
    opening = {"do": "open", "model": "model", "frames": str(frames)}
    requests = [json.dumps({"do": "memory"}), json.dumps(opening), "no json", json.dumps({"do": "memory"})]
    output = io.StringIO()
    answer(Host(OPENER), requests, output.write)
    replies = [json.loads(line) for line in output.getvalue().splitlines()]
    assert replies[0] == {"error": "nothing is open for 'memory'", "kind": "RuntimeError"}
    assert replies[1]["most_frames"] == 4
    assert replies[2]["kind"] == "JSONDecodeError"
    assert replies[3]["host"] > 0
    assert len(replies) == 4


def test_the_start_of_the_process_counts_as_importing(frames: Path) -> None:
    reply = Host(OPENER, startup_s=100.0).do({"do": "open", "model": "model", "frames": str(frames)})
    assert 100 < reply["import_s"] < 150
    assert reply["open_s"] < 50


def test_frames_repeat_in_batches_that_are_larger_than_their_file(
    monkeypatch: pytest.MonkeyPatch, frames: Path
) -> None:
    seen = []

    class Watching(FakeSubject):
        def embed(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
            seen.append(frames)
            return super().embed(frames)

    host = open_host(monkeypatch, Watching({}), frames)
    host.do({"do": "turn", "frames": 4, "seconds": 0})
    stored = np.load(frames)
    assert (seen[0] == stored[:1]).all()
    assert all((batch == stored[[0, 1, 2, 0]]).all() and batch.flags.c_contiguous for batch in seen[1:])


def test_every_batch_size_has_run_three_times_before_frames_arrive(
    monkeypatch: pytest.MonkeyPatch, frames: Path
) -> None:
    subject = FakeSubject({})
    host = open_host(monkeypatch, subject, frames)
    host.do({"do": "turn", "frames": 3, "seconds": 0})
    subject.sizes.clear()
    request = {"do": "server", "frames_per_s": 1000, "seconds": 0.01, "seed": 0, "most_frames": 4}
    reply = host.do(request)
    assert subject.sizes[:10] == [1, 1, 2, 2, 2, 3, 3, 4, 4, 4]  # 1 and 3 have once
    assert sum(subject.sizes[10:]) == len(reply["latency_ms"])
    subject.sizes.clear()
    reply = host.do(request)
    assert sum(subject.sizes) == len(reply["latency_ms"])


def test_all_frames_are_embedded_in_batches_of_one_size(
    monkeypatch: pytest.MonkeyPatch, frames: Path, tmp_path: Path
) -> None:
    subject = FakeSubject({})
    host = open_host(monkeypatch, subject, frames)
    subject.sizes.clear()
    for size in (1, 2, 4):
        host.do({"do": "embed", "output": str(tmp_path / "found.npy"), "frames": size})
        found = np.load(tmp_path / "found.npy")
        expected = np.load(frames).reshape(3, -1)[:, :3]
        np.testing.assert_array_equal(found, expected[np.arange(len(found)) % 3])
    assert subject.sizes == [1, 1, 1, 2, 2, 4]


@pytest.mark.parametrize("found", [np.zeros((1, 5)), np.zeros(5, np.float32), np.zeros((2, 5), np.float32)])
def test_what_is_no_embedding_is_refused(
    monkeypatch: pytest.MonkeyPatch, frames: Path, found: NDArray[np.generic]
) -> None:
    subject = FakeSubject({})
    monkeypatch.setattr(subject, "embed", lambda _: found)
    with pytest.raises(TypeError, match=r"a batch of one frame gave .*, not float32 \[1, D\]"):
        open_host(monkeypatch, subject, frames)


def test_the_memory_of_the_device_is_the_subjects(monkeypatch: pytest.MonkeyPatch, frames: Path) -> None:
    subject: Any = FakeSubject({})
    subject.device_memory_mib = lambda: 123.5
    assert open_host(monkeypatch, subject, frames).do({"do": "memory"})["device"] == 123.5


def test_openers_are_modules_or_scripts() -> None:
    assert load_opener("fake_subject:open_fake") is open_fake
    assert load_opener(OPENER).__name__ == "open_fake"
    with pytest.raises(ValueError, match=r"'fake_subject' is no opener: write module:function or path/script.py:"):
        load_opener("fake_subject")
    with pytest.raises(FileNotFoundError):
        load_opener("/nowhere/script.py:open_it")
    with pytest.raises(AttributeError):
        load_opener("fake_subject:nothing")


def test_a_script_may_have_dataclasses(tmp_path: Path) -> None:
    script = tmp_path / "peer.py"
    lines = ("from __future__ import annotations", "from dataclasses import dataclass", "@dataclass", "class Opened:")
    script.write_text("\n".join([*lines, "    model: str", "def open_it(request): return Opened(request['model'])"]))
    opened: Any = load_opener(f"{script}:open_it")({"model": "one"})
    assert opened.model == "one"


def test_the_peak_of_memory_is_read_from_linux_or_asked_of_the_system(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t 9999999 kB\nVmHWM:\t  204800 kB\nVmRSS:\t 1024 kB\n")
    assert peak_host_mib(status) == 200
    assert 5 < peak_host_mib(tmp_path / "none") < 100_000
    before = peak_host_mib()
    block = np.ones(8 * 2**20)  # 64 MiB
    assert peak_host_mib() >= before
    assert peak_host_mib() > 64
    del block
