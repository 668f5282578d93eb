"""What a verification found: every produced precision beside PyTorch, as stored in `verification.json`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from reid.evaluation.operating_points.distributions import ScoreDistributions
from reid.evaluation.verification.failures import Count, Failure, Unsettled, Verdict
from reid.runtime.engine_card import EngineCard
from reid.runtime.engine_judgment import EngineJudgment
from reid.runtime.precision import Precision
from reid.runtime.tensorrt_api import Flavor

__all__ = [
    "FORMAT_VERSION",
    "VERIFICATION_FILE",
    "Change",
    "DriftSearch",
    "EngineFacts",
    "JudgedOn",
    "LayerDrift",
    "LayerInFp32",
    "LevelSimilarity",
    "PrecisionVerification",
    "ProtocolComparison",
    "ReferenceCrops",
    "ReferenceData",
    "Similarity",
    "Tolerance",
    "Undecided",
    "Verification",
    "WorstQuery",
    "undecided_of",
]

VERIFICATION_FILE = "verification.json"
"""Name of the stored Verification within a bundle."""

FORMAT_VERSION: Literal[3] = 3
"""Version of `Verification`; `read_verification` also reads 1 and 2."""


_NEXT_EDGE = 1.01
"""The least ratio of neighboring edges of a histogram, which is drawn on a logarithmic axis."""


def _with_escapes(name: str) -> str:
    if "\0" in name:
        raise ValueError("no file's name has the character 0")
    return name.encode(errors="backslashreplace").decode()


_FileName: TypeAlias = Annotated[str, AfterValidator(_with_escapes)]
"""The name or path of a file; bytes in it that are not UTF-8, which JSON cannot hold, are escaped."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Tolerance(_Record):
    """How far a precision may fall below PyTorch.

    Attributes:
        map: the largest permitted fall of mAP, in points.
        rank: the largest permitted fall of R-1, R-5 and R-10, in points.
        similarity: the smallest cosine similarity of an embedding to PyTorch's, where the model gives different frames
            0 on average; where it gives them more, the room left is less in proportion (`required_similarity`).
        int8_similarity: the same for INT8, whose embeddings differ visibly while they find the same: for 99 of 100, and
            with twice the room for the least similar one, where there are 100 or more (`judged_similarities`).
        match: the largest permitted fall of the true-match rate at a false-match rate, in points.
        false_match: the largest permitted ratio of the false-match rate at PyTorch's threshold to PyTorch's own.
        strict: whether only what is shown to be within tolerance passes, and not what few queries leave undecided.
    """

    map: float = Field(default=0.5, ge=0)
    rank: float = Field(default=0.5, ge=0)
    similarity: float = Field(default=0.99, ge=-1, le=1)
    int8_similarity: float = Field(default=0.9, ge=-1, le=1)
    match: float = Field(default=1.0, ge=0)
    false_match: float = Field(default=2.0, ge=1)
    strict: bool = False

    def room(self, metric: str) -> float:
        """Return how far a metric may fall, in points: "mAP", or any of "R-1", "R-5", "R-10"."""
        return self.map if metric == "mAP" else self.rank

    def similarity_of(self, precision: Precision) -> float:
        """Return the smallest similarity that a precision needs in a model of spread 1."""
        return self.int8_similarity if precision == "int8" else self.similarity


class LevelSimilarity(_Record):
    """Cosine similarity to PyTorch's embeddings, of one level or of all together (`level` "all")."""

    level: str
    minimum: float
    first_percentile: float
    median: float


class Similarity(_Record):
    """Cosine similarity to PyTorch over all embedded frames.

    Attributes:
        frames: the number of frames that were compared.
        levels: "all" first, then each level in the card's order.
        counts: histogram of `1 - similarity`, one more bin than edges: below the first edge, between two, above the
            last.
        edges: the edges of the histogram's bins, ascending, 1e-7 to 1.
        spread: the mean of `1 - similarity` between different frames by PyTorch: what a distance means to this model.
    """

    frames: Count
    levels: tuple[LevelSimilarity, ...] = Field(min_length=1)
    counts: tuple[Count, ...]
    edges: tuple[Annotated[float, Field(ge=1e-12, le=1e3)], ...]
    spread: float = Field(default=1.0, ge=0, le=2)

    @model_validator(mode="after")
    def _check_histogram(self) -> Similarity:
        if (self.counts or self.edges) and len(self.counts) != len(self.edges) + 1:
            raise ValueError(f"{len(self.counts)} counts for {len(self.edges)} edges")
        if any(upper < lower * _NEXT_EDGE for lower, upper in pairwise(self.edges)):
            raise ValueError("the edges of the histogram do not ascend")
        return self


class Change(_Record):
    """One measure of one protocol beside PyTorch's, judged.

    Attributes:
        measure: "mAP", "R-1", "R-5", "R-10"; at a false-match rate "TMR@1e-3", the true-match rate at the model's own
            threshold, and "FMR@1e-3", the false-match rate at PyTorch's.
        reference: PyTorch's value, in percent.
        candidate: the precision's value, in percent.
        interval: the 95 % paired interval of candidate - reference, in points.
        p_value: how often chance alone makes so large a change for the worse; None in files of format 2.
        allowed: the largest permitted change for the worse, in points.
        verdict: whether the change is within what is allowed.
        settled_by: how many queries would settle an undecided one if nothing else changes; None for too many to say.
    """

    measure: str
    reference: float
    candidate: float
    interval: tuple[float, float]
    p_value: float | None
    allowed: float
    verdict: Verdict
    settled_by: Count | None = None

    @property
    def difference(self) -> float:
        """Candidate - reference, in points."""
        return self.candidate - self.reference


class ProtocolComparison(_Record):
    """One protocol's measures beside PyTorch's.

    Attributes:
        protocol: i2i, i2t or t2t.
        post_processing: what was done to the rankings of both.
        changes: the measures, mAP first.
        first_match_changed: the share of queries whose first match differs, in percent.
        queries: the number of queries that count.
    """

    protocol: str
    post_processing: str = "plain"
    changes: tuple[Change, ...]
    first_match_changed: float
    queries: Count

    @property
    def difference(self) -> dict[str, float]:
        """Measure -> candidate - reference, in points."""
        return {change.measure: change.difference for change in self.changes}

    def change(self, measure: str) -> Change:
        """Return the change of a measure. Raises KeyError where it was not measured."""
        return {change.measure: change for change in self.changes}[measure]


class Undecided(NamedTuple):
    """A change that is neither shown to be within tolerance nor outside it, and the protocol that it is of."""

    comparison: ProtocolComparison
    change: Change


def undecided_of(protocols: Iterable[ProtocolComparison]) -> tuple[Undecided, ...]:
    """Return the changes that are undecided."""
    changes = (Undecided(one, change) for one in protocols for change in one.changes)
    return tuple(one for one in changes if one.change.verdict == "undecided")


class WorstQuery(_Record):
    """One of the queries that lost most average precision, with its first matches in both rankings.

    Attributes:
        protocol: the protocol in which it lost.
        query: the path of its picture.
        average_precision: (PyTorch's, the precision's), in percent.
        before: the paths of the pictures of PyTorch's first matches, best first, each with whether it is right.
        after: the same for the precision's first matches.
    """

    protocol: str
    query: _FileName
    average_precision: tuple[float, float]
    before: tuple[tuple[_FileName, bool], ...]
    after: tuple[tuple[_FileName, bool], ...]


class LayerDrift(_Record):
    """How far one tensor of a graph is from the same tensor of the FP32 graph, or of an engine from that of its graph.

    Attributes:
        layer: the node's name.
        op: the node's ONNX operator.
        position: the node's position in the order of execution.
        relative_error: the root mean square of the error over that of the tensor.
        largest_error: the largest absolute error.
        peak: the largest absolute value that it should have.
        not_finite: the number of values that are infinite or NaN; in the errors they count as 0.
        weight: the name of the layer's weight, which is PyTorch's own; empty where it has none.
    """

    layer: str
    op: str
    position: Count
    relative_error: float = Field(ge=0)
    largest_error: float = Field(ge=0)
    peak: float = Field(ge=0)
    not_finite: Count = 0
    weight: str = ""


class DriftSearch(_Record):
    """How it was found where a session outside tolerance departs from its graph, or its graph from the FP32 graph.

    An engine is looked into by engines that also give the tensors of layers. Each is another build: TensorRT does not
    fuse across a tensor that it has to give.

    Attributes:
        threshold: the relative error above which a layer has drifted.
        marked: the number of tensors that the engine gave in which the layers drifted.
        builds: the number of engines that were built to find out.
        place: "layer" where an engine that gives every tensor has the fault, too; "fusion" where that is right, and is
            in what TensorRT fuses; "build" where the engine, built again in the same way, is right; "graph" where the
            session gives what its graph gives, and the layers are those in which that graph drifts.
        fused: the layers whose tensors must not be given, or the fault is gone: it is in what is fused across them.
        reason: why no layer was found; empty where one was looked for.
    """

    threshold: float = Field(default=0.0, ge=0)
    marked: Count = 0
    builds: Count = 0
    place: Literal["layer", "fusion", "build", "graph"] = "layer"
    fused: tuple[str, ...] = ()
    reason: str = ""


class LayerInFp32(_Record):
    """A layer that has to stay in FP32 in a graph of another precision, with the largest absolute value it meets."""

    layer: str
    amax: float = Field(ge=0)


class PrecisionVerification(_Record):
    """One precision beside PyTorch.

    Attributes:
        precision: the precision of the graph.
        session: the session that ran the graph, for people.
        similarity: the similarity of its embeddings.
        protocols: the metrics of each protocol; empty where retrieval was not compared.
        worst_queries: the queries that lost most average precision, most lost first.
        drift: the layers that drifted, largest relative error first; empty where every tolerance was met.
        drift_search: how these were found in a session; None where a graph was exported, and where every tolerance was
            met.
        in_fp32: the layers that would overflow or vanish, and stay in FP32.
        failures: the measurements outside tolerance; empty where there are none.
        unreadable: the names of the frames that were left out; the same for all precisions.
        queries_left_out: the names of the queries that could not be read, and count in no protocol.
        scores: the distributions of the scores of each protocol, and its operating points.
    """

    precision: Precision
    session: str
    similarity: Similarity
    protocols: tuple[ProtocolComparison, ...] = ()
    worst_queries: tuple[WorstQuery, ...] = ()
    drift: tuple[LayerDrift, ...] = ()
    drift_search: DriftSearch | None = None
    in_fp32: tuple[LayerInFp32, ...] = ()
    failures: tuple[Failure, ...] = ()
    unreadable: tuple[_FileName, ...] = ()
    queries_left_out: tuple[_FileName, ...] = ()
    scores: tuple[ScoreDistributions, ...] = ()

    @property
    def undecided(self) -> tuple[Undecided, ...]:
        """What few queries leave open."""
        return undecided_of(self.protocols)

    @property
    def verdict(self) -> Verdict:
        """The verdict on everything that was measured."""
        if any(not isinstance(one, Unsettled) for one in self.failures):
            return "outside"
        return "undecided" if self.undecided else "within"


class ReferenceCrops(_Record):
    """Graphs were compared on the checkpoint's reference crops alone."""

    kind: Literal["reference crops"] = "reference crops"
    crops: Count


class ReferenceData(_Record):
    """Graphs were compared on the queries and the gallery of a data set, and on the reference crops.

    Attributes:
        name: the name of the data set's folder.
        layout: the layout of the data set: "veri".
        held_out: whether these are vehicles that were held out of the training split.
        query_images: the number of query images.
        gallery_images: the number of gallery images.
        unreadable: the number of frames that could not be read, and were left out.
        same_camera: what happened to gallery entries of the query's vehicle and camera in the rankings.
    """

    kind: Literal["data"] = "data"
    name: _FileName
    layout: str
    held_out: bool
    query_images: Count
    gallery_images: Count
    unreadable: Count
    same_camera: Literal["drop", "keep"] = "drop"


JudgedOn: TypeAlias = Annotated[ReferenceCrops | ReferenceData, Field(discriminator="kind")]


class EngineFacts(_Record):
    """An engine that was built from a graph: what its sidecar says of it, in short.

    Attributes:
        precision: the precision of the graph.
        flavor: the runtime that built it.
        version: the version of that runtime.
        device: the GPU that it was built on, or the targets that it was built for.
        layers: precision -> number of layers.
        source: the place that the layers were read from; see LayerSummary.
        reason: why the engine did not run where it was built; empty where it was loaded there.
        judged: what is known of its answers on data.
    """

    precision: Precision
    flavor: Flavor
    version: str
    device: str
    layers: dict[str, Count]
    source: Literal["engine", "build log", "network"]
    reason: str = ""
    judged: EngineJudgment = EngineJudgment()

    @classmethod
    def of(cls, card: EngineCard) -> EngineFacts:
        """Take the facts from a sidecar."""
        return cls(
            precision=card.precision,
            flavor=card.flavor,
            version=card.version,
            device=card.device,
            layers=card.layers.layers,
            source=card.layers.source,
            reason=card.layers.reason,
            judged=card.judged,
        )


class Verification(_Record):
    """All precisions of a bundle beside PyTorch.

    Attributes:
        format_version: the version of this format.
        fingerprint: the fingerprint of the model.
        reference: the session that everything is compared with.
        judged_on: the data that was embedded.
        tolerance: the tolerance that was asked for.
        precisions: the comparison of each precision, in the order in which the graphs were made.
        engines: the engines that were built from the graphs; text where version 1 stored nothing else.
        scores: the same as those of a precision, of the reference.
        stand_in: whether the bundle's FP32 graph stood in for PyTorch, whose results on the data were not known.
    """

    format_version: Literal[3] = FORMAT_VERSION
    fingerprint: str
    reference: str
    judged_on: JudgedOn
    tolerance: Tolerance
    precisions: tuple[PrecisionVerification, ...]
    engines: tuple[EngineFacts | str, ...] = ()
    scores: tuple[ScoreDistributions, ...] = ()
    stand_in: bool = False

    @property
    def reference_name(self) -> str:
        """The name of the reference in tables and charts."""
        return "FP32 graph" if self.stand_in else "PyTorch"

    @property
    def retrieval(self) -> bool:
        """Whether mAP and Rank-k were compared, and not only embeddings of the reference crops."""
        return isinstance(self.judged_on, ReferenceData)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What is outside tolerance, in any precision."""
        return tuple(failure for precision in self.precisions for failure in precision.failures)

    @property
    def verdict(self) -> Verdict:
        """The verdict on all precisions together."""
        found = {precision.verdict for precision in self.precisions}
        return "outside" if "outside" in found else "undecided" if "undecided" in found else "within"

    @property
    def passed(self) -> bool:
        """Whether nothing is outside tolerance; where that is strict, whether everything is shown to be within it."""
        return not self.failures
