"""What can be outside tolerance, as records: which precision, what of it, its values, and what was allowed.

`sentences.py` says them in words.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from reid.runtime.precision import Precision

__all__ = [
    "Count",
    "Defect",
    "Dissimilar",
    "Failure",
    "Fallen",
    "LevelMinimum",
    "Told",
    "Unsettled",
    "Unusable",
    "Verdict",
    "WrongSums",
]

Verdict: TypeAlias = Literal["within", "outside", "undecided"]
"""Whether a model is within tolerance: shown to be, shown not to be, or neither with so few queries."""

Count: TypeAlias = Annotated[int, Field(ge=0, lt=1 << 53)]
"""A number of things, exact in float64 as well."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Defect(_Record):
    """A defect that makes embeddings unfit for ranking.

    Attributes:
        frames: the number of embeddings.
        defective: the number of those that are unfit.
        length: the length that is furthest from 1; None where embeddings are NaN or infinite.
    """

    frames: Count
    defective: Count
    length: float | None = None


class Unusable(_Record):
    """Embeddings that cannot be used for ranking."""

    kind: Literal["unusable"] = "unusable"
    precision: Precision
    defect: Defect


class LevelMinimum(_Record):
    """The smallest cosine similarity to PyTorch's embeddings in one level."""

    level: str
    minimum: float


class Dissimilar(_Record):
    """Embeddings that are too far from PyTorch's.

    Attributes:
        precision: the precision that gives it.
        frames: the number of embeddings that were compared.
        share: the share of the embeddings that is judged: 1, or 0.99 without the least similar ones.
        minimum: the smallest cosine similarity among these.
        required: the similarity that was required.
        room: how many times the room of the tolerance was allowed.
        tolerance: the similarity that would be required if the model gave different frames 0 on average.
        spread: the mean of `1 - similarity` between different frames, by PyTorch.
        furthest: the level with the smallest similarity.
        first: the first level, in the card's order, that is less similar than required; None where none is.
    """

    kind: Literal["dissimilar"] = "dissimilar"
    precision: Precision
    frames: Count
    share: float = 1.0
    room: int = 1
    minimum: float
    required: float
    tolerance: float
    spread: float
    furthest: LevelMinimum
    first: LevelMinimum | None = None


class WrongSums(_Record):
    """`pooled` is not the sum of the frames' embeddings: its cosine similarity to that, and what was required."""

    kind: Literal["wrong sums"] = "wrong sums"
    precision: Precision
    similarity: float
    required: float


class Fallen(_Record):
    """A measure that changed for the worse by more than the tolerance, and not by chance.

    Attributes:
        precision: the precision with which it changed.
        protocol: i2i, i2t or t2t.
        post_processing: what was done to the rankings.
        metric: the measure, such as mAP, R-1 or TMR@1e-3.
        reference: PyTorch's value, in percent.
        candidate: the precision's value, in percent.
        allowed: the largest change for the worse that was allowed, in points.
        interval: the 95 % interval of candidate - reference, in points.
        queries: the number of queries that count.
        p_value: how often chance alone makes so large a change; None in files of format 2, where it was not asked.
    """

    kind: Literal["fallen"] = "fallen"
    precision: Precision
    protocol: str
    post_processing: str = "plain"
    metric: str
    reference: float
    candidate: float
    allowed: float
    interval: tuple[float, float]
    queries: Count
    p_value: float | None = None


class Unsettled(_Record):
    """A measure that so few queries cannot decide on, where only what is shown to be within tolerance may pass.

    Attributes:
        precision: the precision that was measured.
        protocol: i2i, i2t or t2t.
        post_processing: what was done to the rankings.
        metric: the measure, such as mAP, R-1 or TMR@1e-3.
        difference: candidate - reference, in points.
        allowed: the largest change for the worse that is allowed, in points.
        interval: the 95 % interval of the difference, in points.
        queries: the number of queries that count.
        settled_by: how many queries would settle it; None for too many to say.
    """

    kind: Literal["unsettled"] = "unsettled"
    precision: Precision
    protocol: str
    post_processing: str = "plain"
    metric: str
    difference: float
    allowed: float
    interval: tuple[float, float]
    queries: Count
    settled_by: Count | None = None


class Told(_Record):
    """A failure of which only the text is known: version 1 of verification.json stored nothing else."""

    kind: Literal["told"] = "told"
    precision: Precision
    text: str


Failure: TypeAlias = Annotated[
    Unusable | Dissimilar | WrongSums | Fallen | Unsettled | Told, Field(discriminator="kind")
]
