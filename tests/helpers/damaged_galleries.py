"""Galleries of which a file is damaged, and what becomes of them: refused in one line, or read right.

    python damaged_galleries.py FOLDER [MUTANTS] [FIRST]        prints what was counted, and a line for each finding

A number always gives the same mutant [default: a million, from 0].
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

from stored_galleries import SPACE, Model, contents, make_entries, unit

from reid.runtime.errors import ReidError
from reid.runtime.galleries.conditions import Condition
from reid.runtime.galleries.store.store import Store

__all__ = ["MUTATORS", "Damage"]

Files: TypeAlias = dict[str, bytes]
Mutator: TypeAlias = Callable[[Random, str, Files, Files], bytes]
"""(source of choices, name, all files, files of another gallery) -> damaged content"""

_NUMBERS = (-1, 0, 1, 2, 7, 255, 2**15, 2**31 - 1, 2**31, 2**40, 2**63, 2**64, 10**30, 1.5, 1e300, True, None, "7", [])


def _flip(random: Random, name: str, files: Files, others: Files) -> bytes:
    content = bytearray(files[name])
    for _ in range(random.choice([1, 1, 1, 2, 9])):
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return bytes(content)


def _truncate(random: Random, name: str, files: Files, others: Files) -> bytes:
    return files[name][: random.choice([0, 1, len(files[name]) - 1, random.randrange(len(files[name]))])]


def _extend(random: Random, name: str, files: Files, others: Files) -> bytes:
    return files[name] + random.choice([b"\0", b"\n", b"}", files[name], random.randbytes(300)])


def _overwrite(random: Random, name: str, files: Files, others: Files) -> bytes:
    content = files[name]
    start, length = random.randrange(len(content)), random.choice([1, 4, 8, 64, 512, 5000])
    new = random.choice([bytes(length), b"\xff" * length, random.randbytes(length), content[:length]])
    return (content[:start] + new)[: len(content)] + content[start + length :]


def _move(random: Random, name: str, files: Files, others: Files) -> bytes:
    content = files[name]
    one, other = sorted(random.randrange(len(content)) for _ in range(2))
    return content[:one] + content[other:] + content[one:other]


def _swap(random: Random, name: str, files: Files, others: Files) -> bytes:
    pool = {**{f"other {other}": content for other, content in others.items()}, **files}
    return pool[random.choice(sorted(pool))]


def _another_manifest(random: Random, name: str, files: Files, others: Files) -> bytes:
    return others["gallery.json"] if name == "gallery.json" else _flip(random, name, files, others)


def _numbers(random: Random, name: str, files: Files, others: Files) -> bytes:
    """Put another number into the manifest, and seal it."""
    if name != "gallery.json":
        return _flip(random, name, files, others)
    facts = json.loads(files[name])
    del facts["digest"]
    places = list(_places(facts))
    holder, key = random.choice(places)
    holder[key] = random.choice(_NUMBERS)
    sealed = json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
    return json.dumps({**facts, "digest": hashlib.sha256(sealed).hexdigest()}).encode()


def _places(facts: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield where numbers are that say where anything is."""
    for name in ("format_version", "dimensions"):
        yield facts, name
    for one in facts["segments"]:
        yield one, "rows"
        yield from ((one["texts"], name) for name in one["texts"])
        if one["removed"]:
            yield one["removed"], "rows"


MUTATORS: dict[str, Mutator] = {
    "flip": _flip,
    "truncate": _truncate,
    "extend": _extend,
    "overwrite": _overwrite,
    "move": _move,
    "swap": _swap,
    "another manifest": _another_manifest,
    "numbers": _numbers,
}


class Damage:
    """A gallery to damage, and one to take pieces of."""

    def __init__(self, root: Path) -> None:
        self.path, self._mutant = root / "sound", root / "mutant"
        self.model = _make(self.path, 0)
        _make(root / "other", 1)
        self._files, self._others = ({p.name: p.read_bytes() for p in (root / n).iterdir()} for n in ("sound", "other"))
        shutil.copytree(self.path, self._mutant)
        self._queries, self._conditions = unit(3, seed=9), [Condition(), Condition(), Condition(time_s=(2, 5))]
        with Store.open(self.path) as store:
            self._found = store.search(self._queries, 5, self._conditions)
        self.counts: Counter[str] = Counter()

    def try_mutant(self, number: int) -> str:
        """Damage a file, read the gallery, and return what is wrong with that; "" for nothing."""
        random = Random(number)
        name = random.choice(sorted(self._files.keys() - {"lock"}))
        kind = random.choice(sorted(MUTATORS))
        content = MUTATORS[kind](random, name, self._files, self._others)
        (self._mutant / name).write_bytes(content)
        outcome = self._outcome()
        (self._mutant / name).write_bytes(self._files[name])
        self.counts[f"{kind}: {outcome}"] += 1
        unchanged = content == self._files[name]
        right = outcome in (("read",) if unchanged else ("read", "refused"))
        return "" if right else f"mutant {number}, {kind} of {name}: {outcome}"

    def _outcome(self) -> str:
        try:
            with Store.open(self._mutant) as store:
                found = store.search(self._queries, 5, self._conditions)
                right = found == self._found and list(contents(store).items()) == list(self.model.items())
                return "read" if right else "read wrong"
        except ReidError as error:
            return "refused" if str(error) and "\n" not in str(error) else f"refused with {str(error)!r}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"


def _make(path: Path, seed: int) -> Model:
    """Make a gallery of three segments, of one of which something was removed."""
    with Store.create(path, SPACE) as store:
        for number, count in enumerate((9, 5, 2)):
            ids = [f"{seed}.{number}.{row}" for row in range(count)]
            store.add(make_entries(ids, seed + number), unit(count, seed=seed + number))
        store.remove([f"{seed}.0.3", f"{seed}.0.7"])
        return contents(store)


def main() -> None:
    """Try mutants."""
    folder, *numbers = sys.argv[1:]
    count, first = (*map(int, numbers), *(1_000_000, 0)[len(numbers) :])
    damage = Damage(Path(folder))
    findings = list(filter(None, map(damage.try_mutant, range(first, first + count))))
    print(*findings, json.dumps(dict(sorted(damage.counts.items())), indent=1), sep="\n")


if __name__ == "__main__":
    main()
