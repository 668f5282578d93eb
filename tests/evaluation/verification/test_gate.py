"""The gate lets through what answers the same, and nothing else: sessions that each get one thing wrong."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from recording import Recorder

from reid.data.dataset import Dataset
from reid.data.layout import open_dataset
from reid.evaluation.protocols import PROTOCOLS, embed_data, evaluate_protocol
from reid.evaluation.verification.gate import (
    MOST_WORST_QUERIES,
    compare_retrieval,
    embed_reference,
    verify_embeddings,
)
from reid.evaluation.verification.records import PrecisionVerification, Tolerance
from reid.runtime.bundle import Bundle
from reid.runtime.embedding import normalize
from reid.runtime.errors import DataError, ModelError
from reid.runtime.imaging import read_frame, resize
from reid.runtime.model_card import ModelCard
from reid.runtime.sessions.session import Session, open_session


def unchanged(array: np.ndarray) -> np.ndarray:
    return array


@dataclass
class Sabotaged:
    """A session whose frames, embeddings or sums are changed on their way."""

    inner: Session
    frames: Callable[[np.ndarray], np.ndarray] = unchanged
    embeddings: Callable[[np.ndarray], np.ndarray] = unchanged
    pooled: Callable[[np.ndarray], np.ndarray] = unchanged
    device: str = "sabotaged"
    batches: list[int] = field(default_factory=list)

    @property
    def card(self) -> ModelCard:
        return self.inner.card

    def run(
        self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.batches.append(len(frames))
        embeddings, _ = self.inner.run(np.ascontiguousarray(self.frames(frames)), pooling)
        embeddings = self.embeddings(embeddings).astype(np.float32)
        with np.errstate(all="ignore"):
            return embeddings, self.pooled(pooling @ embeddings)

    def close(self) -> None:
        pass

    def __enter__(self) -> Sabotaged:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Oracle(Sabotaged):
    """A session that knows each picture's vehicle and puts it near others of that vehicle: a well-trained model."""

    def __init__(
        self, inner: Session, dataset: Dataset, embeddings: Callable[[np.ndarray], np.ndarray] = unchanged
    ) -> None:
        super().__init__(inner, embeddings=embeddings, device="oracle")
        size, random = self.card.preprocessing, np.random.default_rng(0)
        centers: dict[str, np.ndarray] = {}
        self._known: dict[bytes, np.ndarray] = {}
        for image in (*dataset.query.images, *dataset.gallery.images):
            pixels = resize(read_frame(image.frames[0]), size.height, size.width).transpose(2, 0, 1)
            center = centers.setdefault(str(image.vehicle), random.normal(size=32))
            self._known[pixels.tobytes()] = center + 1.3 * random.normal(size=32)

    def run(
        self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        rows = normalize(np.stack([self._known[frame.tobytes()] for frame in frames]).astype(np.float32))
        embeddings = self.embeddings(rows).astype(np.float32)
        return embeddings, pooling @ embeddings


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


def verify(
    reference: Session, dataset: Dataset, tolerance: Tolerance | None = None, **candidates: Session
) -> tuple[PrecisionVerification, ...]:
    expected = embed_reference(reference, dataset.query, dataset.gallery)
    return tuple(
        compare_retrieval(expected, precision, session, tolerance or Tolerance(), levels=reference.card.levels)
        for precision, session in candidates.items()
    )


def assert_json_holds(verification: PrecisionVerification) -> None:
    text = verification.model_dump_json()
    json.loads(text, parse_constant=pytest.fail)
    assert PrecisionVerification.model_validate_json(text) == verification


def test_the_same_session_passes_with_differences_of_zero(session: Session, dataset: Dataset) -> None:
    (found,) = verify(session, dataset, fp16=Sabotaged(session))
    assert (found.precision, found.session) == ("fp16", "sabotaged")
    assert (found.failures, found.worst_queries) == ((), ())
    assert [level.level for level in found.similarity.levels] == ["all", "level3", "level4"]
    assert {level.minimum for level in found.similarity.levels} == {1.0}
    assert [comparison.protocol for comparison in found.protocols] == list(PROTOCOLS)
    for comparison in found.protocols:
        assert set(comparison.difference.values()) == {0.0}
        assert set(comparison.interval.values()) == {(0.0, 0.0)}
        assert comparison.first_match_changed == 0
        summary = evaluate_protocol(
            embed_data(session, dataset.query, dataset.gallery), PROTOCOLS[comparison.protocol]
        ).summary()
        assert comparison.reference == {name: summary[name] for name in comparison.reference}
        assert comparison.queries == summary["queries"]
    assert_json_holds(found)


def test_the_checkpoint_and_its_graph_pass(checkpoint: Path, session: Session, dataset: Dataset) -> None:
    with open_session(checkpoint, "torch:cpu") as torch_session:
        (found,) = verify(torch_session, dataset, fp32=session)
    assert found.failures == ()
    assert 1 - 1e-9 < found.similarity.levels[0].minimum <= 1
    assert found.session == "ONNX Runtime on CPU"


@pytest.mark.parametrize("name", list(SABOTAGE))
def test_sabotage_is_caught_by_either_gate(
    name: str, session: Session, dataset: Dataset, expected: NDArray[np.float32], frames: NDArray[np.uint8]
) -> None:
    candidates = {"good": Sabotaged(session), "fp16": Sabotaged(session, **SABOTAGE[name])}
    levels = session.card.levels
    by_retrieval = verify(session, dataset, **candidates)
    by_embeddings = verify_embeddings(expected, candidates, frames, Tolerance(), levels=levels)
    for good, bad in (by_retrieval, by_embeddings):
        assert good.failures == ()
        assert bad.failures
        assert all(failure.startswith("fp16") and "\n" not in failure for failure in bad.failures)
        assert_json_holds(bad)


def test_noise_of_a_rounding_passes_either_gate(
    session: Session, dataset: Dataset, expected: NDArray[np.float32], frames: NDArray[np.uint8]
) -> None:
    (found,) = verify_embeddings(
        expected, {"fp16": Sabotaged(session, embeddings=noise(1e-3))}, frames, Tolerance(), levels=session.card.levels
    )
    assert found.failures == ()
    assert found.protocols == ()
    (found,) = verify(Oracle(session, dataset), dataset, fp16=Oracle(session, dataset, noise(1e-3)))
    assert found.failures == ()
    assert found.similarity.levels[0].minimum < 1 - 1e-6


def test_a_fall_is_told_with_both_values_the_tolerance_and_the_noise(session: Session, dataset: Dataset) -> None:
    good = Oracle(session, dataset)
    (found,) = verify(good, dataset, Tolerance(int8_similarity=-1), int8=Oracle(session, dataset, noise(0.4)))
    falls = {(c.protocol, metric): c for c in found.protocols for metric in c.exceeded}
    assert ("i2i", "mAP") in falls
    pattern = (
        r"int8, (\w+): (\S+) fell by (\S+) points, from (\S+) to (\S+), tolerance 0.5; (within|beyond) the noise of "
        r"(\d+) queries \(95 % interval (\S+) to (\S+)\)"
    )
    told = [re.fullmatch(pattern, failure) for failure in found.failures]
    assert len(told) == len(falls)
    for match in told:
        assert match is not None
        protocol, metric, fall, before, after, noise_is, queries, low, high = match.groups()
        comparison = falls[protocol, metric]
        assert float(fall) == pytest.approx(-comparison.difference[metric], abs=0.006)
        assert float(before) == pytest.approx(comparison.reference[metric], abs=0.006)
        assert float(after) == pytest.approx(comparison.candidate[metric], abs=0.006)
        assert (float(low), float(high)) == pytest.approx(comparison.interval[metric], abs=0.006)
        assert noise_is == ("within" if comparison.interval[metric][1] >= 0 else "beyond")
        assert int(queries) == comparison.queries
    assert {match.group(6) for match in told if match} == {"within", "beyond"}
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


def test_the_level_that_is_wrong_is_named(
    session: Session, expected: NDArray[np.float32], frames: NDArray[np.uint8]
) -> None:
    first, second = session.card.levels
    for level, part in ((first, slice(0, 16)), (second, slice(16, 32))):

        def perturb(rows: np.ndarray, part: slice = part) -> np.ndarray:
            changed = rows.copy()
            changed[:, part] = np.roll(changed[:, part], 1, axis=1)
            return changed

        candidates = {"fp16": Sabotaged(session, embeddings=perturb)}
        (found,) = verify_embeddings(expected, candidates, frames, Tolerance(), levels=session.card.levels)
        (failure,) = found.failures
        assert f"{level.name} is the furthest off" in failure


def test_the_number_of_broken_embeddings_is_told(
    session: Session, expected: NDArray[np.float32], frames: NDArray[np.uint8]
) -> None:
    twice = (np.concatenate([expected] * 2), np.concatenate([frames] * 2))  # two batches, one broken row in each
    candidates = {"fp16": Sabotaged(session, embeddings=second_row(np.nan))}
    (found,) = verify_embeddings(twice[0], candidates, twice[1], Tolerance(), levels=session.card.levels)
    (failure,) = found.failures
    assert failure.startswith(f"fp16: 2 of {2 * len(frames)} embeddings are NaN or infinite")


@pytest.mark.parametrize("change", [lambda sums: -sums, lambda sums: 0.5 * sums, lambda sums: sums * np.nan])
def test_sums_that_are_wrong_are_caught_where_frames_are_right(
    change: Callable[[np.ndarray], np.ndarray],
    session: Session,
    expected: NDArray[np.float32],
    frames: NDArray[np.uint8],
) -> None:
    candidates = {"fp16": Sabotaged(session, pooled=change)}
    twice = (np.concatenate([expected] * 2), np.concatenate([frames] * 2))
    (found,) = verify_embeddings(twice[0], candidates, twice[1], Tolerance(), levels=session.card.levels)
    (failure,) = found.failures
    assert "`pooled` is not the sum" in failure
    assert candidates["fp16"].batches == [32, 32]
    assert_json_holds(found)


def test_progress_runs_over_all_frames_of_reference_and_candidate(session: Session, dataset: Dataset) -> None:
    recorder = Recorder()
    expected = embed_reference(
        session,
        dataset.query,
        dataset.gallery,
        protocols=[PROTOCOLS["i2i"]],
        progress=recorder,
    )
    compare_retrieval(
        expected,
        "fp16",
        Sabotaged(session),
        Tolerance(),
        levels=session.card.levels,
        progress=recorder,
    )
    of_reference, of_candidate = recorder.stages
    assert (of_reference.name, of_candidate.name) == (f"embedding with {session.device}", "verifying fp16")
    assert of_reference.steps == of_candidate.steps
    assert min(of_reference.steps) > 0
    for stage in recorder.stages:
        assert stage.total == stage.done


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_int8_embeddings_may_differ_more_while_they_find_the_same(
    precision: str, session: Session, expected: NDArray[np.float32], frames: NDArray[np.uint8]
) -> None:
    tolerance = Tolerance(similarity=1, int8_similarity=-1)
    candidate = Sabotaged(session, embeddings=noise(0.01))
    (found,) = verify_embeddings(expected, {precision: candidate}, frames, tolerance, levels=session.card.levels)
    assert bool(found.failures) == (precision == "fp16")


def test_data_that_changes_between_two_sessions_is_told(session: Session, veri: Path, tmp_path: Path) -> None:
    root = tmp_path / "veri"
    shutil.copytree(veri, root)
    dataset = open_dataset(root, needs="query")
    lost = Path(str(dataset.gallery.images[3].frames[0]))

    class Deleting(Sabotaged):
        def run(
            self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]
        ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            lost.write_bytes(b"no picture any more")
            return super().run(frames, pooling)

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


def test_a_reference_that_is_broken_itself_is_an_error(
    session: Session, dataset: Dataset, expected: NDArray[np.float32], frames: NDArray[np.uint8]
) -> None:
    with pytest.raises((ModelError, DataError), match="nan"):
        verify(Sabotaged(session, embeddings=second_row(np.nan)), dataset, fp16=session)
    broken = expected.copy()
    broken[2] = np.nan
    with pytest.raises(ModelError, match="export the bundle again"):
        verify_embeddings(broken, {"fp16": session}, frames, Tolerance(), levels=session.card.levels)


def test_the_gate_needs_no_torch() -> None:
    gate = [f"reid.evaluation.verification.{name}" for name in ("gate", "tolerances")]
    names = ", ".join([*gate, "reid.export.verification.drift", "reid.export.verification.report"])
    code = f"import {names}, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
