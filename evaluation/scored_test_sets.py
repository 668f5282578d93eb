"""The scores of all test sets of a data set: VehicleID and VERI-Wild define three each."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reid.data.dataset import Dataset, Split, TestSet
from reid.data.draws import draw_gallery
from reid.evaluation.evaluate import note_protocols, score_protocols, warn_of_unanswerable, warn_of_unreadable
from reid.evaluation.metrics import METRICS
from reid.evaluation.protocols import EmbeddedData, Protocol, embed_data, evaluate_protocol, protocols_of
from reid.evaluation.same_camera import OwnView, SameCamera, own_view_of, same_camera_of
from reid.runtime.errors import DataError
from reid.runtime.progress import SILENT, Progress
from reid.runtime.sessions.session import Session

__all__ = ["ScoredTestSet", "Scoring", "choose_test_sets", "embed_test_sets", "evaluate_test_sets", "score_test_sets"]


@dataclass(frozen=True, slots=True)
class Scoring:
    """How to score.

    Attributes:
        protocols: the protocols that were asked for; None for those that the data has entries for.
        rerank: whether to use k-reciprocal re-ranking.
        same_camera: what was asked for; None for "drop" where cameras can tell a right answer.
    """

    protocols: tuple[Protocol, ...] | None = None
    rerank: bool = False
    same_camera: SameCamera | None = None


@dataclass(frozen=True, slots=True)
class ScoredTestSet:
    """The scores of a test set.

    Attributes:
        name: the name of the test set; empty for the queries and gallery of a data set that defines one test alone.
        own_view: what of the query's vehicle was left out of its ranking.
        draws: the number of draws that the scores are means over; 0 where the gallery is not drawn.
        protocols: the name of a protocol -> its metrics in percent and the numbers behind them; over draws also "std",
            each metric's sample standard deviation.
    """

    name: str
    own_view: OwnView
    draws: int
    protocols: Mapping[str, Mapping[str, Any]]

    def facts(self) -> dict[str, Any]:
        """Return everything but the name, for JSON."""
        rule = same_camera_of(self.own_view)
        return {"protocols": dict(self.protocols), "same_camera": rule, "left_out": self.own_view, "draws": self.draws}


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
        metrics = score_protocols(data, protocols, rerank=scoring.rerank, where=where)
        return ScoredTestSet(test_set.name, view, 0, {name: found.summary() for name, found in metrics.items()})
    drawn: dict[str, list[dict[str, float | int]]] = {protocol.name: [] for protocol in protocols}
    for number in range(test_set.draws):
        data = embedded.restricted(*draw_gallery(test_set, number), view)
        for protocol in protocols:
            drawn[protocol.name].append(evaluate_protocol(data, protocol, rerank=scoring.rerank).summary())
    summaries = {name: _over_draws(found) for name, found in drawn.items()}
    for name, summary in summaries.items():
        warn_of_unanswerable(f"{where}{name}", summary["unanswerable"])
    return ScoredTestSet(test_set.name, view, test_set.draws, summaries)


def _over_draws(summaries: Sequence[Mapping[str, float | int]]) -> dict[str, Any]:
    """Return means and spread over draws; the numbers behind them are those of the draw that counts fewest queries."""
    values = {name: [float(one[name]) for one in summaries] for name in METRICS}
    numbers = min(summaries, key=lambda one: one["queries"])
    spread = {name: statistics.stdev(found) if len(found) > 1 else 0.0 for name, found in values.items()}
    return {**numbers, **{name: statistics.fmean(found) for name, found in values.items()}, "std": spread}
