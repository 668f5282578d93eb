"""A program that kills migrations, and fills their disk, at every step and at any moment; see what is left.

    python struck_migrations.py FOLDER [KILLS] [SEED]

KILLS are SIGKILLs at random moments of migrations that go on after each of them [default: 200]. Under the shim
(`shimmed.py`), one is also killed at its 1st, 2nd, ... step, and has too small a disk. After each, the store has to be
there, whole and of one of the two models, and the one before, too, once it was replaced. Printed is what was counted,
and a line for each finding.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from pictured_galleries import embed, model, write_crops
from stored_galleries import Model, contents, files_of
from struck_galleries import FAR, in_copy, set_counters

from reid.runtime import appending, migrating
from reid.runtime.galleries.store.store import Store

OLD, NEW = model("a"), model("b")


def _migrate(folder: Path) -> None:
    migrating.migrate(NEW, folder / "store")


def _contents(path: Path) -> tuple[str, Model]:
    with Store.open(path) as store:
        assert store.verify() == []
        return store.space.fingerprint, contents(store)


def _whole(root: Path) -> dict[str, tuple[str, Model]]:
    """Make the store that is migrated, and return what it holds, and what it would hold of the new model."""
    crops = write_crops(root / "crops", images=2, tracks=2)
    for name, session in (("old", OLD), ("new", NEW)):
        appending.append(session, root / name / "store", crops)
    return {name: _contents(root / name / "store") for name in ("old", "new")}


def _findings(folder: Path, whole: dict[str, tuple[str, Model]], *, done: bool) -> Iterator[str]:
    """Say what is wrong after a migration that was killed, or done."""
    found = _contents(folder / "store")
    if found != whole["new"] and (done or found != whole["old"]):
        yield f"the store is of {found[0][:4]} with {len(found[1])} entries"
    if found == whole["new"] and _contents(folder / "store.before") != whole["old"]:
        yield "the store as it was is gone"
    if done and files_of(folder) != {"store", "store.before"}:
        yield f"left over: {sorted(files_of(folder))}"


# ---- at random moments ----


def kill_at_any_moment(root: Path, whole: dict[str, tuple[str, Model]], kills: int, seed: int) -> Iterator[str]:
    """Kill migrations so often, at random moments, and let them go on; yield what is wrong."""
    random, place, killed = Random(seed), root / "any", 0
    while killed < kills:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(root / "old", place)
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            code = _killed_after(random.random() * 0.03, lambda: _migrate(place))
            killed += code == -signal.SIGKILL
            yield from (f"kill {killed}: {one}" for one in _findings(place, whole, done=code == 0))
        if code:
            yield f"after {killed} kills: it ended with {code}"


def _killed_after(seconds: float, act: Callable[[], None]) -> int:
    """Let a copy of this process work for so long; return its exit code, negative for the signal that killed it."""

    def timed() -> None:
        own = os.getpid()
        timer = threading.Timer(seconds, lambda: os.kill(own, signal.SIGKILL))
        timer.daemon = True
        timer.start()
        act()

    return in_copy(timed)


# ---- at every step ----


def strike_everywhere(root: Path, whole: dict[str, tuple[str, Model]]) -> Iterator[tuple[int, str]]:
    """Kill a migration at each step, and fill its disk; each time, let another go on. Yield exit codes and findings."""
    code, step = -signal.SIGKILL, 0
    while code == -signal.SIGKILL:
        step += 1
        code, found = _struck(root, whole, 0, step)
        yield code, f"step {step}: {found}" if found else ""
    for room in (0, 50, 300, 1000, 2000, 4000):
        code, found = _struck(root, whole, FAR - room, FAR)
        yield code, f"{room} bytes left: {found}" if found else ""


def _struck(root: Path, whole: dict[str, tuple[str, Model]], written: int, steps: int) -> tuple[int, str]:
    place = root / "struck"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(root / "old", place)

    def act() -> None:
        set_counters(written, steps)
        _migrate(place)

    code = in_copy(act)
    set_counters(0, FAR)
    found = list(_findings(place, whole, done=code == 0))
    if code:
        again = in_copy(lambda: _migrate(place))
        found += [f"then it ends with {again}"] if again else _findings(place, whole, done=True)
    return code, "; ".join(found)


def main() -> None:
    """Kill."""
    folder, *numbers = sys.argv[1:]
    kills, seed = (*map(int, numbers), *(200, 0)[len(numbers) :])
    root, shimmed = Path(folder).resolve(), "SHIM_STATE" in os.environ
    patches: Any = patch.multiple(appending, embed=embed, _PIECE=2), patch.object(migrating, "embed", embed)
    with patches[0], patches[1]:
        if shimmed:
            Path(os.environ["SHIM_STATE"]).write_bytes(bytes(16))
            set_counters(0, FAR)
        whole = _whole(root)
        findings = list(kill_at_any_moment(root, whole, kills, seed))
        struck = list(strike_everywhere(root, whole)) if shimmed else []
    findings += [found for _, found in struck if found]
    print(json.dumps({"kills": kills, "findings": findings, "codes": [code for code, _ in struck]}))


if __name__ == "__main__":
    main()
