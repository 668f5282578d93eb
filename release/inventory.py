"""What an installation brings, from pip's reports (`pip install --dry-run --ignore-installed --report FILE`).

python release/inventory.py requirements REPORT       as name==version, for cyclonedx-py
python release/inventory.py licenses EXTRA=REPORT ... as docs/licenses.md
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PREAMBLE = """\
# Licenses

This page lists the licenses of what a wheel of `reid` brings with it, as the packages state them; it is for everyone
who distributes a product with it. `make release` writes it anew, from what pip resolves for each extra on Linux x86-64.

The repository itself states no license yet. No file of the wheel states one of its own, and pretrained weights are not
part of it; [weights](weights.md) says where they come from.

The extra `gpu` is not in the table: `tensorrt` downloads wheels from NVIDIA while it is installed, under NVIDIA's own
license, and pycuda is compiled (MIT). [Trackers](trackers.md) names the licenses of the packages that the adapters are
for; `reid` does not install these.

| package | version | license | comes with |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Package:
    """A package that pip would install."""

    name: str
    version: str
    license: str


def main() -> None:
    """Print what the first argument asks for."""
    kind, *arguments = sys.argv[1:]
    if kind == "requirements":
        print(*(f"{one.name}=={one.version}" for one in packages(arguments[0]) if one.name != "reid"), sep="\n")
    else:
        print(page(argument.partition("=")[::2] for argument in arguments), end="")


def packages(report: str) -> list[Package]:
    """Return the packages of a report, by name."""
    found = [install["metadata"] for install in json.loads(Path(report).read_text())["install"]]
    stated = (Package(normal(one["name"]), one["version"], license_of(one)) for one in found)
    return sorted(stated, key=lambda package: package.name)


def normal(name: str) -> str:
    """Return a package's name as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def license_of(metadata: dict[str, object]) -> str:
    """Return the license that a package states: its expression, else its classifiers, else its text's first line."""
    if expression := metadata.get("license_expression"):
        return str(expression)
    classifiers = metadata.get("classifier")
    named = [str(one).split(" :: ")[-1] for one in classifiers or () if str(one).startswith("License :: ")]  # type: ignore[attr-defined]
    named = [name for name in named if name not in ("OSI Approved", "Other/Proprietary License")]
    text = next((line.strip() for line in str(metadata.get("license") or "").splitlines() if line.strip()), "")
    return ", ".join(named) or text[:60] or "not stated"


def page(reports: Iterable[tuple[str, str]]) -> str:
    """Return the page of licenses, as Markdown."""
    extras: dict[Package, list[str]] = defaultdict(list)
    for extra, report in reports:
        for package in packages(report):
            extras[package].append(extra)
    return PREAMBLE + "".join(rows(extras))


def rows(extras: dict[Package, list[str]]) -> Iterator[str]:
    """Yield a row for each package but `reid`, with the extras that bring it."""
    for package, of in sorted(extras.items(), key=lambda item: (item[0].name, item[0].version)):
        if package.name != "reid":
            brought = "every installation" if "lean" in of else ", ".join(f"`{extra}`" for extra in of)
            yield f"| {package.name} | {package.version} | {package.license.replace('|', '/')} | {brought} |\n"


if __name__ == "__main__":
    main()
