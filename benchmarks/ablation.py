"""Measure what each ingredient of the recipe `strong` is worth.

Compare `strong` with `strong` without each of its ingredients, `strong` with each ingredient that it does without, and
`poster`.

    python benchmarks/ablation.py VeRi
    python benchmarks/ablation.py data --backbone resnet18 --weights none --image-size 64 --epochs 8 --batch 8x4

The script runs as benchmarks/poster_table.py does. In the table of differences, a value below 0 beside "without" means
that the ingredient helps, and a value above 0 beside "with" means that it should be adopted.
"""

from __future__ import annotations

from pathlib import Path

from comparison import compare
from score_tables import difference_table, score_table
from trials import Method, Trials

WHOLE = "strong"

# Every setting in which strong differs from poster, set back to its value in poster.
SET_BACK: dict[str, tuple[str, ...]] = {
    "without BNNeck": ("bnneck=false",),
    "without clipping": ("clip_norm=0",),
    "with poster's metric weight": ("metric_weight=1",),
    "with poster's learning rate": ("learning_rate=3.5e-4",),
    "with max-pooling alone": ("pooling=max",),
    "with levels of equal weight": ("aggregation=equal",),
    "with losses of equal weight": ("level_losses=given",),
}

# Ingredients that strong does without, and ingredients that it shares with poster.
OTHERS: dict[str, tuple[str, ...]] = {
    "with last stride 1": ("last_stride=1",),
    "with GeM beside max": ("pooling=max+gem",),
    "with label smoothing": ("label_smoothing=0.1",),
    "with circle loss": ("identity_loss=circle",),
    "with ArcFace": ("identity_loss=arcface",),
    "with cameras in sampling": ("sampling=cameras",),
    "with tracks in sampling": ("sampling=tracklets",),
    "with a weight decay of 0.05": ("weight_decay=0.05",),
    "with 8 frames at a time": ("micro_batch=8",),
    "with a memory": ("memory_size=256",),
    "with averaged weights": ("average_decay=0.99",),
    "without color jitter": ("color_jitter=0",),
    "without random erasing": ("erasing=0",),
}


def methods() -> tuple[Method, ...]:
    """Return strong, its variants, and poster."""
    strong = ("--recipe", "strong")
    variants = (
        Method(name, (*strong, *(word for setting in settings for word in ("--set", setting))))
        for name, settings in (SET_BACK | OTHERS).items()
    )
    return Method(WHOLE, strong), *variants, Method("poster", ("--recipe", "poster"))


def main() -> None:
    """Run the trials that are missing, then print the tables."""
    compare(Path(__file__), __doc__, methods(), as_markdown)


def as_markdown(trials: Trials) -> str:
    """Return the tables of scores and of differences to the whole recipe."""
    return "\n".join([score_table(trials, ("mAP", "R-1")), difference_table(trials, WHOLE)])


if __name__ == "__main__":
    main()
