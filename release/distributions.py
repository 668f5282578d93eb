"""Build the source distribution and the wheels, and check them: `python release/distributions.py FOLDER [--kernels]`.

The wheel is built twice, from this tree and from the source distribution, and both have to be the same, file by file.
With --kernels, the wheel holds the CUDA kernels, for which nvcc is needed; without, it is the same but for them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
FAT_BINARY = "reid/runtime/kernels/kernels.fatbin"
SOURCES = {".cu", ".h"}
"""What the names of files end in that stay out of a wheel: what is compiled from them is in it."""


def main() -> None:
    """Build, check, and say what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--kernels", action="store_true", help="compile the CUDA kernels into the wheel")
    options = parser.parse_args()
    source = build_source(options.folder)
    wheel = build_wheel(ROOT, options.folder, kernels=options.kernels)
    files = contents(wheel)
    with tempfile.TemporaryDirectory() as work:
        again = contents(build_wheel(source, Path(work), kernels=options.kernels))
    problems = [*differences(files, again), *surplus_and_missing(files, kernels=options.kernels)]
    if problems:
        sys.exit("\n".join(f"error: {problem}" for problem in problems))
    print(f"{wheel.name}: {len(files)} files, the same from {source.name}")


def build_source(folder: Path) -> Path:
    """Return the source distribution, built into a folder."""
    code = "import sys, scikit_build_core.build as backend; print(backend.build_sdist(sys.argv[1]))"
    folder.mkdir(parents=True, exist_ok=True)
    name = run(sys.executable, "-c", code, str(folder.resolve())).splitlines()[-1]
    return folder / name


def build_wheel(source: Path, folder: Path, *, kernels: bool) -> Path:
    """Return the wheel of a tree or of a source distribution, built into a folder."""
    # OFF is no path, so that CMake does not look for nvcc either.
    without = [] if kernels else ["--config-settings", "cmake.define.REID_NVCC=OFF"]
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", *without, "--wheel-dir", str(folder), str(source))
    (wheel,) = folder.glob("reid-*.whl")
    return wheel


def contents(wheel: Path) -> dict[str, bytes]:
    """Return the files of a wheel, by their names."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def differences(first: Mapping[str, bytes], second: Mapping[str, bytes]) -> list[str]:
    """Return how the wheel from the tree and that from the source distribution differ."""
    return [
        f"{name} {'differs' if name in first and name in second else 'is missing'} in one of the two wheels"
        for name in sorted(first.keys() | second.keys())
        if first.get(name) != second.get(name)
    ]


def surplus_and_missing(files: Mapping[str, bytes], *, kernels: bool) -> list[str]:
    """Return which of the tracked files of the package a wheel lacks, and which other files it has."""
    tracked = set(run("git", "ls-files", *rooms()).splitlines())
    expected = {f"reid/{name}" for name in tracked if Path(name).suffix not in SOURCES}
    expected |= {f"reid/{name}" for name in ("__init__.py", "py.typed")}
    expected |= {FAT_BINARY} if kernels else set()
    packaged = {name for name in files if ".dist-info/" not in name}
    missing = [f"the wheel lacks {name}" for name in sorted(expected - packaged)]
    return missing + [
        f"the wheel holds {name}, which is no file of the package" for name in sorted(packaged - expected)
    ]


def rooms() -> list[str]:
    """Return the folders that the package links to."""
    return sorted(link.name for link in (ROOT / "src" / "reid").iterdir() if link.is_symlink())


def run(*command: str) -> str:
    """Return what a command prints; end with what it says where it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
