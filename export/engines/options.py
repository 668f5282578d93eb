"""How to build an engine, and the command line that builds the same engine again."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from reid.runtime.engine_card import MOST_PROFILES, Profile, largest_batch, uncovered
from reid.runtime.files.reading import MEBIBYTE, check_regular
from reid.runtime.precision import Precision
from reid.runtime.tensorrt_api import Flavor

__all__ = ["MOST_WORKSPACE_MIB", "TIMING_CACHE_AT_MOST", "EngineOptions"]

MOST_WORKSPACE_MIB = 1 << 20
"""1 TiB: more than any GPU has."""

TIMING_CACHE_AT_MOST = 1024 * MEBIBYTE
"""The largest timing cache that is read, in bytes; one of many models has some ten MiB."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The options and targets of an engine's build.

    Attributes:
        flavor: the package that builds.
        profiles: the sizes of batches to optimize for; a batch runs with the first profile that it fits.
        workspace_mib: the GPU memory that a layer may use as scratch, in MiB.
        optimization_level: 0 builds fastest, 5 runs fastest.
        timing_cache: the file that remembers measured kernels from build to build. TensorRT-RTX measures nothing when
            it builds, and its timing cache would only make it ask for a GPU, so it is not used there.
        hardware_compatible: TensorRT: whether to build for compute capability 8.0 and all later ones; slower.
        version_compatible: TensorRT: whether to build for later versions of the same major version, too; slower.
        compute_capabilities: TensorRT-RTX: the compute capabilities to build for ("8.6"); empty for all that it knows
            but Turing.
    """

    flavor: Flavor
    profiles: tuple[Profile, ...] = (Profile(frames=(1, 32, 32), tracklets=(1, 8, 32)),)
    workspace_mib: int = 4096
    optimization_level: int = 3
    timing_cache: Path | None = None
    hardware_compatible: bool = False
    version_compatible: bool = False
    compute_capabilities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError where a value cannot be right, or a batch would fit no profile."""
        if not 1 <= len(self.profiles) <= MOST_PROFILES:
            raise ValueError(f"an engine needs at least one profile, and at most {MOST_PROFILES}")
        if not 1 <= self.workspace_mib <= MOST_WORKSPACE_MIB:
            raise ValueError(f"workspace of {self.workspace_mib} MiB: must be 1 to {MOST_WORKSPACE_MIB:,}")
        if not 0 <= self.optimization_level <= 5:
            raise ValueError(f"optimization level {self.optimization_level}: must be 0 to 5")
        for capability in self.compute_capabilities:
            if not re.fullmatch(r"[0-9]{1,3}\.[0-9]", capability):
                raise ValueError(f"compute capability {capability!r}: must look like 8.6")
        if self.timing_cache:
            _check_timing_cache(self.timing_cache)
        if batch := uncovered(self.profiles):
            frames, tracklets = largest_batch(self.profiles)
            raise ValueError(
                f"a batch of {batch[0]} frames and {batch[1]} tracklets fits no profile, and streams end in batches of "
                f"any size: add --profile 1,{frames},{frames}:1,{tracklets},{tracklets}"
            )

    def command(self, precision: Precision) -> str:
        """Return the command line that builds a precision's engine this way, with BUNDLE for the bundle's path."""
        words = ["reid-export", "BUNDLE", "--precision", precision, "--engine", self.flavor]
        for one in self.profiles:
            words += ["--profile", ":".join(",".join(map(str, sizes)) for sizes in (one.frames, one.tracklets))]
        words += ["--workspace", str(self.workspace_mib), "--optimization-level", str(self.optimization_level)]
        if self.timing_cache:
            words += ["--timing-cache", str(self.timing_cache)]
        words += ["--hardware-compatible"] if self.hardware_compatible else []
        words += ["--version-compatible"] if self.version_compatible else []
        for capability in self.compute_capabilities:
            words += ["--compute-capability", capability]
        return shlex.join(words)


def _check_timing_cache(path: Path) -> None:
    """Raise ValueError for what would be replaced though it is no timing cache."""
    if not str(path).isprintable():
        raise ValueError(f"timing cache {str(path)!r}: must have a name that can be printed")
    if os.path.lexists(path):
        try:
            check_regular(path, at_most=TIMING_CACHE_AT_MOST)
        except OSError as error:
            raise ValueError(f"timing cache {path}: {error.strerror}") from None
