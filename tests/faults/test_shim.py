"""The shim sees, fills and kills: shown with programs that do what it is to catch."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import shimmed
from shimmed import Call, calls, looked_up, shimmed_environment, written


def run(code: str, folder: Path, **settings: int) -> subprocess.CompletedProcess[str]:
    """Run a program in `folder/here`, which is what fills and where calls count towards the kill."""
    here = folder / "here"
    here.mkdir()
    environment = shimmed_environment(folder, below=here, **settings)
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=here, capture_output=True, text=True, timeout=60
    )


def test_a_lookup_and_a_connection_are_seen_and_refused(tmp_path: Path) -> None:
    code = """
import socket

datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
attempts = [
    lambda: socket.getaddrinfo("one.example", 80),
    lambda: socket.gethostbyname("two.example"),
    lambda: socket.gethostbyname_ex("three.example"),
    lambda: socket.gethostbyaddr("192.0.2.1"),
    lambda: socket.getnameinfo(("192.0.2.2", 53), 0),
    lambda: socket.socket().connect(("192.0.2.3", 80)),
    lambda: socket.socket(socket.AF_INET6).connect(("2001:db8::4", 80)),
    lambda: datagram.sendto(b"", ("192.0.2.5", 53)),
    lambda: datagram.sendmsg([b""], [], 0, ("192.0.2.6", 53)),
]
for attempt in attempts:
    try:
        attempt()
    except OSError:
        print("refused")
one, other = socket.socketpair()
one.send(b"within the machine")
print(other.recv(100))
"""
    done = run(code, tmp_path)
    assert done.stdout == "refused\n" * 9 + "b'within the machine'\n", done.stderr
    assert {
        "one.example:80",
        "two.example:",
        "192.0.2.3:80",
        "2001:db8::4:80",
        "192.0.2.5:53",
        "192.0.2.6:53",
    } <= set(looked_up(tmp_path))
    for part in ("three.example", "192.0.2.1", "192.0.2.2"):
        assert any(part in target for target in looked_up(tmp_path)), part


def test_what_is_written_is_seen_however_it_is_written(tmp_path: Path) -> None:
    code = """
import ctypes, os, subprocess, sys, tempfile
from pathlib import Path

import cv2
import numpy as np

Path("by-python").write_text("x")
np.save("by-numpy", np.zeros(3))  # C streams
cv2.imwrite("by-opencv.png", np.zeros((8, 8, 3), np.uint8))
folder = os.open(".", os.O_RDONLY)
os.close(os.open("relative", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=folder))
os.mkdir("folder", dir_fd=folder)
os.rename("by-python", "folder/renamed")
os.link("folder/renamed", "hard")
os.symlink("hard", "soft")
ctypes.CDLL(None).renameat2(folder, b"relative", folder, b"hard", 2)  # RENAME_EXCHANGE
tempfile.mkstemp(dir=".")[1]
subprocess.run([sys.executable, "-c", "open('by-a-child', 'w')"], check=True)
Path("folder/renamed").read_text()
print(tempfile.mkdtemp(dir="folder"))
"""
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    here = tmp_path / "here"
    names = {"by-python", "by-numpy.npy", "by-opencv.png", "relative", "folder/renamed", "hard", "soft", "by-a-child"}
    expected = {here / name for name in names} | set(here.rglob("*"))
    assert {path for path in written(tmp_path) if here in path.parents} == expected
    assert Call("rename", str(here / "by-python"), 0) in calls(tmp_path)
    assert looked_up(tmp_path) == []


def test_reading_is_not_writing_and_what_failed_wrote_nothing(tmp_path: Path) -> None:
    code = "open('/etc/passwd').read(); import os; os.listdir('.'); open('absent/file', 'w')"
    assert "FileNotFoundError" in run(code, tmp_path).stderr
    assert written(tmp_path) == set()
    assert Call("open", str(tmp_path / "here" / "absent" / "file"), 2) in calls(tmp_path)


@pytest.mark.parametrize(
    "write",
    [
        "pathlib.Path('b').write_text('y' * 200)",
        "np.zeros(25).tofile('b')",
        "np.save('b', np.zeros(25))",
        "shutil.copyfile('a', 'b')",
        "os.writev(os.open('b', os.O_CREAT | os.O_WRONLY), [b'', b'y' * 200])",
        "os.pwrite(os.open('b', os.O_CREAT | os.O_WRONLY), b'y' * 200, 10)",
        "os.posix_fallocate(os.open('b', os.O_CREAT | os.O_WRONLY), 0, 200)",
        "0 / cv2.imwrite('b.png', np.random.default_rng(0).bytes(3 * 400) and np.arange(1200).reshape(20, 20, 3))",
    ],
)
def test_a_disk_fills_after_so_many_bytes(tmp_path: Path, write: str) -> None:
    code = f"""
import os, pathlib, shutil
import cv2
import numpy as np

with open("a", "wb", buffering=0) as file:
    print(file.write(b"x" * 900), file.write(b"x" * 300))  # the second is cut short
open({str(tmp_path / "elsewhere")!r}, "w").write("x" * 5000)
try:
    {write}
    open("c", "w").write("z")  # one whose writes fit
except (OSError, ZeroDivisionError) as error:
    print(error)
"""
    done = run(code, tmp_path, full_after=1000)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "900 100"
    assert any(words in second for words in ("No space left", "requested and 0 written", "division by zero"))
    assert (tmp_path / "here" / "a").stat().st_size == 1000
    assert sum(file.stat().st_size for file in (tmp_path / "here").iterdir()) == 1000
    assert (tmp_path / "elsewhere").stat().st_size == 5000


STEPS = """
import os
open("a", "w").write("x")
os.rename("a", "b")
os.symlink("b", "c")
os.fsync(os.open("b", os.O_RDONLY))
os.rename("b", "d")
os.unlink("c")
"""


@pytest.mark.parametrize(
    ("strike", "left"), [(1, {"a"}), (2, {"b"}), (3, {"b", "c"}), (4, {"b", "c"}), (5, {"c", "d"}), (6, {"d"})]
)
def test_a_process_is_killed_before_the_kth_change(tmp_path: Path, strike: int, left: set[str]) -> None:
    done = run(STEPS, tmp_path, kill_at=strike)
    assert done.returncode == (-signal.SIGKILL if strike < 6 else 0)
    assert (calls(tmp_path)[-1].name == "kill") == (strike < 6)
    assert {path.name for path in (tmp_path / "here").iterdir()} == left


def test_children_count_together(tmp_path: Path) -> None:
    code = """
import subprocess, sys
for name in ("one", "two", "three"):
    code = f"import os; open({name!r}, 'w'); os.unlink({name!r})"
    print(subprocess.run([sys.executable, "-c", code]).returncode)
"""
    assert run(code, tmp_path, kill_at=2).stdout.split() == ["0", str(-signal.SIGKILL), "0"]


def test_without_a_compiler_it_fails_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shimmed.shutil, "which", lambda _: None)
    with pytest.raises(AssertionError, match="install one"):
        shimmed.shim.__wrapped__()
