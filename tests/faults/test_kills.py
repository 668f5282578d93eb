"""Killed at any step, what reid writes is the old or the new, whole; and the next try leaves nothing of the killed one.

The kill comes from below, at the k-th rename, removal or flush to disk, for every k until there are no more: also
between the two renames with which a folder is replaced where the kernel cannot exchange two.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import writers
from shimmed import shimmed_environment
from table.place import tree_of
from table.world import World
from writers import ABSENT, FAR, WRITERS, StopError

from reid.runtime.errors import ReidError

_FOUND = {"old", "new"}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[int]]]:
    """The folder in which each writer was killed at each step, and how the tries ended."""
    root, watched = tmp_path_factory.mktemp("killed"), tmp_path_factory.mktemp("watched")
    environment = shimmed_environment(watched, below=root, kill_at=FAR)
    program = [sys.executable, writers.__file__, str(root), *WRITERS]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, cwd=watched)
    assert done.returncode == 0, done.stderr
    return root, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_is_the_old_or_the_new_wherever_the_kill_strikes(
    killed: tuple[Path, dict[str, list[int]]], name: str
) -> None:
    root, codes = killed[0] / name, killed[1][name]
    writer = WRITERS[name]
    assert codes == [-signal.SIGKILL] * (len(codes) - 1) + [0]
    assert len(codes) > 2
    allowed = _FOUND | {ABSENT} if writer.vanishes else _FOUND
    found = {step: _outcome(name, root / str(step)) for step in range(1, len(codes) + 1)}
    assert not {step: what for step, what in found.items() if what not in allowed}
    assert found[len(codes)] == "new"


@pytest.mark.parametrize("name", WRITERS)
def test_the_next_try_brings_back_what_was_there_and_clears_what_was_left(
    killed: tuple[Path, dict[str, list[int]]], name: str
) -> None:
    root, codes = killed[0] / name, killed[1][name]
    writer = WRITERS[name]
    first = writer.prepare is not None
    for step in range(1, len(codes) + 1):
        folder = root / str(step)
        (folder / "thesis").write_text("years of work")
        if writer.once and _outcome(name, folder) == "new":
            with pytest.raises(ReidError):
                writer.try_to(folder, "new")
        else:
            with pytest.raises(StopError):
                writer.try_to(folder, None)
            assert _outcome(name, folder) in (_FOUND | {ABSENT} if first else _FOUND), step
            writer.try_to(folder, "new")
        assert _outcome(name, folder) == "new", step
        assert writer.complete(folder), step
        assert (folder / "thesis").read_text() == "years of work"
        left = [path for path in tree_of(folder) if ".partial" in path]
        assert left == [], step


def _outcome(name: str, folder: Path) -> str:
    try:
        return WRITERS[name].read(folder)
    except Exception as error:
        return f"broken: {type(error).__name__}: {error}"


# ---- whole commands ----


@pytest.mark.parametrize("step", [1, 8, 12])
def test_reid_infer_is_killed(world: World, tmp_path: Path, step: int) -> None:
    command = [
        *(sys.executable, "-c", "from reid.commands.infer import main; main()"),
        *(str(world[name]) for name in ("gallery", "query")),
        *("--model", str(world["bundle"]), "--output", str(tmp_path / "out" / "results")),
    ]
    environment = shimmed_environment(tmp_path / "watched", below=tmp_path / "out")
    assert subprocess.run([*command, "--top-k", "1"], env=environment, capture_output=True).returncode == 0
    before = tree_of(tmp_path / "out")
    environment = shimmed_environment(tmp_path / "watched", below=tmp_path / "out", kill_at=step)
    assert (
        subprocess.run([*command, "--top-k", "2"], env=environment, capture_output=True).returncode == -signal.SIGKILL
    )
    after = tree_of(tmp_path / "out")
    results = {name: facts for name, facts in after.items() if name.startswith("results")}
    assert results.keys() == {name for name in before if name.startswith("results")}
    rankings = json.loads((tmp_path / "out" / "results" / "rankings.json").read_text())
    assert {len(query["matches"]) for query in rankings["queries"]} in ({1}, {2})
    environment = shimmed_environment(tmp_path / "watched", below=tmp_path / "out")
    assert subprocess.run([*command, "--top-k", "3"], env=environment, capture_output=True).returncode == 0
    assert tree_of(tmp_path / "out").keys() == before.keys()
