"""What the machine's peaks permit, beside what was measured."""

from __future__ import annotations

from collections.abc import Sequence

from reid.bench.costs.graph import graph_cost
from reid.bench.costs.peaks import measure_peaks
from reid.bench.costs.roofline import attainable_frames_per_s
from reid.bench.meters.turns import computes_on
from reid.bench.models import GivenModel
from reid.bench.recommendation import best_batch
from reid.bench.records import Estimate
from reid.bench.result import BenchResult, SubjectResult
from reid.runtime.errors import ReidError

__all__ = ["with_limits"]


def with_limits(result: BenchResult, models: Sequence[GivenModel]) -> BenchResult:
    """Return a result with what a model's graphs cost, the machine's peaks, and each subject's share of them.

    Measures the peaks of what computes: of the GPU, if any subject ran there. A note says why they are missing; the
    costs stay without them.

    Args:
        result: the result.
        models: the models; the first one with graphs is meant, and the subjects that run it in any form.
    """
    model = next((one for one in models if one.kind != "checkpoint"), models[0])
    forms = [str(one.path) for one in models if one.card.fingerprint == model.card.fingerprint]
    # More threads than there are cores would wait for one another.
    threads = min(result.settings.threads, result.environment.processor.cores)
    on_gpu = any(not _on_cpu(subject) for subject in result.subjects if subject.batches)
    found = result
    try:
        costs = {precision: graph_cost(path) for precision, path in model.graphs().items()}
        found = result.model_copy(update={"costs": costs})
        roofline = measure_peaks("cuda" if on_gpu else "cpu", threads) if costs else None
    except ReidError as error:
        return found.model_copy(update={"notes": (*result.notes, f"roofline: {error}")})
    found = found.model_copy(update={"roofline": roofline})
    subjects = [
        subject.model_copy(update={"roofline_percent": _share(found, subject)})
        if _on_cpu(subject) != on_gpu and subject.model in forms
        else subject
        for subject in result.subjects
    ]
    return found.model_copy(update={"subjects": tuple(subjects)})


def _on_cpu(subject: SubjectResult) -> bool:
    return computes_on(subject.device) == "cpu"


def _share(result: BenchResult, subject: SubjectResult) -> Estimate | None:
    cost = result.costs.get(subject.precision)
    if not subject.batches or cost is None or result.roofline is None:
        return None
    best = best_batch(subject)
    bound = attainable_frames_per_s(cost, result.roofline, best.frames)
    if bound is None:
        return None
    return best.frames_per_s.scaled(100 / bound)
