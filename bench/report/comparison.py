"""A comparison of two results for people: a table, and lines around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from reid.bench.compare import RELEVANT_PERCENT
from reid.bench.comparison import Comparison, Figure, QualityChange, SpeedChange, Verdict
from reid.bench.report.numbers import estimated
from reid.bench.report.sentences import listed
from reid.pages.markup import signed
from reid.runtime.text import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["comparison_lines", "comparison_rows", "comparison_title", "renderables_of"]

_FIGURES: dict[Figure, str] = {"frames_per_s": "frames/s", "p99_ms": "p99, ms"}
_ORDER: tuple[Verdict, ...] = ("slower", "faster", "undecided", "equal")
_SAME_PACE = 1.05
"""The ratio of the machine's own times that is not worth a sentence."""

HEAD = ("subject", "batch", "figure", "before", "after", "change, %", "verdict")


def comparison_title(found: Comparison) -> str:
    """Return the heading: two runs on one machine, or two machines."""
    before, after = found.machines
    return f"Two runs on {before}" if found.same_machine else f"{after} beside {before}"


def comparison_rows(found: Comparison) -> list[tuple[str, ...]]:
    """Return the cells of the table, a figure a row, as `HEAD` names them."""
    return [
        (
            one.subject,
            f"{one.frames}",
            _FIGURES[one.figure],
            estimated(one.before),
            estimated(one.after),
            signed(one.percent, 1),
            one.verdict,
        )
        for one in found.speeds
    ]


def comparison_lines(found: Comparison) -> Iterator[str]:
    """Yield what was found, in sentences: figures, quality, subjects, and what else differs."""
    yield _counts(found.speeds)
    if found.comparisons:
        yield (
            f"A figure changed where its two intervals do not overlap, each widened {found.widened:.2f} times for "
            f"{found.comparisons} comparisons; it is equal where a change of {RELEVANT_PERCENT:g} % is excluded."
        )
    yield from _machine(found)
    yield from _peers(found)
    yield from (_quality(one) for one in found.qualities if one.before != one.after)
    if found.came:
        yield f"Only in the second: {listed(found.came)}."
    for one in found.went:
        yield f"Only in the first: {one.subject}{one.reason and f' ({one.reason})'}."
    for differing in found.differences:
        before, after = differing.before or "nothing", differing.after or "nothing"
        yield f"{differing.fact}: {before} before, {after} after"
    yield _conclusion(found)


def renderables_of(found: Comparison) -> list[RenderableType]:
    """Return the title, the table and the lines for a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for place, name in enumerate(HEAD):
        is_number = 0 < place < len(HEAD) - 1
        table.add_column(name, justify="right" if is_number else "left", no_wrap=place > 0, overflow="fold")
    for row in comparison_rows(found):
        table.add_row(*map(one_line, row))
    lines = [one_line(line) for line in comparison_lines(found)]
    return [one_line(comparison_title(found)), *([table] if found.speeds else []), *lines]


def _counts(speeds: Sequence[SpeedChange]) -> str:
    if not speeds:
        return "The two have no subject with the same batch size in common."
    counts = Counter(one.verdict for one in speeds)
    said = listed([f"{counts[verdict]} {verdict}" for verdict in _ORDER if counts[verdict]])
    return f"Of {len(speeds)} figures: {said}."


def _machine(found: Comparison) -> Iterator[str]:
    if found.pace is not None and not 1 / _SAME_PACE < found.pace < _SAME_PACE:
        times, word = (found.pace, "more") if found.pace > 1 else (1 / found.pace, "less")
        yield (
            f"The machine itself took {times:.2f} times {word} for what never changes: "
            "a figure counts as changed only if that does not explain it."
        )


def _peers(found: Comparison) -> Iterator[str]:
    """Yield the peers that changed: no code of ours is in them."""
    changed = {one.subject: one.verdict for one in found.speeds if one.kind == "peer" and one.verdict in _ORDER[:2]}
    if changed and found.same_machine:
        said = listed([f"{name} is {verdict}" for name, verdict in changed.items()])
        yield f"{said}: no code of ours is in it, so the machine or its libraries changed as well."


def _quality(one: QualityChange) -> str:
    if one.measure == "least_similarity":
        said = f"least similarity {one.before:.4f} before, {one.after:.4f} after"
        return f"{one.subject}: {said}{': its answers are wrong' if one.regressed else ''}."
    said = f"mAP ({one.measure.upper()}) {one.before:.2f} % before, {one.after:.2f} % after"
    change = f"{signed(one.after - one.before)} points"
    return f"{one.subject}: {said} ({change}{', more than is tolerated' if one.regressed else ''})."


def _conclusion(found: Comparison) -> str:
    if not found.same_machine:
        return "Two machines: neither is a regression of the other."
    if not found.same_task:
        return "Two tasks: threads or the model's form differ, so nothing is called a regression."
    return "Regressed." if found.regressed else "No regression."
