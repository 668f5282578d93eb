"""What an installation brings, from pip's reports (`pip install --dry-run --ignore-installed --report FILE`).

python release/inventory.py requirements REPORT       as name==version, for cyclonedx-py
python release/inventory.py licenses EXTRA=REPORT ... as docs/licenses.md
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

PREAMBLE = """\
# Licenses

This page lists the licenses of what a wheel of `reid` brings with it, as the packages state them; it is for everyone
who distributes a product with it. `make release` writes it anew, from what is installed for each extra on Linux x86-64.

The repository itself states no license yet. No file of the wheel states one of its own, and pretrained weights are not
part of it; [weights](weights.md) says where they come from.

The extras `gpu` and `nvimgcodec` are not in the table: they bring TensorRT, CUDA's libraries and nvImageCodec, under
NVIDIA's own licenses, and pycuda, which is compiled (MIT). [Trackers](trackers.md) names the licenses of the packages
that the adapters are for; `reid` does not install these.

| package | version | license | comes with |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Package:
    """A package that is installed."""

    name: str
    version: str
    license: str


def main() -> None:
    """Print what the first argument asks for."""
    kind, *extras = sys.argv[1:]
    if kind == "requirements":
        print(*(f"{one.name}=={one.version}" for one in packages(extras[0])), sep="\n")
    else:
        print(page(extras), end="")


def packages(extra: str) -> list[Package]:
    """Return what `reid` with an extra brings, by name."""
    found: dict[str, Distribution] = {}
    done, todo = set(), [Requirement("reid" if extra == "lean" else f"reid[{extra}]")]
    while todo:
        wanted = todo.pop()
        if (asked := (normal(wanted.name), frozenset(wanted.extras))) not in done:
            done.add(asked)
            found[asked[0]] = installed(wanted)
            todo += needs(found[asked[0]], wanted.extras)
    of = (Package(name, one.version, license_of(one)) for name, one in found.items() if name != "reid")
    return sorted(of, key=lambda package: package.name)


def installed(requirement: Requirement) -> Distribution:
    """Return the package of a requirement; end where it is not installed."""
    try:
        return distribution(requirement.name)
    except PackageNotFoundError:
        sys.exit(f"error: {requirement.name} is not installed; run this in the environment that make test makes")


def needs(package: Distribution, extras: Iterable[str]) -> Iterator[Requirement]:
    """Yield what a package requires here, plainly and for extras."""
    for requirement in map(Requirement, package.requires or []):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def normal(name: str) -> str:
    """Return a package's name as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def license_of(package: Distribution) -> str:
    """Return the license that a package states: its expression, else its classifiers, else its text's first line."""
    stated = package.metadata
    if "License-Expression" in stated:
        return stated["License-Expression"]
    named = [one.split(" :: ")[-1] for one in stated.get_all("Classifier") or () if one.startswith("License :: ")]
    named = [name for name in named if name not in ("OSI Approved", "Other/Proprietary License")]
    lines = stated["License"].splitlines() if "License" in stated else []
    text = next((line.strip() for line in lines if line.strip()), "")
    return ", ".join(named) or text[:60] or "not stated"


def page(extras: Iterable[str]) -> str:
    """Return the page of licenses, as Markdown."""
    brought: dict[Package, list[str]] = defaultdict(list)
    for extra in extras:
        for package in packages(extra):
            brought[package].append(extra)
    return PREAMBLE + "".join(rows(brought))


def rows(brought: dict[Package, list[str]]) -> Iterator[str]:
    """Yield a row for each package, with the extras that bring it."""
    for package, extras in sorted(brought.items(), key=lambda item: item[0].name):
        by = "every installation" if "lean" in extras else ", ".join(f"`{extra}`" for extra in extras)
        yield f"| {package.name} | {package.version} | {package.license.replace('|', '/')} | {by} |\n"


if __name__ == "__main__":
    main()
