"""The page of a result: what to take first, then what that rests on, down to every turn."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

from reid.bench.facts import flat_facts
from reid.bench.recommendation import Choice, choose
from reid.bench.report.bars import energy_bars, memory_bars, stage_bars, start_bars
from reid.bench.report.lines import Point, draw_by_batch
from reid.bench.report.numbers import estimated, figure
from reid.bench.report.roofline import draw_roofline
from reid.bench.report.sentences import advice, command, quality_name
from reid.bench.report.strips import draw_strips
from reid.bench.report.table import notes, result_table
from reid.bench.report.tradeoff import draw_tradeoff
from reid.bench.result import BatchResult, BenchResult, Scenario, SubjectResult
from reid.pages.base import CHARTS, SECTIONS, head, terms
from reid.pages.charts import series
from reid.pages.markup import scrolling, section

__all__ = ["draw_page"]

_STYLE = Path(__file__).with_name("page.css")


def draw_page(result: BenchResult, title: str) -> str:
    """Return the page as HTML, without scripts or outside requests.

    Args:
        result: the result, from which every number on the page comes.
        title: the heading of the page.
    """
    choice = choose(result)
    measured = [subject for subject in result.subjects if subject.batches]
    kinds = {subject.name: series(number) for number, subject in enumerate(measured)}
    parts = (
        _recommendation(result, choice),
        _table(result, choice),
        _tradeoff(choice, kinds),
        _by_batch(measured, kinds),
        _scenarios(measured),
        _efficiency(result, measured, kinds),
        _start(measured),
        _stages(measured),
        _turns(measured),
        _facts(result),
    )
    page = f"{_bar(title, choice)}<main>\n{''.join(parts)}</main>\n</body>\n</html>\n"
    return f"{head(title, SECTIONS, CHARTS, _STYLE)}\n{page}"


def _bar(title: str, choice: Choice) -> str:
    taken = choice.taken
    words = f"take <b>{escape(taken.subject.name)}</b>, batches of {taken.batch.frames}" if taken else "nothing works"
    return f'<header>\n<h1>{escape(title)}</h1>\n<p class="badge">{words}</p>\n</header>\n'


# What to take


def _recommendation(result: BenchResult, choice: Choice) -> str:
    first, *others = (f"<p>{escape(line)}</p>\n" for line in advice(result, choice))
    run = f"<p><code>{escape(command(choice.taken))}</code></p>\n" if choice.taken else ""
    return f'<section class="advice">\n<h2>Recommendation</h2>\n{first}{run}{"".join(others)}</section>\n'


def _table(result: BenchResult, choice: Choice) -> str:
    table = result_table(result, choice)
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.head[1:])
    rows = "".join(
        f'<tr{_taken(row[0], choice)}><th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>\n"
        for row in table.rows
    )
    drawn = scrolling(f"<table>\n<thead><tr><td></td>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>")
    guide = (
        "Throughput, times the peer and energy at each subject's best batch size. After ± and in parentheses is the "
        "99 % interval for what another run of the same command would find."
    )
    below = "".join(f'<p class="note">{escape(line)}</p>\n' for line in notes(result, choice))
    return section("Side by side", f'<p class="guide">{guide}</p>\n{drawn if table.rows else ""}\n{below}')


def _taken(name: str, choice: Choice) -> str:
    return ' class="taken"' if choice.taken and choice.taken.subject.name == name else ""


def _tradeoff(choice: Choice, kinds: Mapping[str, str]) -> str:
    drawn = draw_tradeoff(choice, kinds)
    if not drawn:
        return ""
    unknown = [one.subject.name for one in choice.standings if one.quality is None]
    name = quality_name(choice).removesuffix(", %")
    left_out = f" Not drawn, since their {name} is not known: {', '.join(unknown)}." if unknown else ""
    guide = (
        "Each subject at the smallest batch size that is as fast as its best, within noise, and keeps the latency "
        "limit; the recommended one has a ring. Nothing measured lies beyond the line."
    )
    return section(
        escape(f"Throughput against {name}"),
        f'<p class="guide">{guide}{escape(left_out)}</p>\n<div class="charts">{drawn}</div>',
    )


# By batch size


def _by_batch(measured: list[SubjectResult], kinds: Mapping[str, str]) -> str:
    latency = {one.name: [_latency(batch) for batch in one.batches] for one in measured}
    throughput = {one.name: [_throughput(batch) for batch in one.batches] for one in measured}
    charts = draw_by_batch("Latency of a batch, ms", latency) + draw_by_batch("Throughput, frames/s", throughput)
    if not charts:
        return ""
    guide = (
        "Lines: the median. Latency's upright strokes end at the 99th percentile of all batches, outliers included; "
        "throughput's are its interval."
    )
    return section("Batch size", f'<p class="guide">{guide}</p>\n{_key(kinds)}<div class="charts">\n{charts}</div>')


def _latency(batch: BatchResult) -> Point:
    p50, p99 = batch.latency_ms.p50, batch.latency_ms.p99
    words = f"p50 {estimated(p50)} ms, p99 {estimated(p99)} ms"
    return Point(batch.frames, p50.value, low=p50.value, high=p99.value, words=words)


def _throughput(batch: BatchResult) -> Point:
    rate = batch.frames_per_s
    return Point(batch.frames, rate.value, low=rate.low, high=rate.high, words=f"{estimated(rate)} frames/s")


def _key(kinds: Mapping[str, str]) -> str:
    """Return the names of the subjects with samples of their lines."""
    sample = '<svg class="chart" viewBox="0 0 26 8" aria-hidden="true"><path class="line" d="M0 4h26"/></svg>'
    entries = "".join(f'<li class="{kind}">{sample}{escape(name)}</li>\n' for name, kind in kinds.items())
    return f'<ul class="key">\n{entries}</ul>\n'


# Scenarios


def _scenarios(measured: list[SubjectResult]) -> str:
    rows = "".join(_scenario(subject.name, one) for subject in measured for one in subject.scenarios)
    if not rows:
        return ""
    heads = "".join(
        f'<th scope="col">{name}</th>' for name in ("scenario", "frames/s", "p50, ms", "p90, ms", "p99, ms")
    )
    guide = (
        "MLPerf's scenarios. SingleStream: one frame after another; MultiStream: eight after another eight; Offline: "
        "all at once; Server: frames that arrive by themselves, at the highest rate that keeps the latency limit."
    )
    table = f'<table class="words">\n<thead><tr><td></td>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>'
    return section("Scenarios", f'<p class="guide">{guide}</p>\n{scrolling(table)}')


def _scenario(name: str, one: Scenario) -> str:
    latency = one.latency_ms
    shown = [estimated(each) for each in (latency.p50, latency.p90, latency.p99)] if latency else ["\N{EN DASH}"] * 3
    cells = "".join(f"<td>{cell}</td>" for cell in (one.name, estimated(one.frames_per_s), *shown))
    return f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>\n'


# What it takes


def _efficiency(result: BenchResult, measured: list[SubjectResult], kinds: Mapping[str, str]) -> str:
    roofline, energy = draw_roofline(result, kinds), energy_bars(measured)
    sections = ""
    if roofline:
        guide = (
            "How fast each subject computes, at its best batch size, below what this machine's peaks permit: the slope "
            "is the memory's, the level that of the precision."
        )
        sections += section("Roofline", f'<p class="guide">{guide}</p>\n<div class="charts">{roofline}</div>')
    if energy:
        sections += section("Energy", energy)
    return sections


def _start(measured: list[SubjectResult]) -> str:
    parts = {"Start, from nothing to the first embedding": start_bars(measured), "Memory, peak": memory_bars(measured)}
    content = "".join(f"<div>\n<h3>{name}</h3>\n{bars}\n</div>\n" for name, bars in parts.items() if bars)
    return section("Start and memory", f'<div class="pair">\n{content}</div>') if content else ""


def _stages(measured: list[SubjectResult]) -> str:
    stages = stage_bars(measured)
    if not stages:
        return ""
    guide = "What each stage takes of a frame. Stages run at the same time: the longest one limits the rate."
    return section("From JPEG files to embeddings", f'<p class="guide">{guide}</p>\n{stages}')


# What it rests on


def _turns(measured: list[SubjectResult]) -> str:
    strips = draw_strips(measured)
    if not strips:
        return ""
    guide = (
        "The throughput of every turn, in the order of time, relative to the subject's middle one (the line): a strip "
        "reaches from half of it to 1.3 times. Crosses are disturbed turns."
    )
    return section("Turns", f'<p class="guide">{guide}</p>\n{strips}')


def _facts(result: BenchResult) -> str:
    model, settings = result.model, result.settings
    height, width = model.image_size
    facts = {
        "model": model.fingerprint[:12],
        "backbone": model.backbone,
        "levels": ", ".join(model.levels),
        "frames": f"{height} x {width}",
        "embedding": f"{model.dimensions:,} values",
        "threads": f"{settings.threads}",
        "latency limit": f"{settings.latency_limit_ms:g} ms",
        "a camera sends": f"{settings.camera_frames_per_s:g} crops/s",
        "started": result.started,
        "took": f"{figure(result.seconds)} s",
        **{one.name: f"{one.backend}, {one.device}" for one in result.subjects},
    }
    environment = flat_facts(result.environment)
    folded = f"<details>\n<summary>The machine and its software</summary>\n{terms(environment)}\n</details>"
    run = f"<p><code>{escape(result.command)}</code></p>"
    return section("Facts", f"{terms(facts)}\n{run}\n{folded if environment else ''}")
