"""A program that kills writers of a gallery in LanceDB at any moment; see what is left.

    python struck_lance.py FOLDER [KILLS] [SEED]

What was acknowledged has to be there, and what was not, as a whole or not at all. Printed is a line for each finding,
and at the end, how many operations were acknowledged. This process only
imports LanceDB and makes copies of itself, since LanceDB that has worked cannot be relied on in a copy.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from stored_galleries import SPACE, Model, contents, make_entries, unit

from reid.runtime.galleries.lance.gallery import LanceGallery
from reid.runtime.galleries.lance.library import import_lancedb

__all__: list[str] = []

_NAMES = ["add", "add", "add", "remove", "compact"]


def _apply(name: str, gallery: LanceGallery | None, model: Model, step: int) -> Model:
    """Do something with a gallery, if there is one, and return what it has to be afterwards."""
    if name == "add":
        entries, embeddings = make_entries([f"{step}.{number}" for number in range(30)], step), unit(30, seed=step)
        if gallery is not None:
            gallery.add(entries, embeddings)
        return model | {entry.id: (entry, tuple(row)) for entry, row in zip(entries, embeddings.tolist(), strict=True)}
    if name == "remove":
        gone = set(Random(step).sample(sorted(model), len(model) // 3))
        if gallery is not None:
            gallery.remove(gone)
        return {identity: facts for identity, facts in model.items() if identity not in gone}
    if gallery is not None:
        gallery.compact()
    return model


def _in_copy(act: Callable[[int], None]) -> tuple[int, int]:
    """Start something in a copy of this process; return its number and where to read what it writes."""
    receiver, sender = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            act(sender)
            code = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(sender)
    return child, receiver


def _write(path: Path, model: Model, names: list[str], step: int, sender: int) -> None:
    with LanceGallery.open(path, SPACE, write=True) as gallery:
        os.write(sender, b".")
        for number, name in enumerate(names):
            model = _apply(name, gallery, model, step + number)
            os.write(sender, b".")


def _look(path: Path, allowed: list[Model], sender: int) -> None:
    """Write which of the models a gallery is, -1 for none; write to it, too."""
    with LanceGallery.open(path) as reader:
        found = list(contents(reader).items())
    which = [number for number, one in enumerate(allowed) if list(one.items()) == found]
    with LanceGallery.open(path, SPACE, write=True) as gallery:
        gallery.add(make_entries(["afterwards"]), unit(1))
        assert gallery.remove(["afterwards"]) == 1
        assert list(contents(gallery).items()) == found, "adding and removing an entry left something else"
    os.write(sender, json.dumps(which[0] if which else -1).encode())


def _ended(child: int, receiver: int) -> tuple[bytes, int]:
    said = b"".join(iter(lambda: os.read(receiver, 1 << 16), b""))
    os.close(receiver)
    return said, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def strike(path: Path, kills: int, seed: int) -> Iterator[str]:
    """Kill a writer so often; yield what is wrong, and what was counted."""
    random, model, step, acknowledged = Random(seed), Model(), 0, 0
    _ended(*_in_copy(lambda sender: LanceGallery.create(path, SPACE).close()))
    for kill in range(kills):
        names = [random.choice(_NAMES) for _ in range(1000)]
        child, receiver = _in_copy(lambda sender: _write(path, model, names, step, sender))  # noqa: B023 - used at once
        said = b"".join(os.read(receiver, 1) for _ in range(random.randrange(1, 4)))  # that it began, first of all
        time.sleep(random.random() * 0.02)
        os.kill(child, signal.SIGKILL)
        rest, code = _ended(child, receiver)
        said = said[1:] + rest
        assert code == -signal.SIGKILL, code
        for number in range(len(said)):
            model = _apply(names[number], None, model, step + number)
        after = _apply(names[len(said)], None, model, step + len(said))
        step += len(said) + 1
        which, code = _ended(*_in_copy(lambda sender: _look(path, [model, after], sender)))  # noqa: B023
        if code or which not in (b"0", b"1"):
            yield f"kill {kill} after {len(said)}, in {names[len(said)]}: {which.decode() or code}"
            return
        acknowledged, model = acknowledged + len(said), after if which == b"1" else model
    yield json.dumps({"kills": kills, "acknowledged": acknowledged})


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # LanceDB warns of copies
    os.fsync = lambda descriptor: None  # slow, and against a loss of power, not a kill
    import_lancedb()
    for line in strike(Path(sys.argv[1]) / "gallery", *map(int, [*sys.argv[2:], *("20", "0")[len(sys.argv) - 2 :]])):
        print(line)
