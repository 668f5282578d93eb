"""The power of a Jetson module: the INA3221 sensors on its supply rails.

Orin Nano and Orin NX measure the whole module's input, `VDD_IN`. AGX Orin does not: its input is the sum of
`VDD_GPU_SOC`, `VDD_CPU_CV` and `VIN_SYS_5V0`; `VDDQ_VDD2_1V8AO`, the memory, is fed from `VIN_SYS_5V0` and so already
counted. See "Software-Based Power Consumption Modeling" in
https://docs.nvidia.com/jetson/archives/r36.4.3/DeveloperGuide/SD/PlatformPowerAndPerformance/JetsonOrinNanoSeriesJetsonOrinNxSeriesAndJetsonAgxOrinSeries.html

A carrier board's own needs (fan, disks, converters) are in none of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from reid.bench.meters.energy import Part
from reid.bench.meters.missing import Missing
from reid.bench.meters.tree import Tree

__all__ = ["Rail", "Rails", "open_rails"]

_DRIVERS: Final = "sys/bus/i2c/drivers/ina3221"

_INPUTS: Final = (
    ("VDD_IN",),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("POM_5V_IN",),  # Jetson Nano
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier
)
"""The rails that add up to a module's input, by family; the first that are all there."""


@dataclass(frozen=True, slots=True)
class Rail:
    """A channel of a sensor.

    Attributes:
        name: the name of the rail.
        volts: the file with its voltage, in millivolts.
        amperes: the file with its current, in milliamperes.
    """

    name: str
    volts: str
    amperes: str


@dataclass(frozen=True, slots=True)
class Rails:
    """The rails that add up to the input of a module.

    Attributes:
        tree: where they are.
        rails: the rails.
        source: what is read, for people.
    """

    tree: Tree
    rails: tuple[Rail, ...]
    source: str
    part: Part = "module"

    def watts(self) -> float | None:
        """Return the power of this moment, or None where a sensor does not answer."""
        total = 0
        for rail in self.rails:
            millivolts, milliamperes = self.tree.integer(rail.volts), self.tree.integer(rail.amperes)
            if millivolts is None or milliamperes is None:
                return None
            total += millivolts * milliamperes
        return total / 1e6


def open_rails(tree: Tree) -> Rails | Missing:
    """Return the rails of a module's input, or why there are none."""
    found = {rail.name: rail for rail in _rails(tree)}
    for names in _INPUTS:
        if all(name in found for name in names):
            rails = Rails(tree, tuple(found[name] for name in names), f"INA3221 ({' + '.join(names)})")
            refused = [rail.volts for rail in rails.rails if tree.is_refused(rail.volts)]
            if refused:
                return Missing("energy", "not_permitted", tree.full(refused[0]))
            return Missing("energy", "no_answer", "the INA3221 sensor") if rails.watts() is None else rails
    return Missing("energy", "absent", "INA3221 sensor of a module's input")


def _rails(tree: Tree) -> list[Rail]:
    """Return all channels: of the hwmon driver (JetPack 5 and later), else of the industrial I/O driver (JetPack 4)."""
    labels = [path for folder in _hwmon_folders(tree) for path in tree.find(f"{folder}/in[1-3]_label")]
    new = ("in{}_input", "curr{}_input")
    rails = [Rail(tree.text(path) or "", *_beside(path, r"in(\d)_label", *new)) for path in labels]
    names = tree.find(f"{_DRIVERS}*/*/iio:device*/rail_name_*")
    old = ("in_voltage{}_input", "in_current{}_input")
    return rails or [Rail(tree.text(path) or "", *_beside(path, r"rail_name_(\d)", *old)) for path in names]


def _hwmon_folders(tree: Tree) -> list[str]:
    """Return the folders of the INA3221 sensors, each once; the driver is `ina3221x` in NVIDIA's older kernels."""
    by_name = [path[: -len("/name")] for path in tree.find("sys/class/hwmon/hwmon*/name") if _is_ina3221(tree, path)]
    return by_name or tree.find(f"{_DRIVERS}*/*/hwmon/hwmon*")


def _is_ina3221(tree: Tree, path: str) -> bool:
    return (tree.text(path) or "").startswith("ina3221")


def _beside(path: str, pattern: str, volts: str, amperes: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    match = re.fullmatch(pattern, name)
    channel = match.group(1) if match else ""
    return f"{folder}/{volts.format(channel)}", f"{folder}/{amperes.format(channel)}"
