"""The figures of a campaign, as `benchmarks/results/` keeps them, and the coverage of the loaders' branches."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fuzz.campaign import Campaign, Slice
from fuzz.runner import Tally, run_slice

__all__ = ["branch_coverage", "write_figures"]

_PACKAGES = ("numpy", "opencv-python-headless", "pydantic", "safetensors", "torch", "onnxruntime-gpu", "openvino")


def branch_coverage(parts: Sequence[Slice], *, processes: int) -> dict[str, dict[str, Any]]:
    """Run mutants once more, and return for each module of the loaders which of its branches they took.

    A branch is a way from a line on which execution can go more than one way. Those of functions that no mutant enters,
    which write files for example, are counted apart.
    """
    from coverage import Coverage

    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"coverage.{place}" for place in range(len(parts))]
        with ThreadPoolExecutor(processes) as pool:
            runs = [
                pool.submit(run_slice, part.form, part.numbers, method="spawn", coverage=file)
                for part, file in zip(parts, files, strict=True)
            ]
            for run in runs:
                run.result()
        measured = Coverage(data_file=Path(folder) / "all", branch=True, messages=False)
        measured.combine([str(file) for file in files if file.exists()])
        measured.json_report(outfile=str(Path(folder) / "report.json"), ignore_errors=True)
        report = json.loads((Path(folder) / "report.json").read_text())["files"]
    modules = sorted({module for part in parts for module in part.form.modules.split()})
    return {module: _branches(report, module) for module in modules}


def _branches(report: dict[str, Any], module: str) -> dict[str, Any]:
    end = f"/{module.replace('.', '/')}.py"
    (facts,) = (one for path, one in report.items() if f"/{path}".endswith(end) and "site-packages" not in path)
    entered = [one for name, one in facts["functions"].items() if name and one["summary"]["covered_lines"]]
    of_entered, of_module = [one["summary"] for one in entered], facts["summary"]
    return {
        "branches": sum(one["num_branches"] for one in of_entered),
        "taken": sum(one["covered_branches"] for one in of_entered),
        "not taken": [branch for one in entered for branch in one["missing_branches"]],
        "branches of functions not entered": of_module["num_branches"] - sum(one["num_branches"] for one in of_entered),
    }


def write_figures(path: Path, campaign: Campaign, coverage: dict[str, dict[str, Any]], covered: int) -> None:
    """Write all figures as JSON, and as a table of Markdown beside it."""
    rows = {name: _row(tally) for name, tally in campaign.tallies.items()}
    total = sum(row["mutants"] for row in rows.values())
    record = {
        "command": "make fuzz",
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {name: version(name) for name in _PACKAGES} | {"libc": " ".join(platform.libc_ver())},
        "mutants": total,
        "findings": sum(row["findings"] for row in rows.values()),
        "seconds": round(campaign.seconds),
        "formats": rows,
        "first of each cause": [str(finding) for finding in campaign.findings],
        "branch coverage": {"mutants": covered, "modules": coverage},
    }
    path.write_text(json.dumps(record, indent=2) + "\n")
    path.with_suffix(".md").write_text(_page(record))


def _row(tally: Tally) -> dict[str, Any]:
    return {
        "mutants": tally.mutants,
        "loaded": tally.loaded,
        "refused": tally.refused,
        "findings": tally.causes.total(),
        "CPU seconds": round(tally.cpu_seconds, 1),
    }


def _page(record: dict[str, Any]) -> str:
    rows = [[name, *(f"{value:,}" for value in row.values())] for name, row in record["formats"].items()]
    modules = record["branch coverage"]["modules"]
    every = {key: sum(one[key] for one in modules.values()) for key in ("branches", "taken")}
    shares = [
        [name, str(one["branches"]), str(one["taken"]), f"{100 * one['taken'] / one['branches']:.0f} %"]
        for name, one in {**modules, "all": every}.items()
        if one["branches"]
    ]
    return f"""\
`{record["command"]}`: {record["mutants"]:,} damaged files in {record["seconds"]:,} s, {record["findings"]:,} findings.
What was loaded was held to what the file says, and what was refused to one line that names the file.

{_table(["format", "mutants", "loaded", "refused", "findings", "CPU seconds"], rows)}
Branches that {record["branch coverage"]["mutants"]:,} of them take in the loaders' modules, of those in functions that
any of them enters:

{_table(["module", "branches", "taken", "share"], shares)}"""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in head[1:])]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *rows))
