"""The versions of libraries: what reid requires, what is installed, and which is older."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires, version

__all__ = ["installed_name", "installed_version", "is_installed", "is_older", "least_version", "release"]

_SAME = {
    "onnxruntime": ("onnxruntime-gpu", "onnxruntime"),
    "nvidia-nvimgcodec": ("nvidia-nvimgcodec-cu13", "nvidia-nvimgcodec-cu12", "nvidia-nvimgcodec-tegra-cu12"),
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
}
"""A package -> the names on PyPI by which it may be installed, each on its own."""


def least_version(package: str) -> str:
    """Return the least version of a package in reid's own requirements, as pip reads them; empty for none."""
    names = "|".join(map(re.escape, _SAME.get(package, (package,))))
    found = (re.match(rf"(?:{names})(?:\[[^]]*\])?\s*\(?>=\s*([\d.]+)", line) for line in requires("reid") or ())
    return next((match[1] for match in found if match), "")


def installed_name(package: str, found: str | None = None) -> str:
    """Return the name on PyPI by which a package is installed, in that version if one is given; else its own."""
    there = {name: _version(name) for name in _SAME.get(package, (package,))}
    return next((name for name, one in there.items() if one and found in (None, one)), package)


def installed_version(package: str) -> str | None:
    """Return the version of a package that is installed, by its metadata; None where there is none."""
    return _version(installed_name(package))


def is_installed(name: str) -> bool:
    """Return whether pip has installed a package of exactly this name."""
    return _version(name) is not None


def is_older(found: str, least: str) -> bool:
    """Return whether a version, such as "1.20.0+cu12", is older than another, such as "1.21"."""
    return release(found) < release(least)


def release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, to compare: "10.13.0.35.post1" is (10, 13, 0, 35)."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
