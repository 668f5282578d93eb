"""Reproduce the poster's table on a data set.

Train Triplet, SSL, RLL and Multi-level RLL with the same budget and several seeds.

    python benchmarks/poster_table.py VeRi
    python benchmarks/poster_table.py data --backbone resnet18 --weights none --image-size 96 --epochs 15 --batch 8x4

Each method is trained by `reid-train` and measured by `reid-eval` on the data's query and gallery, so the numbers are
what a user gets. The tables are printed, and OUTPUT.md and OUTPUT.json are rewritten after every trial. After an
interruption, the same command resumes where it stopped: see benchmarks/trials.py.
"""

from __future__ import annotations

from pathlib import Path

from comparison import compare
from score_tables import PROTOCOLS, difference_table, score_table, scores
from trials import Method, Trials

METHODS = (
    Method("Triplet", ("--recipe", "poster", "--loss", "triplet", "--levels", "4")),
    Method("SSL", ("--recipe", "poster", "--loss", "ssl", "--levels", "4")),
    Method("RLL", ("--recipe", "poster", "--loss", "rll", "--levels", "4")),
    Method("Multi-level RLL", ("--recipe", "poster", "--loss", "rll", "--levels", "2,3,4")),
)
BASELINE = METHODS[0].name


def main() -> None:
    """Run the trials that are missing, then print the tables."""
    compare(Path(__file__), __doc__, METHODS, as_markdown)


def as_markdown(trials: Trials) -> str:
    """Return the table, the differences to the baseline, and whether tracklets help as they do in the poster."""
    parts = [score_table(trials), difference_table(trials, BASELINE), protocols_in_order(trials)]
    return "\n".join(parts)


def protocols_in_order(trials: Trials) -> str:
    """Return a line that counts, for each method, the trials in which mAP rises from I2I to I2T to T2T."""
    counts = []
    for name, of_method in trials.items():
        maps = [scores(of_method, protocol, "mAP") for protocol in PROTOCOLS]
        complete = [seed for seed in of_method if all(seed in of_protocol for of_protocol in maps)]
        rising = sum(maps[0][seed] < maps[1][seed] < maps[2][seed] for seed in complete)
        counts.append(f"{name} in {rising} of {len(complete)}")
    return f"T2T > I2T > I2I in mAP: {', '.join(counts)} seeds.\n"


if __name__ == "__main__":
    main()
