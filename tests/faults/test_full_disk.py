"""A disk that is full at any moment: one line that says so, the old output as it was, and success when there is space.

The disk is a small one in a namespace of its own; where mounting is not allowed, a library beneath the program lets it
write only so much.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import small_disk
from shimmed import shimmed_environment
from small_disk import FAR
from table.world import World

_SMALL = "--backbone test_resnet --levels 3,4 --set embedding_size=8 --image-size 32 --batch 2x2 --weights none"

_TRIALS = {
    "reid-infer": ("reid-infer {gallery} {query} --model {bundle} --output {disk}/deep/results",) * 3,
    "reid-calibrate": ("reid-calibrate {bundle} {data} --frames 2 --output {disk}/calibration",) * 3,
    "reid-export": ("reid-export {run} --output {disk}/bundle",) * 3,
    "reid-data": (
        "reid-data synthesize {disk}/first --vehicles 4 --cameras 2",
        *("reid-data synthesize {disk}/second --vehicles 4 --cameras 2",) * 2,
    ),
    "reid-train": (
        f"reid-train {{data}} {_SMALL} --epochs 2 --output {{disk}}/first",
        *(f"reid-train {{data}} {_SMALL} --epochs 2 --output {{disk}}/second --resume",) * 2,
    ),
}
"""First with plenty of space; then with too little; then with plenty again."""

_DISK_ITSELF = ("reid-infer {gallery} {query} --model {bundle} --output {disk}",) * 3
"""Into a volume, as containers have them."""

_ROOM = (0.02, 0.9)
_ROOM_TO_RESUME = (0.02, 0.4)
"""Parts of what a command writes for which there is space; a run that is resumed has only the rest to write."""


def _trials(world: World, disk: Path, mounted: bool) -> dict[str, dict[str, object]]:
    paths = {name: str(world[name]) for name in ("gallery", "query", "bundle", "data", "run")}
    found = {}
    for name, lines in {**_TRIALS, **({"the disk itself": _DISK_ITSELF} if mounted else {})}.items():
        first, again, last = (shlex.split(line.format(**paths, disk=disk)) for line in lines)
        room = _ROOM_TO_RESUME if "--resume" in again else _ROOM
        found[name] = {"first": first, "again": again, "last": last, "room": room if mounted else room[1:]}
    return found


@pytest.fixture(scope="module")
def outcomes(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[int, str, bool]]]:
    """What came of each command: (exit code, standard error, whether the disk was as before) of each of its runs."""
    done = _carry_out(world, tmp_path_factory.mktemp("full"), mounted=True)
    refusals = ("unshare failed", "ermission denied", "not permitted")
    if any(words in done.stderr for words in refusals):
        done = _carry_out(world, tmp_path_factory.mktemp("quota"), mounted=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _carry_out(world: World, folder: Path, *, mounted: bool) -> subprocess.CompletedProcess[str]:
    disk = folder / "disk"
    disk.mkdir()
    graph = str(world["bundle"] / "model.fp32.onnx")
    plan = {"mounted": mounted, "disk": str(disk), "graph": graph, "trials": _trials(world, disk, mounted)}
    (folder / "plan.json").write_text(json.dumps(plan))
    program = [sys.executable, small_disk.__file__, str(folder / "plan.json")]
    if mounted:
        program = ["unshare", "--map-root-user", "--mount", *program]
        environment = {**os.environ, "TMPDIR": str(folder)}
    else:
        environment = shimmed_environment(folder / "watched", below=disk, full_after=FAR)
    helpers = [path for path in sys.path if Path(path).name in ("faults", "helpers")]
    environment |= {"PYTHONPATH": os.pathsep.join(helpers), "OMP_NUM_THREADS": "1"}
    return subprocess.run(program, env=environment, capture_output=True, text=True, cwd=folder)


@pytest.mark.parametrize("name", [*_TRIALS, "the disk itself"])
def test_a_full_disk_costs_nothing_but_the_time(outcomes: dict[str, list[tuple[int, str, bool]]], name: str) -> None:
    if name not in outcomes:
        assert name == "the disk itself"  # which only a disk of its own has
        return
    first, *full, last = outcomes[name]
    assert first[0] == 0, first[1]
    for code, err, as_before in full:
        assert code == 1, err
        assert "Traceback" not in err
        lines = [line for line in err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, err
        assert "the disk is full" in lines[0]
        assert ".partial" not in lines[0]
        assert err.endswith(f"{lines[0]}\n")
        assert as_before or name == "reid-train"  # which keeps what it has so far
    assert last[0] == 0, last[1]
