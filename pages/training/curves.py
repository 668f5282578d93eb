"""Learning curves: what was measured in every epoch, as lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reid.pages.charts import Area, Axes, chart, hover, legend, series, ticks

__all__ = ["draw_curves"]

_FROM_ZERO = 0.4  # fraction of the highest value; if the lowest one is below it, the axis begins at 0


def draw_curves(title: str, rows: Sequence[Mapping[str, Any]], paths: Mapping[str, Sequence[str]], *, best: int) -> str:
    """Draw values over the epochs.

    Args:
        title: title of the chart.
        rows: rows of metrics.jsonl.
        paths: the keys under which a row has a line's value, by the line's name; a row may lack them.
        best: the epoch whose weights were kept.

    Returns:
        A <figure>; empty if no row has any of the values.
    """
    lines = {name: _line(rows, keys) for name, keys in paths.items()}
    lines = {name: line for name, line in lines.items() if line}
    if not lines:
        return ""
    area, across, up = _area([point for line in lines.values() for point in line.items()])
    content = legend(list(lines)) + _best_epoch(area, best)
    content += "".join(_draw_line(number, line, area) for number, line in enumerate(lines.values()))
    content += "".join(_hover_text(area, epoch, lines) for epoch in sorted(set().union(*lines.values())))
    return chart(title, _description(lines), area, content, Axes(across, up, "epoch"))


def _line(rows: Iterable[Mapping[str, Any]], keys: Sequence[str]) -> dict[int, float]:
    """Return a value by epoch."""
    found: dict[int, float] = {}
    for row in rows:
        value: Any = row
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            found[int(row["epoch"])] = float(value)
    return found


def _area(points: Sequence[tuple[int, float]]) -> tuple[Area, list[float], list[float]]:
    epochs, values = zip(*points, strict=True)
    low, high = min(values), max(values)
    up = ticks(0.0 if 0 <= low < _FROM_ZERO * high else low, high)
    first, last = min(epochs), max(epochs)
    across = [tick for tick in ticks(first, last, whole=True) if first <= tick <= last]
    return Area(first - 0.5, last + 0.5, up[0], up[-1]), across, up


def _draw_line(number: int, line: Mapping[int, float], area: Area) -> str:
    """Draw a line, with a gap where epochs lack the value and a dot at the end."""
    places = "".join(
        f"{'L' if epoch - 1 in line else 'M'}{area.x(epoch):.1f} {area.y(value):.1f}" for epoch, value in line.items()
    )
    last, value = list(line.items())[-1]
    end = f'<circle cx="{area.x(last):.1f}" cy="{area.y(value):.1f}" r="2.5"/>'
    return f'<g class="{series(number)}"><path class="line" d="{places}"/>{end}</g>\n'


def _best_epoch(area: Area, best: int) -> str:
    x = area.x(best)
    return f'<path class="limit" d="M{x:.1f} {area.y(area.top):.1f}V{area.y(area.bottom):.1f}"/>\n'


def _hover_text(area: Area, epoch: int, lines: Mapping[str, Mapping[int, float]]) -> str:
    values = "".join(f"\n{name} {line[epoch]:.4g}" for name, line in lines.items() if epoch in line)
    return hover(area, epoch - 0.5, epoch + 0.5, f"epoch {epoch}{values}")


def _description(lines: Mapping[str, Mapping[int, float]]) -> str:
    def describe(name: str, line: Mapping[int, float]) -> str:
        values = list(line.values())
        return f"{name}: {values[0]:.4g} at first, {values[-1]:.4g} at last, {min(values):.4g} to {max(values):.4g}"

    return "; ".join(describe(*entry) for entry in lines.items())
