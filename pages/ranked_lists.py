"""The page that shows every query next to its ranked matches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from reid.pages.base import Pictures, head, terms
from reid.pages.tracklet_cards import match_card, query_card, verdict_mark
from reid.runtime.galleries.post_processing import PLAIN
from reid.runtime.galleries.ranked_lists import Ranking, Verdict, verdict

__all__ = ["write_report"]

_STYLE = Path(__file__).with_name("ranked_lists.css")

_THRESHOLD = """ Matches behind the line do not reach the threshold of the operating point; of the pairs of different
vehicles that the model was verified on, the stated share did."""


def write_report(
    path: Path,
    rankings: Sequence[Ranking],
    *,
    title: str,
    facts: Mapping[str, str],
    unreadable: Sequence[str],
    score: str = PLAIN.score_meaning,
    limit: int = 200,
) -> None:
    """Write a page with the first `limit` rankings; right and wrong matches are marked if identities are known.

    Args:
        path: the .html file to write, in an existing folder.
        rankings: all rankings; the share of right first matches also counts those beyond `limit`.
        title: the page's heading.
        facts: names and values to show under the heading, such as model, session and number of queries.
        unreadable: the names of the images that could not be read.
        score: what the number next to a match's rank is.
        limit: the largest number of queries to show.
    """
    shown = rankings[:limit]
    pictures = Pictures()
    # A file name that is not valid UTF-8 is shown with escapes instead of failing the page.
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(head(title, _STYLE))
        file.write(_bar(title, rankings, shown))
        guide = _guide(score, _is_judged(rankings), any(one.is_new_vehicle is not None for one in rankings))
        file.write(_introduction(facts, unreadable, guide, len(shown), len(rankings)))
        file.write("<main>\n")
        for number, ranking in enumerate(shown, start=1):
            file.write(_row(number, ranking, pictures))
        file.write("</main>\n</body>\n</html>\n")


def _bar(title: str, rankings: Sequence[Ranking], shown: Sequence[Ranking]) -> str:
    """Return the bar that stays on top: the title and, if identities are known, the score and the filter."""
    content = f"<h1>{escape(title)}</h1>\n"
    if _is_judged(rankings):
        missed = sum(ranking.first_verdict is Verdict.WRONG for ranking in shown)
        content += f"{_share(rankings)}\n{_filter(len(shown), missed)}\n"
    return f"<header>\n{content}</header>\n"


def _is_judged(rankings: Sequence[Ranking]) -> bool:
    return any(ranking.first_verdict is not Verdict.UNKNOWN for ranking in rankings)


def _share(rankings: Sequence[Ranking]) -> str:
    verdicts = [ranking.first_verdict for ranking in rankings]
    right = verdicts.count(Verdict.RIGHT)
    judged = right + verdicts.count(Verdict.WRONG)
    rest = len(rankings) - judged  # the page does not know what they would have found further down
    undecided = f", {rest} undecided: vehicle unknown, or no match from another camera shown" if rest else ""
    return f'<p class="share"><b>{right / judged:.1%}</b> first match right <i>{right} of {judged}{undecided}</i></p>'


def _filter(queries: int, missed: int) -> str:
    radio = '<input type="radio" name="show" autocomplete="off"'
    disabled = "" if missed else " disabled"
    return f"""<fieldset>
<legend>Show</legend>
<label>{radio} checked>all <i>{queries}</i></label>
<label>{radio} id="show-missed"{disabled}>first match wrong <i>{missed}</i></label>
</fieldset>"""


def _introduction(facts: Mapping[str, str], unreadable: Sequence[str], guide: str, shown: int, total: int) -> str:
    limit = f'<p class="note">Showing the first {shown} of {total} queries.</p>\n' if shown < total else ""
    return f"""<section class="introduction">
{terms(facts)}
<p class="guide">{guide}</p>
{limit}{_unreadable(unreadable)}</section>
"""


def _guide(score: str, judged: bool, decided: bool) -> str:
    return f"""Each row shows a query and, from left to right, its matches, the most similar first.
The number next to the rank is the {score}.{_THRESHOLD if decided else ""}{_legend() if judged else ""}"""


def _legend() -> str:
    explained = {
        Verdict.RIGHT: "the same vehicle",
        Verdict.WRONG: "another vehicle",
        Verdict.SAME_CAMERA: "the same vehicle in the query's own camera, which evaluation ignores",
    }
    entries = (f'<span class="{v.value}">{verdict_mark(v)}</span> {text}' for v, text in explained.items())
    return f"<br>{', '.join(entries)}."


def _unreadable(names: Sequence[str]) -> str:
    if not names:
        return ""
    heading = f"{len(names)} image{'s' * (len(names) > 1)} could not be read"
    items = "".join(f"<li>{escape(name)}</li>\n" for name in names)
    return f'<details class="note">\n<summary>{heading}</summary>\n<ul>\n{items}</ul>\n</details>\n'


def _row(number: int, ranking: Ranking, pictures: Pictures) -> str:
    missed = " missed" if ranking.first_verdict is Verdict.WRONG else ""
    subject = query_card(f"query {number}", ranking.query, pictures)
    cards = [
        match_card(rank, match, verdict(ranking.query, match.entry), pictures)
        for rank, match in enumerate(ranking.matches, start=1)
    ]
    if (decided := [match.same for match in ranking.matches]) and False in decided:
        cards.insert(decided.index(False), _line(ranking))
    matches = f"<ol>\n{''.join(cards)}</ol>" if cards else '<p class="none">no matches</p>'
    return f'<article class="query{missed}" aria-label="query {number}">\n{subject}{matches}\n</article>\n'


def _line(ranking: Ranking) -> str:
    """Return the line before the first match that does not reach the threshold."""
    words = "no match: a new vehicle" if ranking.is_new_vehicle else "below the threshold"
    return f'<li class="threshold"><span>{words}</span></li>\n'
