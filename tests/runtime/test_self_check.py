"""Every sabotage leaves a bundle whose hashes are right, so that only the self-check can notice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper

import reid.runtime.imaging
from reid.runtime.bundle import Bundle
from reid.runtime.errors import ModelError
from reid.runtime.opening import open_session
from reid.runtime.precision import Precision
from reid.runtime.self_check import SIMILARITY, check_session
from reid.runtime.sessions.graph import CARD_KEY
from reid.runtime.sessions.host import HostSession
from reid.runtime.sessions.opened import Reference
from reid.runtime.sessions.session import DEFAULT_LIMITS, BatchLimits, Embeddings, Session, SessionInfo, run

GRAPH = "model.fp32.onnx"


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of passed checks, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "reid" / "self-checks"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Frames of every batch that a session ran."""
    counts: list[int] = []
    compute = HostSession.compute

    def counting(session: HostSession, frames: NDArray[np.uint8], pooling: NDArray[np.float32]) -> Embeddings:
        counts.append(len(frames))
        return compute(session, frames, pooling)

    monkeypatch.setattr(HostSession, "compute", counting)
    return counts


def rehash(bundle: Path) -> None:
    """Write the right hashes into the card, as one who sabotages would."""
    card = json.loads((bundle / "model.json").read_text())
    card["files"] = {name: hashlib.sha256((bundle / name).read_bytes()).hexdigest() for name in card["files"]}
    (bundle / "model.json").write_text(json.dumps(card))


def change_graph(bundle: Path, change: Callable[[ModelProto], None]) -> None:
    model = onnx.load(bundle / GRAPH)
    change(model)
    onnx.save(model, bundle / GRAPH)
    rehash(bundle)


def set_weight(model: ModelProto, name: str, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    values = change(numpy_helper.to_array(tensor)).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), name))


def node_of(model: ModelProto, output: str) -> onnx.NodeProto:
    (node,) = (node for node in model.graph.node if output in node.output)
    return node


def other_mean(model: ModelProto) -> None:
    set_weight(model, "model.mean", lambda mean: np.full_like(mean, 127.5))


def slightly_other_mean(model: ModelProto) -> None:
    set_weight(model, "model.mean", lambda mean: mean + 0.02 * 255)


def other_std(model: ModelProto) -> None:
    set_weight(model, "model.std", lambda std: np.full_like(std, 127.5))


def swapped_colors(model: ModelProto) -> None:
    (first,) = (node for node in model.graph.node if node.op_type == "Conv" and node.input[0] == "div")
    set_weight(model, first.input[1], lambda weight: weight[:, ::-1])


def permuted_levels(model: ModelProto) -> None:
    levels = node_of(model, "cat").input
    levels[:] = [*levels][::-1]


def perturbed_weights(model: ModelProto) -> None:
    noise = np.random.default_rng(0)
    set_weight(
        model, "model.heads.0.weight", lambda weight: weight + 0.2 * weight.std() * noise.normal(size=weight.shape)
    )


def unnormalized(model: ModelProto) -> None:
    node_of(model, "frame_embedding").op_type = "Mul"


def not_a_number(model: ModelProto) -> None:
    set_weight(model, "model.heads.0.bias", lambda bias: np.full_like(bias, np.nan))


def wrong_pooling(model: ModelProto) -> None:
    """Only tracklets of several frames suffer: all of a row's weight goes to its last frame."""
    matmul = node_of(model, "pooled")
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "last"))
    matmul.input[0] = "hard"
    model.graph.node.extend(
        [
            helper.make_node("Shape", ["pooling"], ["size"], start=1),
            helper.make_node("ArgMax", ["pooling"], ["best"], axis=1, keepdims=0, select_last_index=1),
            helper.make_node("OneHot", ["best", "size", "zero_one"], ["hard"]),
        ]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 1], np.float32), "zero_one"))
    nodes = sorted(model.graph.node, key=lambda node: node is matmul or node.output[0] == "pooled")
    del model.graph.node[:]
    model.graph.node.extend(nodes)


GRAPH_SABOTAGES = [
    other_mean,
    slightly_other_mean,
    other_std,
    swapped_colors,
    permuted_levels,
    perturbed_weights,
    unnormalized,
    not_a_number,
    wrong_pooling,
]


@pytest.mark.parametrize("sabotage", GRAPH_SABOTAGES, ids=lambda sabotage: sabotage.__name__)
def test_another_graph_never_answers(copy: Path, memory: Path, sabotage: Callable[[ModelProto], None]) -> None:
    change_graph(copy, sabotage)
    Bundle.open(copy)
    for _ in range(2):  # the second time, too: nothing was remembered
        with pytest.raises(ModelError, match=r"unlike PyTorch.*cosine similarity.*0\.9995.*reid-export") as caught:
            open_session(copy)
        assert "\n" not in str(caught.value)
    assert not memory.exists()


def test_wrong_pooling_is_found_in_the_tracklet_alone(copy: Path, memory: Path) -> None:
    change_graph(copy, wrong_pooling)
    with pytest.raises(ModelError, match="embeds the tracklet reference/"):
        open_session(copy)


@pytest.mark.parametrize("change", [{"height": 65}, {"height": 32, "width": 32}])
def test_a_card_with_another_size_never_answers(copy: Path, memory: Path, change: dict[str, int]) -> None:
    card = json.loads((copy / "model.json").read_text())
    card["preprocessing"] |= change
    (copy / "model.json").write_text(json.dumps(card))

    def take_card(model: ModelProto) -> None:
        own = json.loads(model.metadata_props[0].value)
        helper.set_model_props(model, {CARD_KEY: json.dumps({**own, "preprocessing": card["preprocessing"]})})

    change_graph(copy, take_card)
    with pytest.raises(ModelError, match=r"frames is uint8 .*, instead of .*; export it again") as caught:
        open_session(copy)
    assert "\n" not in str(caught.value)
    assert not memory.exists()


@pytest.mark.parametrize("interpolation", ["INTER_NEAREST", "INTER_AREA"])
def test_another_resize_never_answers(
    bundle: Path, memory: Path, interpolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        return np.asarray(cv2.resize(image, (width, height), interpolation=getattr(cv2, interpolation)), np.uint8)

    monkeypatch.setattr(reid.runtime.imaging, "resize", other)
    with pytest.raises(ModelError, match="unlike PyTorch"):
        open_session(bundle)
    assert not memory.exists()


def test_decoders_that_differ_by_one_of_255_are_within_tolerance(
    bundle: Path, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, random = reid.runtime.imaging.resize, np.random.default_rng(0)

    def noisy(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
        pixels = real(image, height, width).astype(np.int16)
        return np.clip(pixels + random.integers(-1, 2, pixels.shape), 0, 255).astype(np.uint8)

    monkeypatch.setattr(reid.runtime.imaging, "resize", noisy)
    open_session(bundle).close()


def other_crops(reference: NDArray[np.float32]) -> NDArray[np.float32]:
    return reference[::-1]


def another_model(reference: NDArray[np.float32]) -> NDArray[np.float32]:
    mixed, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(reference.shape[1],) * 2))
    return (reference @ mixed).astype(np.float32)


@pytest.mark.parametrize("change", [other_crops, another_model])
def test_references_of_another_model_are_refused(
    copy: Path, memory: Path, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> None:
    file = copy / "reference" / "embeddings.npy"
    np.save(file, change(np.load(file)))
    rehash(copy)
    with pytest.raises(ModelError, match="unlike PyTorch"):
        open_session(copy)
    assert not memory.exists()


@pytest.mark.parametrize(
    "content", ["missing", "unlisted", "fewer", "fewer values", "noise", "pickle", "zeros", "NaN", "huge"]
)
def test_references_that_cannot_be_compared_are_refused(copy: Path, memory: Path, content: str) -> None:
    file = copy / "reference" / "embeddings.npy"
    if content in ("missing", "unlisted"):
        if content == "missing":
            file.unlink()
        card = json.loads((copy / "model.json").read_text())
        del card["files"]["reference/embeddings.npy"]
        (copy / "model.json").write_text(json.dumps(card))
    elif content == "noise":
        file.write_bytes(b"not an array")
    else:
        reference = np.load(file)
        changed = {
            "pickle": np.array([{}]),
            "fewer": reference[1:],
            "fewer values": reference[:, :16],
            "zeros": np.zeros_like(reference),
            "NaN": np.full_like(reference, np.nan),
            "huge": np.full_like(reference, 3e38),
        }
        np.save(file, changed[content])
    rehash(copy)
    with pytest.raises(ModelError, match=r"reference .*export it again") as caught:
        open_session(copy)
    assert "\n" not in str(caught.value)


def test_a_crop_that_this_device_cannot_decode_is_named(copy: Path, memory: Path) -> None:
    (copy / "reference" / "0000.jpg").write_bytes(b"no picture")
    rehash(copy)
    with pytest.raises(ModelError, match=r"0000\.jpg: not a readable image.*opencv"):
        open_session(copy)


def test_a_passed_check_is_not_repeated(bundle: Path, memory: Path, runs: list[int]) -> None:
    open_session(bundle).close()
    assert runs == [6, 2]
    (entry,) = memory.iterdir()
    assert json.loads(entry.read_text())["session"] == f"ONNX Runtime {onnxruntime.__version__} on CPU"
    open_session(bundle).close()
    assert runs == [6, 2]


def test_another_graph_device_or_version_is_checked_again(
    copy: Path, memory: Path, runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(model: ModelProto) -> None:
        model.graph.name = "another file, the same function"

    open_session(copy).close()
    change_graph(copy, rename)
    open_session(copy).close()
    assert len(runs) == 4
    monkeypatch.setattr(onnxruntime, "__version__", "0.0")
    open_session(copy).close()
    assert len(runs) == 6
    monkeypatch.setattr("platform.node", lambda: "another machine")
    open_session(copy).close()
    assert len(runs) == 8
    assert len(list(memory.iterdir())) == 4


def test_a_memory_that_others_can_write_to_is_not_believed(bundle: Path, memory: Path, runs: list[int]) -> None:
    open_session(bundle).close()
    (entry,) = memory.iterdir()
    for path, mode in ((memory, 0o777), (memory, 0o770), (entry, 0o666)):
        before = len(runs)
        path.chmod(mode)
        open_session(bundle).close()
        assert len(runs) == before + 2
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path == memory else 0o600)  # ours: mended


def test_what_another_user_remembered_is_not_believed(
    bundle: Path, memory: Path, runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_session(bundle).close()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    open_session(bundle).close()
    assert runs == [6, 2] * 2


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff" * 100])
def test_a_damaged_memory_only_means_that_it_is_checked_again(
    bundle: Path, memory: Path, runs: list[int], damage: bytes
) -> None:
    open_session(bundle).close()
    (entry,) = memory.iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(damage)
    open_session(bundle).close()
    assert runs == [6, 2] * 2
    assert entry.read_bytes() == whole


def test_without_a_place_to_remember_every_session_is_checked(
    bundle: Path, tmp_path: Path, runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for cache in (str(tmp_path / "file"), "relative/folder"):
        runs.clear()
        monkeypatch.setenv("XDG_CACHE_HOME", cache)
        monkeypatch.chdir(tmp_path)
        for _ in range(2):
            open_session(bundle).close()
        assert runs == [6, 2] * 2
    assert os.listdir(tmp_path) == ["file"]


def test_the_default_place_is_in_the_users_cache(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    open_session(bundle).close()
    assert len(list((tmp_path / ".cache" / "reid" / "self-checks").iterdir())) == 1


class Blurred:
    """Makes embeddings of a given cosine similarity to the true ones."""

    def __init__(self, session: Session, similarity: float) -> None:
        self.inner, self.similarity = session, similarity
        self.batches: list[tuple[int, ...]] = []

    def session(self, precision: Precision = "fp32", limits: BatchLimits = DEFAULT_LIMITS) -> HostSession:
        info = SessionInfo("test", "1", "a lossy device", precision, self.inner.info.card)
        return HostSession(info, self.infer, limits)

    def infer(
        self, frames: NDArray[np.uint8], pooling: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.batches.append(pooling.shape)
        embedding, _ = run(self.inner, frames, pooling)
        across = np.roll(embedding, 1, axis=1)
        across -= (across * embedding).sum(axis=1, keepdims=True) * embedding
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        blurred = self.similarity * embedding + np.sqrt(1 - self.similarity**2) * across
        return blurred.astype(np.float32), (pooling @ blurred).astype(np.float32)


@pytest.mark.parametrize(("precision", "least"), SIMILARITY.items())
def test_each_precision_has_its_own_tolerance(bundle: Path, tmp_path: Path, precision: Precision, least: float) -> None:
    reference = Reference(Bundle.open(bundle), artifact_sha256="0", remedy="do this")
    with open_session(bundle) as session:
        just, not_quite = (Blurred(session, 1 - share * (1 - least)).session(precision) for share in (0.5, 1.2))
        check_session(just, reference, memory=tmp_path / "just")
        with pytest.raises(
            ModelError, match=rf"a lossy device .*at least {least} is expected of {precision}\); do this"
        ):
            check_session(not_quite, reference, memory=tmp_path / "not")
    assert (tmp_path / "just").exists()
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize(
    ("limits", "batches"),
    [
        (BatchLimits(3, 3), [(3, 3), (3, 3), (1, 2)]),
        (BatchLimits(32, 4), [(4, 4), (2, 4)]),
        (BatchLimits(8, 1), [(1, 1)] * 5 + [(1, 3)]),
        (DEFAULT_LIMITS, [(6, 6), (1, 2)]),
    ],
)
def test_batches_are_never_larger_than_the_session_takes(
    bundle: Path, tmp_path: Path, limits: BatchLimits, batches: list[tuple[int, int]]
) -> None:
    with open_session(bundle) as session:
        blurred = Blurred(session, 1.0)
        check_session(blurred.session(limits=limits), Reference(Bundle.open(bundle), "0"), memory=tmp_path)
    assert blurred.batches == batches
