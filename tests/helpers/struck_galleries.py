"""A program that kills writers of galleries, and fills their disk, at every step and at any moment; see what is left.

    python struck_galleries.py FOLDER [KILLS] [SEED]

KILLS are SIGKILLs at random moments of a writer that adds, removes, compacts and merges [default: 200]. Under the shim
(`shimmed.py`), each of these is also killed at its 1st, 2nd, ... step, and has too small a disk. What was acknowledged
has to be there, and what was not, as a whole or not at all. Printed is what was counted, and a line for each finding.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from stored_galleries import SPACE, Model, contents, files_of, make_entries, unit

from reid.runtime.galleries.store.store import Store

__all__ = ["FAR", "OPERATIONS", "in_copy", "set_counters"]

FAR = 1 << 40
_SHIM = "SHIM_STATE"


# ---- what is done ----


def _add(store: Store, model: Model, step: int, count: int) -> Model:
    entries = make_entries([f"{step}.{number}" for number in range(count)], step)
    embeddings = unit(count, seed=step)
    store.add(entries, embeddings)
    return model | {entry.id: (entry, tuple(row)) for entry, row in zip(entries, embeddings.tolist(), strict=True)}


def _remove(store: Store, model: Model, step: int) -> Model:
    ids = Random(step).sample(sorted(model), len(model) // 3)
    store.remove(ids)
    return {identity: facts for identity, facts in model.items() if identity not in ids}


def _compact(store: Store, model: Model, step: int) -> Model:
    store.compact()
    return model


def _merge(store: Store, model: Model, step: int) -> Model:
    path = store.path.with_name(f"other{step}")
    if path.exists():
        shutil.rmtree(path)
    with Store.create(path, SPACE) as other:
        new = _add(other, {}, step, 5)
    store.merge([other := Store.open(path)])
    return model | new


OPERATIONS: dict[str, Callable[[Store, Model, int], Model]] = {
    "add": lambda store, model, step: _add(store, model, step, 1 + step % 3),
    "add much": lambda store, model, step: _add(store, model, step, 40),
    "remove": _remove,
    "compact": _compact,
    "merge": _merge,
}


class _Dry:
    """A store to which nothing is done, to learn what the model would be."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, *anything: object) -> None:
        pass

    remove = compact = merge = add


def _expected(name: str, model: Model, step: int) -> Model:
    if name == "merge":
        return model | _expected_of_adding(step)
    return OPERATIONS[name](_Dry(Path()), model, step)  # type: ignore[arg-type]


def _expected_of_adding(step: int) -> Model:
    return _add(_Dry(Path()), {}, step, 5)  # type: ignore[arg-type]


# ---- what is left ----


def _findings(path: Path, allowed: list[Model]) -> Iterator[str]:
    """Say what is wrong with a gallery that was left behind; open it for writing, too."""
    with Store.open(path) as reader:
        found = contents(reader)
    if not any(list(found.items()) == list(one.items()) for one in allowed):
        yield f"{len(found)} entries, expected {[len(one) for one in allowed]}"
    with Store.open(path, SPACE, write=True) as store:
        yield from store.verify()
        store.add(make_entries(["afterwards"]), unit(1))
        store.remove(["afterwards"])
        if list(contents(store).items()) != list(found.items()):
            yield "adding and removing an entry left something else"
        if extra := files_of(path) - {"gallery.json", "lock", *store._now.manifest.files}:
            yield f"left over: {sorted(extra)}"


def in_copy(act: Callable[[], None]) -> int:
    """Do something in a copy of this process; return its exit code, negative for the signal that killed it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        act()
        code = 0
    except OSError as error:
        code = 28 if error.errno == errno.ENOSPC else 2
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)


# ---- at random moments ----


def kill_at_any_moment(root: Path, kills: int, seed: int) -> Iterator[str]:
    """Kill a writer so often, at random moments, and yield what is wrong."""
    random, path, model, step = Random(seed), root / "gallery", Model(), 0
    Store.create(path, SPACE).close()
    for kill in range(kills):
        names = [random.choice(sorted(OPERATIONS)) for _ in range(1000)]
        done = _killed_after(random.random() * 0.05, path, model, names, step)
        for number in range(done):
            model = _expected(names[number], model, step + number)
        after = _expected(names[done], model, step + done)
        step += done + 1
        yield from (f"kill {kill} after {done}, {names[done]}: {one}" for one in _findings(path, [model, after]))
        with Store.open(path, write=True) as store:
            model = contents(store)
            if len(model) > 200:
                store.remove(list(model)[100:])
                model = contents(store)


def _killed_after(seconds: float, path: Path, model: Model, names: list[str], step: int) -> int:
    """Let a copy of this process work until it is killed; return how many operations it acknowledged."""
    receiver, sender = os.pipe()
    child = os.fork()
    if not child:
        try:
            with Store.open(path, write=True) as store:
                os.write(sender, b".")
                for number, name in enumerate(names):
                    model = OPERATIONS[name](store, model, step + number)
                    os.write(sender, b".")
        finally:
            os._exit(1)
    os.close(sender)
    os.read(receiver, 1)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    acknowledged = b"".join(iter(lambda: os.read(receiver, 1 << 16), b""))
    os.close(receiver)
    assert code == -signal.SIGKILL, code
    return len(acknowledged)


# ---- at every step ----


def strike_everywhere(root: Path) -> Iterator[tuple[str, int, str]]:
    """Kill each operation at each step, and fill its disk; yield its name, how it ended, and what is wrong."""
    set_counters(0, FAR)
    base, model = root / "base", Model()
    with Store.create(base, SPACE) as store:
        for step, name in enumerate(("add much", "add", "add", "remove", "add")):
            model = OPERATIONS[name](store, model, 1000 + step)
    for name in OPERATIONS:
        after, place = _expected(name, model, 7), root / name
        code, step = -signal.SIGKILL, 0
        while code == -signal.SIGKILL:
            step += 1
            code, found = _struck(base, place, name, model, [model, after], (0, step))
            yield name, code, f"step {step}: {found}" if found else ""
        for room in (0, 50, 300, 1000, 2000):
            code, found = _struck(base, place, name, model, [model], (room, FAR))
            yield name, code, f"{room} bytes left: {found}" if found and code else ""


def _struck(
    base: Path, place: Path, name: str, model: Model, allowed: list[Model], limits: tuple[int, int]
) -> tuple[int, str]:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(base, place / "gallery")

    def act() -> None:
        with Store.open(place / "gallery", write=True) as store:
            room, step = limits
            set_counters(FAR - room if step == FAR else 0, FAR if step == FAR else step)
            try:
                OPERATIONS[name](store, model, 7)
            except OSError:
                assert list(contents(store).items()) == list(model.items())
                raise

    code = in_copy(act)
    set_counters(0, FAR)
    allowed = allowed if code else [_expected(name, model, 7)]
    return code, "; ".join(_findings(place / "gallery", allowed))


def set_counters(written: int, steps: int) -> None:
    """Set the counters that the shim keeps in a file: bytes written, and steps until the kill."""
    with open(os.environ[_SHIM], "r+b") as state:
        state.write(struct.pack("QQ", written, FAR - steps))


def main() -> None:
    """Kill."""
    folder, *numbers = sys.argv[1:]
    kills, seed = (*map(int, numbers), *(200, 0)[len(numbers) :])
    root = Path(folder).resolve()
    if _SHIM in os.environ:
        Path(os.environ[_SHIM]).write_bytes(bytes(16))
        set_counters(0, FAR)
    findings = list(kill_at_any_moment(root, kills, seed))
    codes: dict[str, list[int]] = {name: [] for name in OPERATIONS}
    for name, code, finding in strike_everywhere(root) if _SHIM in os.environ else ():
        codes[name].append(code)
        findings += [f"{name}, {finding}"] if finding else []
    print(json.dumps({"kills": kills, "findings": findings, "codes": codes}))


if __name__ == "__main__":
    main()
