"""The extras of reid, what each is for, and whether it is installed; nothing is imported."""

from __future__ import annotations

from importlib.util import find_spec

from reid.runtime.doctor.check import Check
from reid.runtime.installs import EXTRAS, Extra, how_to_install, how_to_update
from reid.runtime.versions import installed_version, is_older, least_version

__all__ = ["check_extras", "is_there"]


def check_extras(*, has_gpu: bool) -> tuple[Check, ...]:
    """Return a check for each extra; without a GPU, what needs one is not for this machine."""
    return tuple(_check(extra, has_gpu=has_gpu) for extra in EXTRAS)


def is_there(package: str) -> bool:
    """Return whether a package is installed, by pip or otherwise, as TensorRT by JetPack."""
    return installed_version(package) is not None or find_spec(package.replace("-", "_")) is not None


def _check(extra: Extra, *, has_gpu: bool) -> Check:
    name = f"reid[{extra.name}]"
    if extra.needs_gpu and not has_gpu:
        return Check(name, "not for this machine", f"for {extra.purpose}; there is no NVIDIA GPU")
    chosen = [_chosen(packages.split("|")) for packages in extra.packages]
    if missing := [package for package in chosen if not is_there(package)]:
        install = how_to_install(missing[0])
        return Check(name, "missing", f"for {extra.purpose}; not installed: {', '.join(missing)}", install.command)
    versions = {package: installed_version(package) or "of the system" for package in chosen}
    for package, found in versions.items():
        if (least := least_version(package)) and found[0].isdigit() and is_older(found, least):
            reason = f"{package} {found} is older than {least}"
            return Check(name, "broken", f"for {extra.purpose}; {reason}", how_to_update(package, found).command)
    listed = ", ".join(f"{package} {found}" for package, found in versions.items())
    return Check(name, "works", f"{listed}; for {extra.purpose}")


def _chosen(names: list[str]) -> str:
    return next((name for name in names if is_there(name)), names[0])
