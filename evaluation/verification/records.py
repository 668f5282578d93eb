"""What a verification found: every produced precision beside PyTorch, as stored in `verification.json`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from reid.runtime.precision import Precision

__all__ = [
    "VERIFICATION_FILE",
    "LayerDrift",
    "LevelSimilarity",
    "PrecisionVerification",
    "ProtocolComparison",
    "Similarity",
    "Tolerance",
    "Verification",
    "WorstQuery",
]


VERIFICATION_FILE = "verification.json"
"""Name of the stored Verification within a bundle."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tolerance(_Record):
    """How far a precision may fall below PyTorch.

    Attributes:
        map: of mAP, in points.
        rank: of R-1, R-5 and R-10, in points.
        similarity: smallest cosine similarity of an embedding to PyTorch's, where the model gives different frames 0
            on average; where it gives them more, the room left is less in proportion (`required_similarity`).
        int8_similarity: the same for INT8, whose embeddings differ visibly while they find the same.
    """

    map: float = Field(default=0.5, ge=0, allow_inf_nan=False)
    rank: float = Field(default=0.5, ge=0, allow_inf_nan=False)
    similarity: float = Field(default=0.99, ge=-1, le=1)
    int8_similarity: float = Field(default=0.9, ge=-1, le=1)

    def of(self, precision: Precision) -> Tolerance:
        """Give the tolerance with `similarity` as it is for a precision."""
        return self.model_copy(update={"similarity": self.int8_similarity}) if precision == "int8" else self


class LevelSimilarity(_Record):
    """Cosine similarity to PyTorch's embeddings, of one level or of all together (`level` "all")."""

    level: str
    minimum: float
    first_percentile: float
    median: float


class Similarity(_Record):
    """Cosine similarity to PyTorch over all embedded frames.

    Attributes:
        frames: how many were compared.
        levels: "all" first, then each level in the card's order.
        counts: histogram of `1 - similarity`, one more bin than edges: below the first edge, between two, above the
            last.
        edges: of the histogram, ascending, 1e-7 to 1.
        spread: mean of `1 - similarity` between different frames by PyTorch: what a distance means to this model.
    """

    frames: int
    levels: tuple[LevelSimilarity, ...]
    counts: tuple[int, ...]
    edges: tuple[float, ...]
    spread: float = 1.0


class ProtocolComparison(_Record):
    """One protocol's metrics, in percent and points.

    Attributes:
        protocol: i2i, i2t or t2t.
        reference: PyTorch's "mAP", "R-1", "R-5", "R-10".
        candidate: the precision's.
        difference: candidate - reference, in points.
        interval: of the difference, 95 %, by bootstrap over queries, in points.
        exceeded: the metrics that fell by more than the tolerance.
        first_match_changed: share of queries whose first match differs, in percent.
        queries: counted queries.
    """

    protocol: str
    reference: dict[str, float]
    candidate: dict[str, float]
    difference: dict[str, float]
    interval: dict[str, tuple[float, float]]
    exceeded: tuple[str, ...]
    first_match_changed: float
    queries: int


class WorstQuery(_Record):
    """A query that lost most average precision, with its first matches in both rankings.

    Attributes:
        protocol: in which it lost.
        query: path of its picture.
        average_precision: (PyTorch's, the precision's), in percent.
        before: paths of the first matches' pictures by PyTorch, best first, each with whether it is right.
        after: the same by the precision.
    """

    protocol: str
    query: str
    average_precision: tuple[float, float]
    before: tuple[tuple[str, bool], ...]
    after: tuple[tuple[str, bool], ...]


class LayerDrift(_Record):
    """How far one tensor of a graph is from the same tensor of the FP32 graph.

    Attributes:
        layer: the node's name.
        op: its ONNX type.
        position: in the order of execution.
        relative_error: root mean square of the error over that of the tensor.
        largest_error: absolute.
        peak: largest absolute value in FP32.
        not_finite: how many values are infinite or NaN; in the errors they count as 0.
        weight: name of the layer's weight, which is PyTorch's own; empty where it has none.
    """

    layer: str
    op: str
    position: int
    relative_error: float
    largest_error: float
    peak: float
    not_finite: int = 0
    weight: str = ""


class PrecisionVerification(_Record):
    """One precision beside PyTorch.

    Attributes:
        precision: fp32, fp16 or int8.
        session: what it ran on.
        similarity: of embeddings.
        protocols: empty where retrieval was not verified.
        worst_queries: most lost first.
        drift: largest relative error first; empty where every tolerance was met.
        kept_in_fp32: layers that would overflow, with their peak value.
        failures: what is outside tolerance, a sentence each; empty where nothing is.
        unreadable: frames that were left out, by name; the same for all precisions.
        queries_left_out: queries that could not be read, and count in no protocol.
    """

    precision: Precision
    session: str
    similarity: Similarity
    protocols: tuple[ProtocolComparison, ...] = ()
    worst_queries: tuple[WorstQuery, ...] = ()
    drift: tuple[LayerDrift, ...] = ()
    kept_in_fp32: dict[str, float] = {}
    failures: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    queries_left_out: tuple[str, ...] = ()


class Verification(_Record):
    """All precisions of a bundle.

    Attributes:
        format_version: of this file.
        fingerprint: of the model.
        reference: the session that everything is compared with.
        data: facts of the data that was embedded.
        engines: built from the graphs, a sentence each.
        retrieval: whether mAP and Rank-k were compared, or embeddings of the reference crops only.
        tolerance: that was asked for.
        precisions: in the order in which they were made.
    """

    format_version: int = 1
    fingerprint: str
    reference: str
    data: dict[str, str | int]
    retrieval: bool
    tolerance: Tolerance
    precisions: tuple[PrecisionVerification, ...]
    engines: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything is within tolerance."""
        return not any(precision.failures for precision in self.precisions)
