"""Print what pip has to install for the tests of a device: `python tests/versions.py oldest|newest`.

The oldest versions are those that pyproject.toml allows. ONNX Runtime's CPU package stands in for the one with CUDA.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
TOOLS = ("hypothesis", "pillow", "pytest", "pytest-xdist")


def lines(*, oldest: bool) -> Iterator[str]:
    """Yield the lines of a file of requirements: libraries, all oldest or all newest, and the tests' tools."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    extras = project["optional-dependencies"]
    for requirement in map(Requirement, [*project["dependencies"], *extras["cpu"], *extras["onnx"]]):
        if requirement.name != "onnxruntime-gpu":
            (least,) = requirement.specifier
            yield f"{requirement.name}=={least.version}" if oldest else requirement.name
    yield from (tool for tool in extras["dev"] if Requirement(tool).name in TOOLS)


if __name__ == "__main__":
    print(*lines(oldest={"oldest": True, "newest": False}[sys.argv[1]]), sep="\n")
