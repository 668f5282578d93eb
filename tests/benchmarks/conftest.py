"""The benchmarks are scripts, whose folder Python puts on its path; stand-ins for the commands that they run."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "gpu")]

# Stands in for reid-train and reid-eval: notes its arguments; leaves what they leave; stops once where `stop` says so.
FAKE = """#!{python} -S
import json, pathlib, sys
here, name, words = pathlib.Path({here!r}), pathlib.Path(sys.argv[0]).name, sys.argv[1:]
with (here / "calls.txt").open("a") as calls:
    print(name, *words, file=calls)
if name == "reid-train":
    run = pathlib.Path(words[words.index("--output") + 1])
    state = run / "last" / "state.safetensors"
    if state.exists() != ("--resume" in words):
        sys.exit("error: the folder and --resume contradict each other")
    state.parent.mkdir(parents=True, exist_ok=True)
    (run / "options.json").write_text(json.dumps(words))
    stop = here / "stop"
    if stop.exists():
        when = stop.read_text()
        stop.unlink()
        if when == "later":
            state.touch()
        sys.exit("error: stopped")
    state.touch()
    print(json.dumps({{"best_epoch": 3}}))
else:
    words = json.loads((pathlib.Path(words[0]) / "options.json").read_text())
    value = lambda option: words[words.index(option) + 1]
    base = len(value("--levels")) * 10 + int(value("--seed"))
    scores = {{p: {{c: base + i + j / 10 for j, c in enumerate(["mAP", "R-1", "R-5"])}}
               for i, p in enumerate(["i2i", "i2t", "t2t"])}}
    print(json.dumps({{"protocols": scores, "model": {{"session": "fake"}}}}))
"""


@pytest.fixture
def fake(tmp_path: Path) -> SimpleNamespace:
    """Fake commands: `.commands` is their folder, `.calls()` what was run, `.stop_next(when)` ends a training early."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("reid-train", "reid-eval"):
        script = commands / name
        script.write_text(FAKE.format(python=sys.executable, here=str(tmp_path)))
        script.chmod(0o755)
    calls = tmp_path / "calls.txt"
    data = tmp_path / "data"
    data.mkdir()
    (data / "image.jpg").write_bytes(b"123")
    return SimpleNamespace(
        commands=commands,
        data=data,
        calls=lambda: [line.split() for line in calls.read_text().splitlines()] if calls.exists() else [],
        stop_next=lambda when: (tmp_path / "stop").write_text(when),
    )
