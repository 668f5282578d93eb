"""The energy of a processor and its memory: RAPL, as Linux shows it for Intel and AMD.

See https://docs.kernel.org/power/powercap/powercap.html. The zones are chosen so that nothing is counted twice:

- `package-N`: a socket, with its cores, caches and integrated graphics. Its zones `core` and `uncore` are parts of it.
- `dram`: the memory of a socket, which is not a part of its package.
- `psys` holds the packages and more, and few machines have it: left out, so that figures are comparable.
- `intel-rapl-mmio`: the same counters once more, by another way: left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from reid.bench.meters.energy import Part
from reid.bench.meters.missing import Missing
from reid.bench.meters.tree import Tree

__all__ = ["Rapl", "open_rapl"]

_POWERCAP: Final = "sys/class/powercap"
_COUNTED: Final = re.compile(r"package-\d+|dram")


@dataclass(frozen=True, slots=True)
class Rapl:
    """The counters of a machine's processors.

    Attributes:
        tree: where they are.
        zones: the folders of the zones that are counted.
        ranges: what each counts up to before it starts again from 0, in microjoules.
        source: what is read, for people.
    """

    tree: Tree
    zones: tuple[str, ...]
    ranges: tuple[int, ...]
    source: str
    part: Part = "cpu"

    def read(self) -> tuple[int, ...] | None:
        """Return what the counters show, in microjoules, or None where one does not answer."""
        values = [self.tree.integer(f"{zone}/energy_uj") for zone in self.zones]
        return None if None in values else tuple(value for value in values if value is not None)

    def joules(self, before: tuple[int, ...], after: tuple[int, ...]) -> float:
        """Return the energy between two readings, between which no counter has wrapped more than once.

        The smallest range, 65 kJ, lasts for more than two minutes at 500 W.
        """
        steps = zip(before, after, self.ranges, strict=True)
        return sum((new - old) % (most + 1) for old, new, most in steps) / 1e6


def open_rapl(tree: Tree) -> Rapl | Missing:
    """Return the counters of the processors, or why there are none."""
    found = {path: tree.text(f"{path}/name") or "" for path in tree.find(f"{_POWERCAP}/intel-rapl:*")}
    zones = {path: name for path, name in found.items() if _COUNTED.fullmatch(name)}
    if not zones:
        return Missing("energy", "absent", tree.full(f"{_POWERCAP}/intel-rapl:0"))
    for zone in zones:
        if tree.is_refused(f"{zone}/energy_uj"):  # since CVE-2020-8694, in every distribution
            return Missing("energy", "not_permitted", tree.full(f"{_POWERCAP}/intel-rapl*/energy_uj"))
    ranges = [tree.integer(f"{zone}/max_energy_range_uj") for zone in zones]
    if None in ranges or None in [tree.integer(f"{zone}/energy_uj") for zone in zones]:
        return Missing("energy", "no_answer", tree.full(next(iter(zones))))
    named = ", ".join(dict.fromkeys(zones.values()))
    return Rapl(tree, tuple(zones), tuple(most for most in ranges if most is not None), f"RAPL ({named})")
