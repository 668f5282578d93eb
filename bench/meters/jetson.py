"""The clock of a Jetson's GPU, and what lowers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from reid.bench.meters.missing import Missing
from reid.bench.meters.tree import Tree

__all__ = ["JetsonGpu", "is_jetson", "open_jetson_gpu"]

_DEVFREQ: Final = (
    "sys/class/devfreq/*gpu",  # JetPack 6: 17000000.gpu
    "sys/class/devfreq/*.ga10b",  # JetPack 5
    "sys/class/devfreq/gpu-gpc-0",  # Thor
    "sys/class/devfreq/*.gv11b",  # Xavier
)


@dataclass(frozen=True, slots=True)
class JetsonGpu:
    """The GPU of a Jetson.

    Attributes:
        tree: where its files are.
        folder: the folder of its clocks.
        alerts: the files that say whether the temperature lowers clocks: of CPU, GPU and the rest, and of the surface.
    """

    tree: Tree
    folder: str
    alerts: tuple[tuple[str, str], ...]

    def clock_mhz(self) -> float | None:
        """Return the clock of this moment."""
        return self._megahertz("cur_freq")

    def clock_limits_mhz(self) -> tuple[float, float] | None:
        """Return the lowest and the highest permitted clock: equal where `jetson_clocks` has fixed them."""
        low, high = self._megahertz("min_freq"), self._megahertz("max_freq")
        return None if low is None or high is None else (low, high)

    def throttling(self) -> frozenset[str]:
        """Return what lowers the clocks at this moment because of a temperature.

        The over-current events of `soctherm_oc` are not among them: under load, a module in its fastest power mode has
        several in a second, each for some microseconds.
        """
        return frozenset(f"Jetson: {name}" for name, path in self.alerts if self.tree.integer(path))

    def _megahertz(self, name: str) -> float | None:
        hertz = self.tree.integer(f"{self.folder}/{name}")
        return None if hertz is None else hertz / 1e6


def is_jetson(tree: Tree) -> bool:
    """Return whether this is a Jetson with JetPack."""
    return tree.text("etc/nv_tegra_release") is not None


def open_jetson_gpu(tree: Tree) -> JetsonGpu | Missing:
    """Return the GPU of a Jetson, or why it does not tell its clock."""
    for pattern in _DEVFREQ:
        for folder in tree.find(pattern):
            if tree.integer(f"{folder}/cur_freq") is not None:
                return JetsonGpu(tree, folder, _alerts(tree))
    return Missing("clock", "absent", tree.full("sys/class/devfreq/*.gpu"))


def _alerts(tree: Tree) -> tuple[tuple[str, str], ...]:
    paths = tree.find("sys/class/thermal/cooling_device*/type")
    named = ((tree.text(path) or "", path.replace("/type", "/cur_state")) for path in paths)
    return tuple((name, path) for name, path in named if name.endswith("-alert"))
