"""Fuzz everything that reid reads, in parallel processes, and write the figures; or load one mutant again.

    PYTHONPATH=tests/faults python -m fuzz --mutants 1000000 --json benchmarks/results/fuzz.json
    PYTHONPATH=tests/faults python -m fuzz --format gallery --mutant 12345

The second line loads the mutant in this process, so that the error is seen whole.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from fuzz.campaign import Campaign, fuzz, slices
from fuzz.figures import branch_coverage, write_figures
from fuzz.formats import FORMATS
from fuzz.runner import Format, Limits, begin, folder_for, judge, mutant

_COVERED = 20_000
"""So many mutants are run once more to measure coverage, which takes several times as long."""


def main() -> int:
    """Parse the command line, run, and return 1 if anything escaped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [form.name for form in FORMATS]
    parser.add_argument("--format", choices=names, metavar="NAME", help=f"only this format: {', '.join(names)}")
    parser.add_argument("--mutant", type=int, metavar="N", help="load this mutant, in this process")
    parser.add_argument("--save", type=Path, metavar="FILE", help="with --mutant: write it to a file as well")
    parser.add_argument("--mutants", type=int, default=20_000, metavar="N", help="mutants of all formats together")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, and a table beside them")
    options = parser.parse_args()
    forms = [form for form in FORMATS if options.format in (None, form.name)]
    if options.mutant is not None:
        if options.format is None:
            parser.error("--mutant needs --format")
        return _load(forms[0], options.mutant, options.save)
    campaign = fuzz(slices(forms, options.mutants), processes=options.processes)
    print(_summary(campaign))
    if options.json:
        covered = min(_COVERED, options.mutants)
        coverage = branch_coverage(slices(forms, covered, whole=True), processes=options.processes)
        write_figures(options.json, campaign, coverage, covered)
    return 1 if campaign.findings else 0


def _load(form: Format, number: int, save: Path | None) -> int:
    with folder_for(form) as folder:
        prepared = begin(form, folder)
        content = mutant(form, prepared.seeds, number)
        print(f"{form.name}, mutant {number}: {len(content):,} bytes")
        if save:
            save.write_bytes(content)
        outcome = judge(form, prepared, number, Limits(), show=True)
    print(outcome)
    return 0 if isinstance(outcome, str) else 1


def _summary(campaign: Campaign) -> str:
    lines = [f"{'format':24}{'mutants':>10}{'loaded':>10}{'refused':>10}{'findings':>10}{'CPU s':>8}"]
    for name, tally in campaign.tallies.items():
        lines.append(
            f"{name:24}{tally.mutants:10,}{tally.loaded:10,}{tally.refused:10,}{tally.causes.total():10,}"
            f"{tally.cpu_seconds:8.1f}"
        )
    lines += [f"{tally.causes[one.cause]} x {one}" for tally in campaign.tallies.values() for one in tally.findings]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
