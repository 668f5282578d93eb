"""Measure what several levels are worth, at equal backbone, budget and size of the embedding.

Compare Multi-level RLL with one level: with RLL, and with Triplet at 512 and at 1536 numbers, in both recipes.

    python benchmarks/levels.py VeRi
    python benchmarks/levels.py data --backbone tf_efficientnet_lite0 --weights FILE --image-size 128 --epochs 3

The script runs as benchmarks/poster_table.py does. The poster's recipe has a learning rate of 1e-3 here: with its own,
nothing is learned in a short run.
"""

from __future__ import annotations

from pathlib import Path

from comparison import compare
from score_tables import difference_table, score_table
from trials import Method, Trials

RECIPES: dict[str, tuple[str, ...]] = {
    "strong": ("--recipe", "strong"),
    "poster": ("--recipe", "poster", "--set", "learning_rate=1e-3"),
}
VARIANTS: dict[str, tuple[str, ...]] = {
    "Multi-level RLL": (),
    "Triplet, 512": ("--loss", "triplet", "--levels", "4"),
    "Triplet, 1536": ("--loss", "triplet", "--levels", "4", "--set", "embedding_size=1536"),
    "RLL, 512": ("--levels", "4"),
}
EQUAL: dict[str, tuple[str, ...]] = {
    "losses of equal weight": ("--set", "level_losses=given"),
    "equal levels": ("--set", "level_losses=given", "--set", "aggregation=equal"),
}
METHODS = (
    *(Method(f"{recipe}: {name}", (*own, *more)) for recipe, own in RECIPES.items() for name, more in VARIANTS.items()),
    *(Method(f"strong: Multi-level RLL, {name}", (*RECIPES["strong"], *more)) for name, more in EQUAL.items()),
)


def main() -> None:
    """Run the trials that are missing, then print the tables."""
    compare(Path(__file__), __doc__, METHODS, as_markdown)


def as_markdown(trials: Trials) -> str:
    """Return the scores, and for each recipe the differences to Multi-level RLL."""
    tables = [score_table(trials, ("mAP", "R-1"))]
    for recipe in RECIPES:
        own = {name: of_method for name, of_method in trials.items() if name.startswith(recipe)}
        reference = f"{recipe}: {next(iter(VARIANTS))}"
        if reference in own and len(own) > 1:
            tables.append(difference_table(own, reference))
    return "\n".join(tables)


if __name__ == "__main__":
    main()
