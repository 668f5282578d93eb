"""The scores of all test sets of a data set: VehicleID and VERI-Wild define three each."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from reid.data.dataset import Dataset, Split, TestSet
from reid.data.draws import draw_gallery
from reid.evaluation.evaluate import note_protocols, score_protocols, warn_of_unanswerable, warn_of_unreadable
from reid.evaluation.metrics import METRICS
from reid.evaluation.operating_points.estimates import operating_points_of
from reid.evaluation.protocols import (
    EmbeddedData,
    Protocol,
    embed_data,
    evaluate_protocol,
    find_protocols,
    protocols_of,
)
from reid.evaluation.same_camera import OwnView, SameCamera, own_view_of, same_camera_of
from reid.runtime.errors import DataError
from reid.runtime.galleries.post_processing import PLAIN, PostProcessing
from reid.runtime.operating_point import OperatingPoint, unsupported_sentence
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.session import Session

__all__ = ["ScoredTestSet", "Scoring", "choose_test_sets", "embed_test_sets", "evaluate_test_sets", "score_test_sets"]


Summary: TypeAlias = Mapping[str, Any]
"""What `Metrics.summary` returns; over draws with "std", each metric's standard deviation."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """How to score.

    Attributes:
        protocols: the protocols that were asked for; None for those that the data has entries for.
        post_processing: what is done before the ranking; the plain ranking is scored beside it.
        same_camera: what was asked for; None for "drop" where cameras can tell a right answer.
    """

    protocols: tuple[Protocol, ...] | None = None
    post_processing: PostProcessing = PLAIN
    same_camera: SameCamera | None = None

    @property
    def steps(self) -> tuple[PostProcessing, ...]:
        """What is scored: plain rankings, and then those of the post-processing, if there is one."""
        return tuple(dict.fromkeys((PLAIN, self.post_processing)))


@dataclass(frozen=True, slots=True)
class ScoredTestSet:
    """The scores of a test set.

    Attributes:
        name: the name of the test set; empty for the queries and gallery of a data set that defines one test alone.
        own_view: what of the query's vehicle was left out of its ranking.
        draws: the number of draws that the scores are means over; 0 where the gallery is not drawn.
        scores: the name of a post-processing, "plain" first -> the name of a protocol -> its metrics in percent and the
            numbers behind them; over draws also "std", each metric's sample standard deviation.
        operating_points: the name of a post-processing -> the name of a protocol -> its operating points. There are
            none of re-ranked distances, whose scale depends on the gallery, and of drawn galleries.
    """

    name: str
    own_view: OwnView
    draws: int
    scores: Mapping[str, Mapping[str, Summary]]
    operating_points: Mapping[str, Mapping[str, tuple[OperatingPoint, ...]]] = field(default_factory=dict)

    @property
    def protocols(self) -> Mapping[str, Summary]:
        """The scores of the post-processing that was asked for; plain ones without any."""
        return self.scores[self.post_processing]

    @property
    def post_processing(self) -> str:
        """The name of the post-processing that was asked for."""
        return [*self.scores][-1]

    def facts(self) -> dict[str, Any]:
        """Return everything but the name, for JSON; "plain" stands beside the scores of a post-processing."""
        return {
            "protocols": self._with_points(self.post_processing),
            "post_processing": self.post_processing,
            **({PLAIN.name: self._with_points(PLAIN.name)} if len(self.scores) > 1 else {}),
            "same_camera": same_camera_of(self.own_view),
            "left_out": self.own_view,
            "draws": self.draws,
        }

    def _with_points(self, step: str) -> dict[str, Summary]:
        points = self.operating_points.get(step, {})
        return {
            name: {**summary, "operating_points": [_point_facts(point) for point in points.get(name, ())]}
            for name, summary in self.scores[step].items()
        }


def _point_facts(point: OperatingPoint) -> dict[str, Any]:
    """Return a point for JSON, with the reason where the data is too small for it."""
    facts = point.model_dump(mode="json")
    return facts if point.threshold is not None else {**facts, "reason": unsupported_sentence(point)}


def choose_test_sets(dataset: Dataset, name: str | None = None) -> tuple[TestSet, ...]:
    """Return a data set's test sets; of one that defines a single test, its queries and gallery as a set without name.

    Args:
        dataset: the data set.
        name: the name of the only one to return.

    Raises:
        DataError: there is no test set of this name.
    """
    test_sets = dataset.test_sets or (TestSet("", dataset.query, dataset.gallery),)
    if name is None:
        return test_sets
    if found := tuple(one for one in test_sets if one.name == name and name):
        return found
    if not dataset.test_sets:
        raise DataError(f"{dataset.root} has no test sets to choose {name!r} from; leave out --test-set")
    raise DataError(f"unknown test set {name!r}; choose one of: {', '.join(one.name for one in test_sets)}")


def evaluate_test_sets(
    session: Session, dataset: Dataset, scoring: Scoring = Scoring(), *, progress: Progress = SILENT
) -> tuple[ScoredTestSet, ...]:
    """Embed and score all test sets of a data set; see embed_test_sets and score_test_sets."""
    test_sets = choose_test_sets(dataset)
    embedded = embed_test_sets(session, test_sets, scoring, progress=progress)
    return score_test_sets(embedded, dataset, test_sets, scoring)


def embed_test_sets(
    session: Session, test_sets: Sequence[TestSet], scoring: Scoring, *, progress: Progress = SILENT
) -> EmbeddedData:
    """Embed the images and tracklets of all test sets together, each frame once.

    Raises:
        DataError: a test set has no entries for a protocol that was asked for; found before the work.
    """
    found = [protocol for test_set in test_sets for protocol in _protocols(test_set, scoring)]
    if found and scoring.protocols is None:
        note_protocols(found)
    query, gallery = _joined([one.query for one in test_sets]), _joined([one.gallery for one in test_sets])
    return embed_data(session, query, gallery, view="camera", progress=progress)


def _joined(splits: Sequence[Split]) -> Split:
    images = itertools.chain.from_iterable(split.images for split in splits)
    return Split(tuple(images), tuple(itertools.chain.from_iterable(split.tracklets for split in splits)))


def score_test_sets(
    embedded: EmbeddedData, dataset: Dataset, test_sets: Sequence[TestSet], scoring: Scoring
) -> tuple[ScoredTestSet, ...]:
    """Score test sets; whatever is left out of the metrics is logged as a warning.

    Args:
        embedded: the result of embed_test_sets.
        dataset: the data set that they are of.
        test_sets: the test sets.
        scoring: how to score.

    Raises:
        DataError: nothing in a test set can be scored.
    """
    scores = tuple(_score(embedded, dataset, one, scoring) for one in test_sets)
    warn_of_unreadable(embedded.unreadable, embedded.queries_left_out)
    return scores


def _protocols(test_set: TestSet, scoring: Scoring) -> tuple[Protocol, ...]:
    # A drawn gallery consists of images.
    gallery = Split(test_set.gallery.images) if test_set.draws else test_set.gallery
    return protocols_of(test_set.query, gallery, scoring.protocols)


def _score(embedded: EmbeddedData, dataset: Dataset, test_set: TestSet, scoring: Scoring) -> ScoredTestSet:
    view, protocols = own_view_of(dataset, scoring.same_camera, test_set), _protocols(test_set, scoring)
    where = f"test set {test_set.name}, " if test_set.name else ""
    if not test_set.draws:
        data = embedded.restricted(test_set.query, test_set.gallery, view)
        scores = _scores(data, protocols, scoring, where)
        return ScoredTestSet(test_set.name, view, 0, scores, _operating_points(data, scoring, [*scores[PLAIN.name]]))
    parts = (embedded.restricted(*draw_gallery(test_set, number), view) for number in range(test_set.draws))
    drawn = [[_summaries(data, protocols, step) for step in scoring.steps] for data in parts]
    scores = {step.name: _over_draws(found) for step, *found in zip(scoring.steps, *drawn, strict=True)}
    for name, summary in scores[PLAIN.name].items():
        warn_of_unanswerable(f"{where}{name}", summary["unanswerable"])
    return ScoredTestSet(test_set.name, view, test_set.draws, scores)


def _scores(
    data: EmbeddedData, protocols: Sequence[Protocol], scoring: Scoring, where: str
) -> dict[str, dict[str, Summary]]:
    """Score by every step; what cannot be scored, or has no right answer, is the same for all and is told once."""
    scored = score_protocols(data, protocols, where=where)
    scores: dict[str, dict[str, Summary]] = {PLAIN.name: {name: found.summary() for name, found in scored.items()}}
    for step in scoring.steps:
        if step != PLAIN:
            scores[step.name] = _summaries(data, find_protocols([*scored]), step)
    return scores


def _operating_points(
    data: EmbeddedData, scoring: Scoring, scored: Sequence[str]
) -> dict[str, dict[str, tuple[OperatingPoint, ...]]]:
    return {
        step.name: {
            protocol.name: operating_points_of(data, protocol, expand_queries=step.expand_queries)
            for protocol in find_protocols(scored)
        }
        for step in scoring.steps
        if not step.rerank
    }


def _summaries(data: EmbeddedData, protocols: Sequence[Protocol], step: PostProcessing) -> dict[str, Summary]:
    return {protocol.name: evaluate_protocol(data, protocol, step).summary() for protocol in protocols}


def _over_draws(drawn: Sequence[Mapping[str, Summary]]) -> dict[str, Summary]:
    """Return, for each protocol, the means over draws of its summaries."""
    return {name: _mean_and_spread([summaries[name] for summaries in drawn]) for name in drawn[0]}


def _mean_and_spread(summaries: Sequence[Summary]) -> Summary:
    """Return means and spread over draws; the numbers behind them are those of the draw that counts fewest queries."""
    values = {name: [float(one[name]) for one in summaries] for name in METRICS}
    numbers = min(summaries, key=lambda one: one["queries"])
    spread = {name: statistics.stdev(found) if len(found) > 1 else 0.0 for name, found in values.items()}
    return {**numbers, **{name: statistics.fmean(found) for name, found in values.items()}, "std": spread}
