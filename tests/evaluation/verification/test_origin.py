"""Where a precision departs, in one sentence behind its failure."""

from __future__ import annotations

from typing import Any

import pytest

from reid.evaluation.verification.failures import Told
from reid.evaluation.verification.origin import failure_with_origin, origin_sentence
from reid.evaluation.verification.records import (
    DriftSearch,
    LayerDrift,
    LevelSimilarity,
    PrecisionVerification,
    ReferenceCrops,
    Similarity,
    Tolerance,
    Verification,
)
from reid.runtime.precision import Precision

ALL = Similarity(
    frames=1, levels=(LevelSimilarity(level="all", minimum=0, first_percentile=0, median=0),), counts=(), edges=()
)
SMALL = LayerDrift(layer="small", op="Conv", position=3, relative_error=0.05, largest_error=1, peak=1)
LARGE = LayerDrift(layer="large", op="Relu", position=1204, relative_error=0.423, largest_error=1, peak=1)
BROKEN = LayerDrift(layer="nan", op="Div", position=1, relative_error=0, largest_error=1, peak=1, not_finite=12345)


def found(precision: Precision = "fp16", **fields: Any) -> PrecisionVerification:  # noqa: ANN401 - the record's own
    return PrecisionVerification(**{"precision": precision, "session": "", "similarity": ALL, **fields})


@pytest.mark.parametrize(
    ("drift", "engine", "said"),
    [
        ((), None, ""),
        ((LARGE, SMALL), None, "the first layer to drift is small (Conv at position 3, 5 % off)"),
        ((LARGE, SMALL, BROKEN), None, "the first layer to drift is nan (Div at position 1, 12,345 values not finite)"),
        ((SMALL,), {"threshold": 0.1}, "no layer drifts by more than 10 %"),
        ((LARGE, SMALL), {"threshold": 0.1}, "the first layer to drift is large (Relu at position 1,204, 42.3 % off)"),
        ((), {"reason": "no GPU"}, "where it departs was not found: no GPU"),
        ((), {"place": "build"}, "built again in the same way, the engine is right: build it again"),
        ((), {"place": "fusion", "fused": ("a", "b")}, "the fault is in what TensorRT fuses across a, b"),
        (
            (),
            {"place": "fusion", "fused": ("a", "b", "c", "d")},
            "the fault is in what TensorRT fuses across a to d (4 layers)",
        ),
    ],
)
def test_the_place_is_named(drift: tuple[LayerDrift, ...], engine: dict[str, Any] | None, said: str) -> None:
    assert origin_sentence(found(drift=drift, drift_search=engine and DriftSearch(**engine))) == said


def test_the_precision_that_fails_first_is_the_one_that_is_named() -> None:
    failures = [Told(precision="int8", text=text) for text in ("fell", "too")]
    verification = Verification(
        fingerprint="",
        reference="",
        judged_on=ReferenceCrops(crops=1),
        tolerance=Tolerance(),
        precisions=(found("fp16"), found("int8", drift=(SMALL,), failures=failures)),
    )
    said = "int8: fell (and 1 more); the first layer to drift is small (Conv at position 3, 5 % off)"
    assert failure_with_origin(verification) == said
