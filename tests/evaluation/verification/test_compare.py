"""A comparison passes what answers the same, and nothing else: sessions that each get one thing wrong."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from reid.data.dataset import Dataset
from reid.data.layout import open_dataset
from reid.evaluation.metrics import METRICS
from reid.evaluation.protocols import PROTOCOLS, embed_data, evaluate_protocol
from reid.evaluation.verification.compare import (
    MOST_WORST_QUERIES,
    Comparison,
    compare,
    compare_on_crops,
    compare_on_data,
)
from reid.evaluation.verification.failures import Defect, Dissimilar, Fallen, Unusable, WrongSums
from reid.evaluation.verification.records import ReferenceCrops, Tolerance
from reid.evaluation.verification.reference import Crops, Reference, embed_retrieval
from reid.evaluation.verification.sentences import failure_sentence, reason
from reid.runtime.bundle import Bundle
from reid.runtime.errors import DataError, ModelError
from reid.runtime.imaging import read_frame, resize
from reid.runtime.normalization import normalize
from reid.runtime.opening import open_session
from reid.runtime.precision import Precision
from reid.runtime.sessions.session import BatchLimits, Embeddings, Session, SessionInfo, run


def unchanged(array: np.ndarray) -> np.ndarray:
    return array


@dataclass
class Sabotaged:
    """A session whose frames, embeddings or sums are changed on their way."""

    inner: Session
    frames: Callable[[np.ndarray], np.ndarray] = unchanged
    embeddings: Callable[[np.ndarray], np.ndarray] = unchanged
    pooled: Callable[[np.ndarray], np.ndarray] = unchanged
    backend: str = "sabotaged"
    batches: list[int] = field(default_factory=list)

    @property
    def info(self) -> SessionInfo:
        return replace(self.inner.info, backend=self.backend)

    @property
    def limits(self) -> BatchLimits:
        return self.inner.limits

    def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
        self.batches.append(len(frames))
        embeddings, _ = run(self.inner, np.ascontiguousarray(self.frames(frames)), pooling)
        embeddings = self.embeddings(embeddings).astype(np.float32)
        with np.errstate(all="ignore"):
            return Embeddings(embeddings, self.pooled(pooling @ embeddings))

    def close(self) -> None:
        pass

    def __enter__(self) -> Sabotaged:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


class Oracle(Sabotaged):
    """A session that knows each picture's vehicle and puts it near others of that vehicle: a well-trained model."""

    def __init__(
        self, inner: Session, dataset: Dataset, embeddings: Callable[[np.ndarray], np.ndarray] = unchanged
    ) -> None:
        super().__init__(inner, embeddings=embeddings, backend="oracle")
        size, random = self.info.card.preprocessing, np.random.default_rng(0)
        centers: dict[str, np.ndarray] = {}
        self._known: dict[bytes, np.ndarray] = {}
        for image in (*dataset.query.images, *dataset.gallery.images):
            pixels = resize(read_frame(image.frames[0]), size.height, size.width).transpose(2, 0, 1)
            center = centers.setdefault(str(image.vehicle), random.normal(size=32))
            self._known[pixels.tobytes()] = center + 1.3 * random.normal(size=32)

    def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
        rows = normalize(np.stack([self._known[frame.tobytes()] for frame in frames]).astype(np.float32))
        embeddings = self.embeddings(rows).astype(np.float32)
        return Embeddings(embeddings, pooling @ embeddings)


def coarser(frames: np.ndarray) -> np.ndarray:
    """Lose every other pixel, as a wrong resize does."""
    pictures = (frame.transpose(1, 2, 0) for frame in frames)
    return np.stack([cv2.resize(cv2.resize(p, (32, 32)), (64, 64)).transpose(2, 0, 1) for p in pictures])


def noise(size: float) -> Callable[[np.ndarray], np.ndarray]:
    random = np.random.default_rng(0)
    return lambda rows: normalize(rows + size * random.normal(size=rows.shape).astype(np.float32))


def second_row(value: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda rows: np.where(np.arange(len(rows))[:, None] == 1, value, rows)


SABOTAGE: dict[str, dict[str, Callable[[np.ndarray], np.ndarray]]] = {
    "bgr": {"frames": lambda frames: frames[:, ::-1]},
    "resize": {"frames": coarser},
    "std": {"frames": lambda frames: (0.8 * frames).astype(np.uint8)},
    "mean": {"frames": lambda frames: np.minimum(frames.astype(int) + 20, 255).astype(np.uint8)},
    "levels permuted": {"embeddings": lambda rows: np.roll(rows, 16, axis=1)},
    "weights perturbed": {"embeddings": noise(0.03)},
    "frames shifted": {"embeddings": lambda rows: np.roll(rows, 1, axis=0)},
    "nan": {"embeddings": second_row(np.nan)},
    "infinite": {"embeddings": second_row(np.inf)},
    "zero": {"embeddings": second_row(0)},
    "not normalized": {"embeddings": lambda rows: 3 * rows},
}


@pytest.fixture(scope="module")
def session(bundle: Path) -> Iterator[Session]:
    with open_session(bundle, "onnxruntime:cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def dataset(veri: Path) -> Dataset:
    return open_dataset(veri, needs="query")


@pytest.fixture(scope="module")
def expected(bundle: Path) -> NDArray[np.float32]:
    return Bundle.open(bundle).reference()[1]


@pytest.fixture(scope="module")
def frames(bundle: Path) -> NDArray[np.uint8]:
    return np.stack([resize(read_frame(c), 64, 64).transpose(2, 0, 1) for c in Bundle.open(bundle).reference()[0]])


@pytest.fixture(scope="module")
def crops(expected: NDArray[np.float32], frames: NDArray[np.uint8]) -> Crops:
    return Crops(frames, expected)


def reference_of(session: Session, crops: Crops, tolerance: Tolerance | None = None) -> Reference:
    """A reference of the crops alone."""
    count = ReferenceCrops(crops=len(crops.frames))
    return Reference(session.info.card.levels, crops, None, count, tolerance or Tolerance())


def verify(
    reference: Session, dataset: Dataset, tolerance: Tolerance | None = None, **candidates: Session
) -> tuple[Comparison, ...]:
    expected = embed_retrieval(reference, dataset.query, dataset.gallery)
    nothing = Crops(np.zeros((0, 3, 64, 64), np.uint8), np.zeros((0, 32), np.float32))
    whole = reference_of(reference, nothing, tolerance)
    return tuple(
        compare_on_data(whole, expected, precision, session)  # type: ignore[arg-type]  # a keyword is any text
        for precision, session in candidates.items()
    )


def assert_json_holds(comparison: Comparison) -> None:
    """Every record in a comparison survives its own JSON, which has no NaN."""
    for record in (comparison.similarity, *comparison.protocols, *comparison.worst_queries, *comparison.failures):
        text = record.model_dump_json()
        json.loads(text, parse_constant=pytest.fail)
        assert type(record).model_validate_json(text) == record


def test_the_same_session_passes_with_differences_of_zero(session: Session, dataset: Dataset) -> None:
    (found,) = verify(session, dataset, fp16=Sabotaged(session))
    assert (found.precision, found.session) == ("fp16", str(Sabotaged(session).info))
    assert (found.failures, found.worst_queries) == ((), ())
    assert [level.level for level in found.similarity.levels] == ["all", "level3", "level4"]
    assert {level.minimum for level in found.similarity.levels} == {1.0}
    assert [comparison.protocol for comparison in found.protocols] == list(PROTOCOLS)
    for comparison in found.protocols:
        assert set(comparison.difference.values()) == {0.0}
        assert comparison.change("mAP").interval == (0.0, 0.0)
        assert {change.p_value for change in comparison.changes} == {1.0}
        assert {change.verdict for change in comparison.changes if change.measure[0] == "R"} == {"undecided"}
        assert comparison.first_match_changed == 0
        summary = evaluate_protocol(
            embed_data(session, dataset.query, dataset.gallery), PROTOCOLS[comparison.protocol]
        ).summary()
        assert all(comparison.change(name).reference == summary[name] for name in METRICS)
        assert comparison.queries == summary["queries"]
    assert_json_holds(found)


def test_the_checkpoint_and_its_graph_pass(checkpoint: Path, session: Session, dataset: Dataset) -> None:
    with open_session(checkpoint, "torch:cpu") as torch_session:
        (found,) = verify(torch_session, dataset, fp32=session)
    assert found.failures == ()
    assert 1 - 1e-9 < found.similarity.levels[0].minimum <= 1
    assert found.session == str(session.info)


@pytest.mark.parametrize("name", list(SABOTAGE))
def test_sabotage_is_caught_on_data_and_on_crops(name: str, session: Session, dataset: Dataset, crops: Crops) -> None:
    sound, sabotaged = Sabotaged(session), Sabotaged(session, **SABOTAGE[name])
    reference = reference_of(session, crops)
    on_data = verify(session, dataset, fp32=sound, fp16=sabotaged)
    on_crops = (compare_on_crops(reference, "fp32", sound), compare_on_crops(reference, "fp16", sabotaged))
    for good, bad in (on_data, on_crops):
        assert good.failures == ()
        assert bad.failures
        told = [failure_sentence(failure) for failure in bad.failures]
        assert all(sentence.startswith("fp16: ") and "\n" not in sentence for sentence in told)
        assert_json_holds(bad)


def test_failures_on_data_and_on_crops_are_told_together(session: Session, dataset: Dataset, crops: Crops) -> None:
    retrieval = embed_retrieval(session, dataset.query, dataset.gallery)
    reference = replace(reference_of(session, crops), retrieval=retrieval)
    images = len(dataset.query.images) + len(dataset.gallery.images)
    found = compare(reference, "fp16", Sabotaged(session, **SABOTAGE["weights perturbed"]))
    told = [failure.frames for failure in found.failures if isinstance(failure, Dissimilar)]
    assert told == [found.similarity.frames, found.crops.frames] == [images, len(crops.frames)]
    assert found.protocols
    # A factor is lost when a tracklet's sum is normalized, and no ranking sees it; sums of two batches do.
    (failure,) = compare(reference, "fp16", Sabotaged(session, pooled=lambda sums: 2 * sums)).failures
    assert isinstance(failure, WrongSums)


def test_noise_of_a_rounding_passes_on_data_and_on_crops(session: Session, dataset: Dataset, crops: Crops) -> None:
    found = compare_on_crops(reference_of(session, crops), "fp16", Sabotaged(session, embeddings=noise(1e-3)))
    assert found.failures == ()
    assert found.protocols == ()
    (found,) = verify(Oracle(session, dataset), dataset, fp16=Oracle(session, dataset, noise(1e-3)))
    assert found.failures == ()
    assert found.similarity.levels[0].minimum < 1 - 1e-6


def test_a_fall_is_told_with_both_values_the_tolerance_and_the_noise(session: Session, dataset: Dataset) -> None:
    good = Oracle(session, dataset)
    (found,) = verify(good, dataset, Tolerance(int8_similarity=-1), int8=Oracle(session, dataset, noise(0.4)))
    falls = {(c.protocol, change.measure): change for c in found.protocols for change in c.changes}
    falls = {key: change for key, change in falls.items() if change.verdict == "outside"}
    assert ("i2i", "mAP") in falls
    pattern = (
        r"int8: (\w+) (\S+) fell by (\S+) points, from (\S+) to (\S+), tolerance 0.5; not chance, p (\S+) (\S+) "
        r"\(95 % interval (\S+) to (\S+), (\d+) queries\)"
    )
    told = [re.fullmatch(pattern, failure_sentence(failure)) for failure in found.failures]
    assert len(told) == len(falls)
    for match in told:
        assert match is not None
        protocol, metric, fall, before, after, sign, p_value, low, high, queries = match.groups()
        change = falls[protocol, metric]
        assert float(fall) == pytest.approx(-change.difference, abs=0.006)
        assert float(before) == pytest.approx(change.reference, abs=0.006)
        assert float(after) == pytest.approx(change.candidate, abs=0.006)
        assert (float(low), float(high)) == pytest.approx(change.interval, abs=0.006)
        assert change.p_value is not None
        assert change.p_value < 0.05
        expected = (1e-4, "<") if change.p_value < 1e-4 else (change.p_value, "=")
        assert (float(p_value), sign) == (pytest.approx(expected[0], rel=0.06), expected[1])
        assert int(queries) == found.protocols[0].queries
    for failure in found.failures:
        assert isinstance(failure, Fallen)
        change = falls[failure.protocol, failure.metric]
        assert (failure.reference, failure.candidate) == (change.reference, change.candidate)
        assert (failure.interval, failure.allowed, failure.p_value) == (change.interval, 0.5, change.p_value)
    tolerance = Tolerance(map=100, rank=100, int8_similarity=-1)
    (lenient,) = verify(good, dataset, tolerance, int8=Oracle(session, dataset, noise(0.4)))
    assert (lenient.failures, lenient.worst_queries) == ((), found.worst_queries)


def test_the_worst_queries_of_all_protocols_are_kept_most_lost_first(session: Session, dataset: Dataset) -> None:
    (found,) = verify(Oracle(session, dataset), dataset, int8=Oracle(session, dataset, noise(0.4)))
    losses = [before - after for before, after in (query.average_precision for query in found.worst_queries)]
    assert len(losses) == MOST_WORST_QUERIES
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] > 0
    assert {query.protocol for query in found.worst_queries} == set(PROTOCOLS)
    assert all(Path(query.query).is_file() for query in found.worst_queries)


def test_the_level_that_is_wrong_is_named(session: Session, crops: Crops) -> None:
    first, second = session.info.card.levels
    for level, part in ((first, slice(0, 16)), (second, slice(16, 32))):

        def perturb(rows: np.ndarray, part: slice = part) -> np.ndarray:
            changed = rows.copy()
            changed[:, part] = np.roll(changed[:, part], 1, axis=1)
            return changed

        candidate = Sabotaged(session, embeddings=perturb)
        (failure,) = compare_on_crops(reference_of(session, crops), "fp16", candidate).failures
        assert isinstance(failure, Dissimilar)
        assert failure.furthest.level == level.name
        assert f"{level.name} is the furthest off" in reason(failure)


def twice(crops: Crops) -> Crops:
    """Two batches."""
    return Crops(np.concatenate([crops.frames] * 2), np.concatenate([crops.embeddings] * 2))


def test_the_number_of_broken_embeddings_is_told(session: Session, crops: Crops) -> None:
    broken = Sabotaged(session, embeddings=second_row(np.nan))  # one row in each batch
    (failure,) = compare_on_crops(reference_of(session, twice(crops)), "fp16", broken).failures
    count = 2 * len(crops.frames)
    assert failure == Unusable(precision="fp16", defect=Defect(frames=count, defective=2))
    assert failure_sentence(failure).startswith(f"fp16: 2 of {count} embeddings are NaN or infinite")


@pytest.mark.parametrize("change", [lambda sums: -sums, lambda sums: 0.5 * sums, lambda sums: sums * np.nan])
def test_sums_that_are_wrong_are_caught_where_frames_are_right(
    change: Callable[[np.ndarray], np.ndarray], session: Session, crops: Crops
) -> None:
    candidate = Sabotaged(session, pooled=change)
    found = compare_on_crops(reference_of(session, twice(crops)), "fp16", candidate)
    (failure,) = found.failures
    assert isinstance(failure, WrongSums)
    assert "`pooled` is not the sum" in reason(failure)
    assert candidate.batches == [32, 32]
    assert_json_holds(found)


def test_progress_runs_over_all_frames_of_reference_and_candidate(
    session: Session, dataset: Dataset, crops: Crops
) -> None:
    stages: list[tuple[str, int]] = []
    steps: list[list[int]] = []

    class Noted:
        def begin(self, stage: str, total: int, unit: str = "frames") -> None:
            stages.append((stage, total))
            steps.append([])

        def advance(self, count: int = 1) -> None:
            steps[-1].append(count)

    protocols = [PROTOCOLS["i2i"]]
    expected = embed_retrieval(session, dataset.query, dataset.gallery, protocols=protocols, progress=Noted())
    compare_on_data(reference_of(session, crops), expected, "fp16", Sabotaged(session), Noted())
    of_reference, of_candidate = steps
    assert of_candidate == of_reference
    assert min(of_reference) > 0
    assert stages == [
        (f"embedding with {session.info}", sum(of_reference)),
        ("verifying fp16", sum(of_reference)),
    ]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_int8_embeddings_may_differ_more_while_they_find_the_same(
    precision: Precision, session: Session, crops: Crops
) -> None:
    reference = reference_of(session, crops, Tolerance(similarity=1, int8_similarity=-1))
    found = compare_on_crops(reference, precision, Sabotaged(session, embeddings=noise(0.01)))
    assert bool(found.failures) == (precision == "fp16")


def test_data_that_changes_between_two_sessions_is_told(session: Session, veri: Path, tmp_path: Path) -> None:
    root = tmp_path / "veri"
    shutil.copytree(veri, root)
    dataset = open_dataset(root, needs="query")
    lost = Path(str(dataset.gallery.images[3].frames[0]))

    class Deleting(Sabotaged):
        def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
            lost.write_bytes(b"no picture any more")
            return super().compute(frames, pooling)

    with pytest.raises(DataError, match=f"{lost.name} changed while it was read"):
        verify(Deleting(session), dataset, fp16=Sabotaged(session), int8=Sabotaged(session))


def test_unreadable_frames_are_left_out_of_both_sides(session: Session, veri: Path, tmp_path: Path) -> None:
    root = tmp_path / "veri"
    shutil.copytree(veri, root)
    dataset = open_dataset(root, needs="query")
    Path(str(dataset.gallery.images[3].frames[0])).write_bytes(b"no picture")
    Path(str(dataset.query.images[2].frames[0])).write_bytes(b"no picture")
    (found,) = verify(session, dataset, fp16=Sabotaged(session))
    assert found.failures == ()
    assert found.protocols[0].queries == len(dataset.query.images) - 1
    for image in dataset.gallery.images:
        Path(str(image.frames[0])).write_bytes(b"no picture")
    with pytest.raises(DataError, match="0 gallery"):
        verify(session, dataset, fp16=Sabotaged(session))


def test_a_reference_that_is_broken_itself_is_an_error(session: Session, dataset: Dataset, crops: Crops) -> None:
    with pytest.raises(ModelError, match=r"NaN.*train the model again"):
        verify(Sabotaged(session, embeddings=second_row(np.nan)), dataset, fp16=session)
    broken = crops.embeddings.copy()
    broken[2] = np.nan
    with pytest.raises(ModelError, match="export the bundle again"):
        compare_on_crops(reference_of(session, Crops(crops.frames, broken)), "fp16", session)


def test_a_comparison_needs_no_torch() -> None:
    parts = [f"reid.evaluation.verification.{name}" for name in ("compare", "reading", "tolerances")]
    names = ", ".join([*parts, "reid.export.verification.graphs", "reid.pages.verification.report"])
    code = f"import {names}, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
