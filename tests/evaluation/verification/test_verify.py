"""Sessions of every kind pass the gate that their graph has passed, and sabotaged ones do not."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from reid.data.dataset import Dataset
from reid.data.layout import open_dataset
from reid.evaluation.verification.records import ReferenceCrops, Tolerance
from reid.evaluation.verification.reference import embed_retrieval
from reid.evaluation.verification.stored_retrieval import write_retrieval
from reid.evaluation.verification.verify import bundle_reference, verify
from reid.runtime.bundle import REFERENCE_RETRIEVAL, Bundle
from reid.runtime.errors import ModelError
from reid.runtime.files.reading import sha256_of
from reid.runtime.imaging import read_frame, resize
from reid.runtime.opening import open_session
from reid.runtime.sessions.onnxruntime import load_onnxruntime
from reid.runtime.sessions.session import BatchLimits, Embeddings, Session, SessionInfo

TOLERANCE = Tolerance(map=100, rank=100)
"""An untrained model tells nobody apart: its embeddings count, and what they rank is noise."""


@pytest.fixture(scope="module")
def dataset(veri: Path) -> Dataset:
    return open_dataset(veri, needs="query")


@pytest.fixture(scope="module")
def session(bundle: Path) -> Iterator[Session]:
    with open_session(bundle, "onnxruntime:cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def kept(bundle: Path, session: Session, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, with results on the data."""
    folder = Path(shutil.copytree(bundle, tmp_path_factory.mktemp("kept") / "bundle"))
    found = embed_retrieval(session, dataset.query, dataset.gallery)
    write_retrieval(folder / REFERENCE_RETRIEVAL, replace(found, session="PyTorch 2 on CPU"), dataset)
    card = json.loads((folder / "model.json").read_text())
    card["files"][REFERENCE_RETRIEVAL] = sha256_of(folder / REFERENCE_RETRIEVAL)
    (folder / "model.json").write_text(json.dumps(card))
    return folder


@dataclass
class On:
    """A session that says that it is another, on some device, and may be given other frames."""

    inner: Session
    frames: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = lambda frames: frames

    @property
    def info(self) -> SessionInfo:
        return replace(self.inner.info, backend="tensorrt", device="NVIDIA L4")

    @property
    def limits(self) -> BatchLimits:
        return self.inner.limits

    def compute(self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
        return self.inner.compute(np.ascontiguousarray(self.frames(frames)), pooling)

    def close(self) -> None:
        self.inner.close()

    def __enter__(self) -> On:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@pytest.mark.parametrize("name", ["onnxruntime:cpu", "openvino", "torch:cpu"])
def test_sound_sessions_pass_and_the_reference_is_named(
    name: str, kept: Path, checkpoint: Path, dataset: Dataset
) -> None:
    backend = name.partition(":")[0]
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"needs {backend}")
    with open_session(checkpoint if backend == "torch" else kept, name) as opened:
        found = verify(kept, dataset, [opened])
    assert found.failures == ()
    (precision,) = found.precisions
    assert precision.session == str(opened.info)
    assert precision.similarity.levels[0].minimum > 1 - 1e-5
    # What the bundle keeps is rounded to FP16, by which the order of two that are nearly as close may change.
    assert max(abs(change.difference) for one in precision.protocols for change in one.changes) < 0.2
    assert found.reference == "PyTorch 2 on CPU, as the bundle keeps it"


def test_without_stored_results_the_fp32_graph_is_the_reference(
    bundle: Path, session: Session, dataset: Dataset
) -> None:
    found = verify(bundle, dataset, [On(session)])
    assert found.failures == ()
    assert found.reference == f"the bundle's FP32 graph by {session.info}"


def test_the_fp32_graph_is_never_compared_with_itself(
    bundle: Path, session: Session, dataset: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ModelError, match=r"would be compared with itself; choose another --precision or --session"):
        verify(bundle, dataset, [session])
    found = verify(bundle, dataset, [session, On(session)])
    assert [one.session for one in found.precisions] == [str(On(session).info)]
    assert "fp32 is not judged" in caplog.text


def test_a_session_of_another_model_is_refused(bundle: Path, session: Session, dataset: Dataset) -> None:
    other = On(session)
    card = session.info.card.model_copy(update={"fingerprint": "0" * 64})
    info = replace(session.info, card=card)

    class Other(On):
        @property
        def info(self) -> SessionInfo:
            return info

    with pytest.raises(ModelError, match="runs another model"):
        verify(bundle, dataset, [Other(other.inner)])


def test_without_data_sessions_of_a_bundle_are_compared_on_its_crops(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    reference = bundle_reference(opened, None, TOLERANCE)
    paths, embeddings = opened.reference()
    assert reference.retrieval is None
    assert reference.judged_on == ReferenceCrops(crops=len(paths))
    np.testing.assert_array_equal(reference.crops.embeddings, embeddings)
    expected = [resize(read_frame(path), 64, 64).transpose(2, 0, 1) for path in paths]
    np.testing.assert_array_equal(reference.crops.frames, expected)


def initializer(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    (tensor,) = (one for one in model.graph.initializer if one.name == name)
    return tensor


def set_to(tensor: onnx.TensorProto, values: np.ndarray) -> None:
    tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), tensor.name))


def noisy_weights(model: onnx.ModelProto) -> None:
    """1 % noise on every weight."""
    random = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if len(tensor.dims) > 1 and tensor.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(tensor)
            set_to(tensor, values * (1 + 0.01 * random.normal(size=values.shape)))


def mean_for_std(model: onnx.ModelProto) -> None:
    """Pixels are divided by the mean. (Divided by the mean deviation, they are embedded 0.99998 similar, and pass.)"""
    set_to(initializer(model, "model.std"), onnx.numpy_helper.to_array(initializer(model, "model.mean")))


def permuted_levels(model: onnx.ModelProto) -> None:
    shapes = {one.name for one in model.graph.initializer}
    (node,) = (one for one in model.graph.node if one.op_type == "Concat" and shapes.isdisjoint(one.input))
    levels = list(node.input)
    node.input[:] = levels[::-1]


def coarser(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Another resize: the nearest of every two pixels."""
    return np.repeat(np.repeat(frames[..., ::2, ::2], 2, axis=2), 2, axis=3)


def bgr(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return frames[:, ::-1]


@pytest.mark.parametrize("sabotage", [bgr, coarser])
@pytest.mark.parametrize("stored", [True, False])
def test_a_session_that_prepares_frames_otherwise_is_refused(
    sabotage: Callable[[np.ndarray], np.ndarray],
    stored: bool,
    kept: Path,
    bundle: Path,
    session: Session,
    dataset: Dataset,
) -> None:
    found = verify(kept if stored else bundle, dataset, [On(session, sabotage)], tolerance=TOLERANCE)
    assert "dissimilar" in {failure.kind for failure in found.failures}
    assert found.verdict == "outside"


@pytest.mark.parametrize("sabotage", [noisy_weights, mean_for_std, permuted_levels])
@pytest.mark.parametrize("stored", [True, False])
def test_a_sabotaged_graph_is_refused(
    sabotage: Callable[[onnx.ModelProto], None],
    stored: bool,
    kept: Path,
    bundle: Path,
    dataset: Dataset,
    tmp_path: Path,
) -> None:
    model = onnx.load(bundle / "model.fp32.onnx")
    sabotage(model)
    onnx.save(model, tmp_path / "graph.onnx")
    with load_onnxruntime(tmp_path / "graph.onnx", "cpu") as sabotaged:
        found = verify(kept if stored else bundle, dataset, [On(sabotaged)], tolerance=TOLERANCE)
    assert "dissimilar" in {failure.kind for failure in found.failures}
