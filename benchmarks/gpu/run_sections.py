"""Run the sections, each as a process of its own, and keep OUT/proof.json, OUT/proof.md and OUT/log.txt up to date.

A section that fails, dies or takes too long ends nothing but itself. The exit code is 1 if one failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plan import FOLDER, MARGIN, PROMISED, PROMISED_QUICK, Section, chosen
from proving import write_json

from reid.runtime.gpu import find_device

DRY_FACTOR = 8  # a CPU takes longer, and promises nothing
LEAST = 5  # seconds below which a section is not begun
MOST = 3  # times the seconds of its plan that a section may take, where earlier ones have left some
_SHOWN = 160  # characters of a reason in the table


def main() -> None:
    """Run what was asked for; the exit code is 1 if a section failed."""
    options = parse()
    try:
        sections = chosen(options.sections, quick=options.quick)
    except KeyError as unknown:
        sys.exit(f"error: there is no section {unknown}; the files in {FOLDER} are the sections")
    factor = DRY_FACTOR if os.environ.get("PROVE_DRY") else 1
    deadline = options.began + factor * (PROMISED_QUICK if options.quick else PROMISED) - MARGIN
    small = bool(os.environ.get("PROVE_DRY")) or find_device() is None
    results: dict[str, dict[str, Any]] = {}
    for index, section in enumerate(sections):
        later = sum(seconds_of(one, options.quick) for one in sections[index + 1 :])
        planned = Section(section.name, factor * seconds_of(section, options.quick))
        seconds = seconds_allowed(planned, deadline - time.time(), factor * later)
        if section.gpu and small:
            results[section.name] = skipped("no GPU")
        elif seconds < LEAST:
            results[section.name] = skipped("no time is left")
        else:
            results[section.name] = run(section, seconds, options.out, options.work)
        write_json(options.out / "proof.json", results)
        (options.out / "proof.md").write_text(table(results, time.time() - options.began))
        print(line(section.name, results[section.name]), flush=True)
    print("\n" + (options.out / "proof.md").read_text())
    sys.exit(any(result["state"] == "failed" for result in results.values()))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="these alone, with what they need")
    parser.add_argument("--quick", action="store_true", help="the most telling sections, in 3 minutes")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--work", type=Path, required=True, help="folder for files that sections share")
    parser.add_argument("--began", type=float, default=time.time(), help="when the setup began, in epoch seconds")
    return parser.parse_args()


def seconds_of(section: Section, quick: bool) -> int:
    """Return the seconds that the plan gives a section."""
    return section.quick if quick else section.seconds


def seconds_allowed(section: Section, left: float, reserved: float) -> float:
    """Return how long a section may take: its own seconds, and those that earlier ones left, within reason.

    Args:
        section: the section.
        left: the seconds until all has to be done.
        reserved: the seconds that the plan gives to later sections; 0 for the last one, which takes what is left.
    """
    return min(left - reserved, MOST * section.seconds) if reserved else left


def skipped(reason: str) -> dict[str, Any]:
    """Return the record of a section that is not begun."""
    return {"state": "skipped", "reason": reason, "seconds": 0.0}


def run(section: Section, seconds: float, out: Path, work: Path) -> dict[str, Any]:
    """Run one section for at most some seconds; return its record."""
    record, began = work / f"{section.name}.json", time.monotonic()
    command = [sys.executable, str(FOLDER / f"{section.name}.py"), str(record), str(work), f"{seconds:.0f}"]
    with (out / "log.txt").open("a") as log:
        log.write(f"\n== {section.name}\n")
        log.flush()
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            ending = f"it ended with exit code {process.wait(seconds)}"
        except subprocess.TimeoutExpired:
            ending = f"it was stopped after {seconds:.3g} s"
        finally:
            stop(process)
    result = read_record(record)
    if result["state"] == "running":  # it did not come to its end
        result |= {"state": "failed", "reason": f"{ending}; see log.txt"}
    return {**result, "seconds": round(time.monotonic() - began, 1)}


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kill a section's whole process group: what it started must not use the GPU beside the next section."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read_record(file: Path) -> dict[str, Any]:
    """Return a section's record; one that it did not write is still running."""
    try:
        record: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {"state": "running", "reason": ""}
    return record


def table(results: Mapping[str, Mapping[str, Any]], seconds: float) -> str:
    """Return the results as Markdown: a line a section, then every fact."""
    states = [result["state"] for result in results.values()]
    counts = ", ".join(f"{states.count(state)} {state}" for state in ("passed", "failed", "skipped"))
    lines = ["# Proof of the GPU side", "", f"{counts}; {seconds:.0f} s so far", ""]
    lines += ["| section | state | seconds | |", "|---|---|---:|---|"]
    lines += [row(name, result) for name, result in results.items()]
    for name, result in results.items():
        facts = [fact(key, value) for key, value in result.items() if key not in ("state", "reason", "seconds")]
        lines += ["", f"## {name}", "", *facts] if facts else []
    return "\n".join(lines) + "\n"


def row(name: str, result: Mapping[str, Any]) -> str:
    """Return a section's line of the table."""
    reason = result["reason"].replace("|", "\\|")[:_SHOWN]
    return f"| {name} | {result['state']} | {result['seconds']} | {reason} |"


def fact(name: str, value: object) -> str:
    """Return a fact's line."""
    if isinstance(value, dict) and "holds" in value:
        found = f": {value['found']}" if "found" in value else ""
        return f"- {'ok' if value['holds'] else '**not ok**'}: {name}{found}"
    return f"- {name}: {value}"


def line(name: str, result: Mapping[str, Any]) -> str:
    """Return what is printed when a section ends."""
    return f"{result['state']:8} {name:18} {result['seconds']:6.1f} s  {result['reason'][:_SHOWN]}"


if __name__ == "__main__":
    main()
