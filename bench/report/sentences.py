"""What a result says, in sentences."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence

from reid.bench.recommendation import Choice, Standing
from reid.bench.records import Disturbance
from reid.bench.report.numbers import estimated, figure, plural
from reid.bench.result import BenchResult, Cameras, Settings, Turn

__all__ = [
    "DISTURBANCES",
    "advice",
    "command",
    "disturbances_sentence",
    "listed",
    "quality_name",
    "quality_text",
    "why_missing",
]

DISTURBANCES: dict[Disturbance, str] = {
    "busy_neighbor": "other processes were busy",
    "stolen": "a hypervisor took time",
    "throttled": "the device lowered its clocks",
}
"""Why a turn says little, in words."""


def advice(result: BenchResult, choice: Choice) -> list[str]:
    """Return the recommendation in a sentence, and then what else a reader of it should know."""
    if choice.taken is None:
        return ["No session works here, so there is nothing to recommend: the reasons are below."]
    return [_recommendation(result.settings, choice, choice.taken), *_qualifications(result, choice, choice.taken)]


def command(taken: Standing) -> str:
    """Return the command that runs what is recommended."""
    subject = taken.subject
    session = subject.name.partition(" ")[0]
    options = ["--model", subject.model, "--session", session, "--precision", subject.precision]
    return f"reid-infer GALLERY QUERY {shlex.join(options)}"


def quality_name(choice: Choice) -> str:
    """Return what the answers of subjects are compared by: "mAP (I2I), %"."""
    protocols = [name.upper() for name in choice.measure.protocols]
    if not protocols:
        return "least similarity"
    return f"mAP ({protocols[0]}), %" if len(protocols) == 1 else f"mAP (mean of {listed(protocols)}), %"


def quality_text(choice: Choice, quality: float | None) -> str:
    """Return a quality with the digits that it is worth; a dash where it is not known."""
    if quality is None:
        return "\N{EN DASH}"
    return f"{quality:.2f}" if choice.measure.protocols else f"{quality:.4f}"


def disturbances_sentence(turns: Sequence[Turn]) -> str:
    """Return how many of some turns were disturbed, and by what."""
    disturbed = [turn for turn in turns if turn.disturbances]
    if not disturbed:
        return f"none of {plural(len(turns), 'turn')} was disturbed"
    why = Counter(cause for turn in disturbed for cause in turn.disturbances)
    causes = ", ".join(f"{count:,} because {DISTURBANCES[cause]}" for cause, count in why.most_common())
    return f"{len(disturbed):,} of {plural(len(turns), 'turn')} disturbed: {causes}"


def why_missing(result: BenchResult, choice: Choice) -> Iterator[str]:
    """Yield the subjects that failed, that answer wrongly and that do not work here, each with its reason."""
    for subject in result.subjects:
        if subject.failure is not None:
            yield f"{subject.name} failed during {subject.failure.during}: {subject.failure.reason}"
        if subject.name in choice.wrong and subject.quality and subject.quality.least_similarity is not None:
            yield (
                f"{subject.name} is wrong: an embedding has a similarity of only "
                f"{subject.quality.least_similarity:.4f} to the reference's"
            )
    for absent in result.absent:
        yield f"{absent.name} was not measured: {absent.reason}"


def listed(names: Sequence[str]) -> str:
    """Return names as in a sentence: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


def _recommendation(settings: Settings, choice: Choice, taken: Standing) -> str:
    parts = [f"{estimated(taken.batch.frames_per_s)} frames/s"]
    if cameras := taken.subject.cameras:
        parts.insert(0, _cameras(cameras, settings.camera_frames_per_s))
    batches = f"batches of {taken.batch.frames}" if taken.batch.frames > 1 else "single frames"
    return f"Take {taken.subject.name} with {batches}: {', '.join(parts)}, {_worth(choice, taken)}."


def _cameras(cameras: Cameras, crops_per_s: float) -> str:
    spread = f" ({cameras.low:,} to {cameras.high:,})" if cameras.low != cameras.high else ""
    each = "" if cameras.value == 1 else " each"
    if not cameras.high:
        return f"not even one camera at {crops_per_s:g} crops/s"
    return f"{plural(cameras.value, 'camera')}{spread} at {crops_per_s:g} crops/s{each}"


def _worth(choice: Choice, taken: Standing) -> str:
    """Return what the answers are worth, and what that is beside the reference precision."""
    if taken.quality is None:
        return "with answers that were not compared with anything"
    value = quality_text(choice, taken.quality)
    if not choice.measure.protocols:
        return f"least similarity to the reference {value}"
    name = quality_name(choice).removesuffix(", %")
    cost = _cost(choice.reference, taken)
    return f"{name} {value} %{cost and f', {cost}'}"


def _cost(reference: Standing | None, one: Standing) -> str:
    """Return how far a session's mAP is from the reference's; nothing for one of the same model and precision."""
    if reference is None or reference.quality is None or one.quality is None:
        return ""
    same_model = reference.subject.model == one.subject.model
    if same_model and reference.subject.precision == one.subject.precision:
        return ""
    return _difference(one.quality - reference.quality) + (
        f" {reference.subject.precision}" if same_model else f" {reference.subject.name}"
    )


def _difference(points: float) -> str:
    if abs(points) < 0.005:
        return "the same as"
    return f"{abs(points):.2f} points {'above' if points > 0 else 'below'}"


def _qualifications(result: BenchResult, choice: Choice, taken: Standing) -> Iterator[str]:
    limit = f"{result.settings.latency_limit_ms:g} ms"
    if taken.keeps_limit:
        yield f"99 of 100 batches take at most {figure(taken.batch.latency_ms.p99.value)} ms; the limit is {limit}."
    else:
        shortest = figure(taken.batch.latency_ms.p99.value)
        yield f"No session keeps the limit of {limit}: this batch size comes nearest, with {shortest} ms."
    if choice.equals:
        names = listed([one.subject.name for one in choice.equals])
        are = "is" if len(choice.equals) == 1 else "are"
        yield f"{names} {are} as fast within noise; of equals, the more precise one is taken."
    for one in choice.too_far:
        speed = f"{one.subject.name} is faster, {estimated(one.batch.frames_per_s)} frames/s"
        yield f"{speed}, but not taken: its mAP is {_cost(choice.reference, one) or 'not known'}."
    for peer in choice.faster_peers:
        yield _faster_peer(choice, peer)
    if not choice.measure.protocols:
        yield (
            "mAP is not known: sessions are compared by their least similarity to the reference embeddings. "
            "A bundle knows it that was exported with --verify DATA."
        )


def _faster_peer(choice: Choice, peer: Standing) -> str:
    speed = f"{peer.subject.name} is faster: {estimated(peer.batch.frames_per_s)} frames/s"
    if peer.quality is not None:
        return f"{speed}, {quality_name(choice).removesuffix(', %')} {quality_text(choice, peer.quality)}."
    similarity = peer.subject.quality.least_similarity if peer.subject.quality else None
    known = "its answers were not compared" if similarity is None else f"least similarity {similarity:.4f}"
    return f"{speed}, {known}."
