"""The page of a training run: one HTML file, no script, no outside request."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from reid.evaluation.metrics import METRICS
from reid.evaluation.protocols import EmbeddedData
from reid.evaluation.same_camera import OwnView, elsewhere, same_camera_title
from reid.evaluation.worst_queries import WorstQuery, worst_queries
from reid.pages.base import CHARTS, SECTIONS, Pictures, head, mark, terms
from reid.pages.markup import number, scrolling, section
from reid.pages.tracklet_cards import match_card, query_card
from reid.pages.training.curves import draw_curves
from reid.pages.training.histograms import draw_norms, draw_pairs
from reid.pages.training.run import TrainedRun
from reid.runtime.galleries.entry import Entry
from reid.runtime.galleries.ranked_lists import Verdict
from reid.runtime.tracklet import Tracklet

__all__ = ["draw_page"]

_STYLE = Path(__file__).with_name("training.css")
_QUERIES, _MATCHES = 12, 9
_NOTHING_HELD_OUT = """<p class="note">No vehicles were held out: nothing here says how good the model is, and its
weights are those of the last epoch.</p>
"""


def draw_page(run: TrainedRun) -> str:
    """Return the page: how good the model is, how it got there, and where it still fails."""
    content = _summary(run) + _curves(run)
    if run.data is not None:
        content += _distances(run, run.data.own_view) + _norms(run) + _worst(run, run.data)
    return f"{head(run.name, SECTIONS, CHARTS, _STYLE)}\n{_bar(run)}<main>\n{content}</main>\n</body>\n</html>\n"


def _bar(run: TrainedRun) -> str:
    """Return the bar that stays on top."""
    if run.data is None:
        words = f"<b>no held-out vehicles</b> <i>epoch {run.best_epoch} of {len(run.rows)}, the last one</i>"
        return f'<header>\n<h1>{escape(run.name)}</h1>\n<p class="badge">{words}</p>\n</header>\n'
    score = f"{run.metrics['i2i'].summary()['mAP']:.2f}"
    words = f"held-out mAP <b>{score}</b> <i>at epoch {run.best_epoch} of {len(run.rows)}</i>"
    return f'<header>\n<h1>{escape(run.name)}</h1>\n<p class="badge">{words}</p>\n</header>\n'


# Summary


def _summary(run: TrainedRun) -> str:
    training, data = run.card.training, run.card.training.data
    facts = {
        "model": run.card.fingerprint[:12],
        "backbone": run.card.backbone,
        "data": f"{data.layout}, {data.images:,} images, {data.fingerprint[:12]}" if data else "unknown",
        **_held_out(run, run.data),
        **{package: training.versions.get(package, "unknown") for package in ("reid", "torch")},
    }
    command = f"<p><code>{escape(training.command or '')}</code></p>"
    measured = f"{_unreadable(run.data.unreadable)}{_scores(run, run.data.own_view)}" if run.data else _NOTHING_HELD_OUT
    return section("Summary", f"{terms(facts)}\n{command}\n{measured}{_settings(run)}")


def _held_out(run: TrainedRun, held_out: EmbeddedData | None) -> dict[str, str]:
    if held_out is None:
        return {"held out": "nothing"}
    data = run.card.training.data
    by = f" by {data.held_out_by}" if data and data.held_out_by else ""
    vehicles = len(data.held_out_vehicles) if data else 0
    return {
        "held out": f"{vehicles:,} vehicles{by}, {len(held_out.gallery.images):,} images",
        "evaluated with": run.device,
    }


def _unreadable(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f'<p class="note">{len(names):,} held-out images could not be read: {escape("; ".join(names[:3]))}</p>\n'


def _scores(run: TrainedRun, view: OwnView) -> str:
    scores = {name: metrics.summary() for name, metrics in run.metrics.items()}
    heads = "".join(f'<th scope="col">{name}</th>' for name in (*METRICS, "queries", "gallery"))
    rows = "".join(
        f'<tr><th scope="row">{escape(name.upper())}</th>'
        + "".join(f"<td>{number(float(values[metric]))}</td>" for metric in METRICS)
        + f"<td>{values['queries']:,}</td><td>{values['gallery']:,}</td></tr>\n"
        for name, values in scores.items()
    )
    table = f"<table>\n<thead><tr><td></td>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>"
    title = f"On held-out vehicles, in percent; {same_camera_title(view)}"
    return f"<h3>{title}</h3>\n{scrolling(table)}\n"


def _settings(run: TrainedRun) -> str:
    """Return the settings that are not the poster's."""
    if not run.settings:
        return "<p>All settings are those of the recipe <code>poster</code>.</p>"
    rows = "".join(
        f'<tr><th scope="row"><code>{setting.name}</code></th><td>{escape(_value(setting.here))}</td>'
        f"<td><i>{escape(_value(setting.poster))}</i></td></tr>\n"
        for setting in run.settings
    )
    heads = '<th scope="col">setting</th><th scope="col">here</th><th scope="col">poster</th>'
    table = f'<table class="fields">\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>'
    return f"<h3>Settings that differ from the recipe poster</h3>\n{scrolling(table)}"


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "\N{EN DASH}"
    return str(value).lower() if isinstance(value, bool) else str(value)


# Curves


def _curves(run: TrainedRun) -> str:
    levels = [level.name for level in run.card.levels]
    lines: dict[str, dict[str, tuple[str, ...]]] = {
        "Loss": {"all levels": ("train", "loss")},
        f"Metric loss ({run.losses[0]})": {level: ("train", f"{level}/metric") for level in levels},
        f"Identity loss ({run.losses[1]})": {level: ("train", f"{level}/identity") for level in levels},
        "Held-out mAP, %": {name.upper(): ("held_out", name, "mAP") for name in run.metrics},
        "Held-out R-1, %": {name.upper(): ("held_out", name, "R-1") for name in run.metrics},
        "Held-out retrieval loss": {"I2I": ("held_out", "i2i", "retrieval_loss")},
        "AUC of held-out pairs": {pairs.level: ("pairs_auc", pairs.level) for pairs in run.pairs},
        "Norm of held-out features": {level: ("norm", level) for level in levels},
        "Norm of the gradient, mean of the epoch": {"before clipping": ("train", "gradient_norm")},
        "Learning rate, at the epoch's end": {"of the backbone": ("lr",)},
        "Images/s": {
            "overall": ("images_per_second",),
            "loader": ("loader_images_per_second",),
            "steps alone": ("step_images_per_second",),
        },
    }
    charts = "".join(draw_curves(title, run.rows, paths, best=run.best_epoch) for title, paths in lines.items())
    why = ", the last one" if run.data is None else ""
    guide = f"One point per epoch; the dashed line is epoch {run.best_epoch}{why}, whose weights were kept."
    content = f'<p class="guide">{guide}</p>\n<div class="charts">\n{charts}</div>\n{_numbers(run)}'
    return section("Learning curves", content)


def _numbers(run: TrainedRun) -> str:
    names = [name.upper() for name in run.metrics]
    columns = ["epoch", "loss", "learning rate", *(f"{name} mAP" for name in names), "images/s"]
    heads = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    rows = "".join(
        f'<tr><th scope="row">{row["epoch"]}</th><td>{row["train"]["loss"]:.4f}</td><td>{row["lr"]:.3g}</td>'
        + "".join(f"<td>{number(row['held_out'][name]['mAP'])}</td>" for name in run.metrics)
        + f"<td>{row['images_per_second']:,.0f}</td></tr>\n"
        for row in run.rows
    )
    table = f"<table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>"
    return f"<details>\n<summary>The numbers of every epoch</summary>\n{scrolling(table)}\n</details>"


# Distances and norms


def _distances(run: TrainedRun, view: OwnView) -> str:
    boundaries = run.boundaries
    wanted = (
        f" Dashed: the loss wants positive pairs within {boundaries[0]:g} and negative ones beyond {boundaries[1]:g}."
        if boundaries
        else ""
    )
    guide = f"""Euclidean distances from every query image to every gallery image, in percent of the pairs of each kind:
the same vehicle {elsewhere(view)}, and other vehicles. AUC is the probability that, of one pair of each kind, that of
the same vehicle is the closer one; 50 % is chance.{wanted}"""
    charts = draw_pairs(run.pairs, boundaries)
    return section("Distances of held-out pairs", f'<p class="guide">{guide}</p>\n<div class="charts">\n{charts}</div>')


def _norms(run: TrainedRun) -> str:
    guide = "Norms of the features just before L2 normalization, mean and standard deviation over all held-out frames."
    charts = "".join(draw_norms(level, lengths) for level, lengths in run.norms.items())
    return section("Norms of held-out features", f'<p class="guide">{guide}</p>\n<div class="charts">\n{charts}</div>')


# Worst queries


def _worst(run: TrainedRun, data: EmbeddedData) -> str:
    pictures = Pictures()
    found = worst_queries(data, run.metrics["i2i"], count=_QUERIES, matches=_MATCHES)
    rows = "".join(_query(rank, query, pictures) for rank, query in enumerate(found, start=1))
    right, wrong = (f'<span class="{name}">{mark(name)}</span>' for name in ("right", "wrong"))
    guide = f"""The query images with the lowest average precision (AP), image to image, and their first matches:
{right} the same vehicle {elsewhere(data.own_view)}, {wrong} another vehicle. The cosine similarity is beside the rank.
If none of these matches is right, the closest right one comes last."""
    return section("Worst queries", f'<p class="guide">{guide}</p>\n{rows}')


def _query(place: int, found: WorstQuery, pictures: Pictures) -> str:
    query, matches = found.ranking.query, found.ranking.matches
    cards = "".join(
        match_card(rank, match, _verdict(query, match.entry), pictures) for rank, match in enumerate(matches, start=1)
    )
    if found.first_right_rank > len(matches):
        later = match_card(found.first_right_rank, found.first_right, Verdict.RIGHT, pictures)
        cards += later.replace('class="card', 'class="later card', 1)
    subject = query_card(f"query {place}", query, pictures, score=f"AP {found.average_precision:.1f}")
    return f'<article class="query" aria-label="query {place}">\n{subject}<ol>\n{cards}</ol>\n</article>\n'


def _verdict(query: Tracklet, match: Entry) -> Verdict:
    """Judge a match among those that are ranked, none of which is of the query's own view."""
    if query.vehicle is None or match.vehicle is None:
        return Verdict.UNKNOWN
    return Verdict.RIGHT if query.vehicle == match.vehicle else Verdict.WRONG
