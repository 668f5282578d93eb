"""The page of the documents with everything that was measured: made from what `reid-bench` wrote, a folder a device."""

from __future__ import annotations

from pathlib import Path

from reid.bench.facts import machine_name
from reid.bench.reading import read_result
from reid.bench.report.table import as_markdown
from reid.bench.result import RESULT_FILE, BenchResult
from reid.runtime.text import one_line

__all__ = ["CONTRIBUTE", "collect", "collected_page"]

CONTRIBUTE = """\
1. Export a bundle (`reid-export --fp16 --int8 --calibration DATA --verify DATA`), then leave the machine alone.
2. Run `reid-bench bundle --output benchmarks/results/bench/DEVICE`; name the device in short, such as `orin-nx`.
3. Run `python -m reid.bench.report.collected`, which writes this page again, and look at your section.
4. Open a pull request with that folder and the page. The file names no host and no user, but the paths that you gave.
"""
"""How to add one's own results, in four lines."""

_INTRODUCTION = """# Measured

What `reid-bench` found, by device. Each section is made from a `bench.json` in `benchmarks/results/bench/`;
[benchmarks.md](benchmarks.md) says how it is measured and how to read it. To compare two devices:
`reid-bench compare benchmarks/results/bench/ONE benchmarks/results/bench/OTHER`.

## How to contribute yours

"""


def collect(folder: Path) -> dict[str, BenchResult]:
    """Read the results below a folder, by the names of their own folders.

    Raises:
        DataError: a result is damaged.
    """
    return {file.parent.name: read_result(file) for file in sorted(folder.glob(f"*/{RESULT_FILE}"))}


def collected_page(results: dict[str, BenchResult]) -> str:
    """Return the page, as Markdown."""
    sections = "".join(_section(name, result) for name, result in results.items())
    return f"{_INTRODUCTION}{CONTRIBUTE}{sections}"


def _section(name: str, result: BenchResult) -> str:
    model = result.model
    height, width = model.image_size
    facts = f"{model.backbone}, {height} x {width}, {len(model.levels)} levels, threads: {result.settings.threads}"
    heading = f"\n## {one_line(name)}: {one_line(machine_name(result.environment))}\n"
    return f"{heading}\n{one_line(facts)}; {result.started[:10]}; `{one_line(result.command)}`\n\n{as_markdown(result)}"


def _main() -> None:
    """Write the page of this repository again."""
    from reid.runtime.files.storage import atomic_write

    root = Path.cwd()
    page = collected_page(collect(root / "benchmarks" / "results" / "bench"))
    atomic_write(root / "docs" / "measured.md", page.encode())


if __name__ == "__main__":
    _main()
