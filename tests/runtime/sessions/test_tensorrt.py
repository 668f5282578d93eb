"""Finding and refusing engines, everywhere; running them for real on a GPU, and in a sketch of one elsewhere."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import reid.runtime.sessions.tensorrt as sessions
from reid.export.engines.build import build_engine
from reid.export.engines.options import EngineOptions
from reid.export.graphs import ExportedGraph
from reid.runtime.bundle import Bundle
from reid.runtime.embedding import embed
from reid.runtime.engine_card import EngineCard, Profile, Target
from reid.runtime.errors import ModelError, SessionError
from reid.runtime.gpu import Device, find_device
from reid.runtime.precision import Precision
from reid.runtime.sessions.session import BatchLimits, run
from reid.runtime.sessions.tensorrt import TensorRTSession, find_engine, open_tensorrt, open_tensorrt_rtx
from reid.runtime.tracklet import Tracklet

pytestmark = pytest.mark.rtx

COMMAND = r"reid-export \S+ --precision fp32 --engine tensorrt-rtx --profile 1,4,8:1,2,8 --workspace 4096 \S+ 0"
OPTIONS = EngineOptions("tensorrt-rtx", profiles=(Profile((1, 4, 8), (1, 2, 8)),), optimization_level=0)


@pytest.fixture(scope="module")
def with_engine(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle with a real TensorRT-RTX engine. Copy to change."""
    root = tmp_path_factory.mktemp("engines") / "bundle"
    shutil.copytree(bundle, root)
    opened = Bundle.open(root)
    build_engine(ExportedGraph(opened.graph("fp32")), root / "engines", opened.card, OPTIONS)
    return root


@pytest.fixture
def copy(with_engine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(with_engine, tmp_path / "bundle"))


def sidecar_of(root: Path) -> Path:
    (sidecar,) = (root / "engines").glob("*.json")
    return sidecar


def card_of(root: Path) -> EngineCard:
    return EngineCard.parse(sidecar_of(root).read_bytes(), sidecar_of(root))


def find(root: Path, precision: Precision = "fp32", **here: str) -> tuple[Path, EngineCard]:
    facts: dict[str, Any] = {"flavor": "tensorrt-rtx", "version": card_of(root).version, "compute_capability": "8.6"}
    return find_engine(Bundle.open(root), precision, Target(**{**facts, **here}))


def rewritten(root: Path, **changes: Any) -> None:  # noqa: ANN401
    sidecar_of(root).write_text(card_of(root).model_copy(update=changes).to_json())


def test_the_engine_for_here_is_found(with_engine: Path) -> None:
    path, card = find(with_engine)
    assert path == sidecar_of(with_engine).with_suffix(".engine")
    assert card == card_of(with_engine)


def test_damaged_engines_are_refused_with_the_command_that_rebuilds(copy: Path) -> None:
    engine = sidecar_of(copy).with_suffix(".engine")
    content = engine.read_bytes()
    for damaged in (b"", content[:-1], content[: len(content) // 2], content[:-1] + bytes([content[-1] ^ 1])):
        engine.write_bytes(damaged)
        with pytest.raises(ModelError, match=rf"{engine.name}.*rebuild it: {COMMAND}$"):
            find(copy)
    engine.unlink()
    with pytest.raises(ModelError, match=rf"is missing; rebuild it: {COMMAND}$"):
        find(copy)


def test_an_engine_of_another_graph_or_model_is_refused(copy: Path) -> None:
    for changes, named in (({"graph_sha256": "0" * 64}, "graph"), ({"fingerprint": "0" * 64}, "model")):
        original = sidecar_of(copy).read_bytes()
        rewritten(copy, **changes)
        with pytest.raises(ModelError, match=rf"another {named} \(000000000000.*{COMMAND}$"):
            find(copy)
        sidecar_of(copy).write_bytes(original)


def test_an_engine_for_elsewhere_is_refused_with_the_command_that_rebuilds(with_engine: Path) -> None:
    version = card_of(with_engine).version
    for here, named in (
        ({"version": "1.6.0.1"}, f"TensorRT-RTX {version}, and this is TensorRT-RTX 1.6.0.1"),
        ({"version": "9.0"}, "9.0"),
        ({"compute_capability": "9.0"}, "this GPU has 9.0"),
        ({"compute_capability": "7.5"}, "this GPU has 7.5"),
    ):
        with pytest.raises(SessionError, match=rf"{named}; rebuild it: {COMMAND}$"):
            find(with_engine, **here)


def test_where_no_engine_is_there_the_command_builds_one(bundle: Path, with_engine: Path) -> None:
    opened = Bundle.open(bundle)
    for precision, flavor in (("fp32", "tensorrt-rtx"), ("fp16", "tensorrt")):
        command = f"reid-export {bundle} --precision {precision} --engine {flavor}"
        with pytest.raises(SessionError, match=rf"no {precision} engine.*{command}$"):
            find_engine(opened, precision, Target(flavor, "1.7", "8.6"))
    with pytest.raises(SessionError, match=r"no fp32 engine of TensorRT;"):
        find(with_engine, flavor="tensorrt")


def test_an_engine_without_a_sidecar_or_with_anothers_is_never_taken(copy: Path) -> None:
    sidecar = sidecar_of(copy)
    content = sidecar.read_bytes()
    sidecar.unlink()
    with pytest.raises(SessionError, match="no fp32 engine"):
        find_engine(Bundle.open(copy), "fp32", Target("tensorrt-rtx", "1.7.1.116", "8.6"))
    (sidecar.parent / "other.json").write_bytes(content)
    (sidecar.parent / "other.engine").write_bytes(b"another engine")
    with pytest.raises(ModelError, match=r"other\.engine has 14 bytes"):
        find(copy)


def test_a_damaged_or_newer_sidecar_is_refused_by_its_name(copy: Path) -> None:
    sidecar = sidecar_of(copy)
    text = sidecar.read_text()
    version = card_of(copy).version
    for damaged, named in (
        (text[:-10], "not valid"),
        (text.replace('"8.6"', '"9.0"'), "edited"),
        (text.replace('"format_version": 1', '"format_version": 2'), "newer"),
        (text.replace('"format_version": 1', '"format_version": 0'), "format version 0"),
    ):
        sidecar.write_text(damaged)
        with pytest.raises(ModelError, match=rf"\.json.*{named}"):
            find_engine(Bundle.open(copy), "fp32", Target("tensorrt-rtx", version, "8.6"))


def test_of_several_engines_the_one_for_here_is_taken(copy: Path) -> None:
    sidecar = sidecar_of(copy)
    version = card_of(copy).version
    elsewhere = card_of(copy).model_copy(update={"compute_capabilities": ("12.0",)})
    for name in ("a", "z"):  # before and after it in the folder
        (sidecar.parent / f"{name}.json").write_text(elsewhere.to_json())
    path, _ = find_engine(Bundle.open(copy), "fp32", Target("tensorrt-rtx", version, "8.6"))
    assert path == sidecar.with_suffix(".engine")


def test_a_damaged_engine_does_not_stand_in_the_way_of_a_good_one(copy: Path) -> None:
    good = sidecar_of(copy).with_suffix(".engine")
    version = card_of(copy).version
    (copy / "engines" / "aaa.engine").write_bytes(good.read_bytes()[:-1])
    shutil.copy(sidecar_of(copy), copy / "engines" / "aaa.json")
    (copy / "engines" / "aab.json").write_text("[" * 100_000)
    here = Target("tensorrt-rtx", version, "8.6")
    assert find_engine(Bundle.open(copy), "fp32", here)[0] == good
    good.unlink()
    with pytest.raises(ModelError, match="aaa"):
        find_engine(Bundle.open(copy), "fp32", here)


def test_without_a_gpu_a_bundle_does_not_open_and_says_what_does(
    with_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "find_device", lambda ordinal: None)
    for opener in (open_tensorrt, open_tensorrt_rtx):
        with pytest.raises(SessionError, match=r"no NVIDIA GPU 0 .*onnxruntime:cpu"):
            opener(with_engine, None, "fp32")
        with pytest.raises(SessionError, match="no NVIDIA GPU 3"):
            opener(with_engine, "3", "fp32")
        with pytest.raises(SessionError, match="give a GPU's number"):
            opener(with_engine, "cuda", "fp32")
        with pytest.raises(SessionError, match="give its bundle"):
            opener(with_engine / "model.fp32.onnx", None, "fp32")
        with pytest.raises(ModelError, match="has no int8 graph"):
            opener(with_engine, None, "int8")


def test_a_refused_engine_is_never_deserialized(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: object) -> None:
        raise AssertionError("the engine was deserialized")

    monkeypatch.setattr(sessions, "find_device", lambda ordinal: Device("NVIDIA L4", "8.9", "13.0"))
    monkeypatch.setattr(sessions, "TensorRTSession", never)
    with pytest.raises(AssertionError, match="was deserialized"):
        open_tensorrt_rtx(copy, None, "fp32")
    engine = sidecar_of(copy).with_suffix(".engine")
    engine.write_bytes(engine.read_bytes()[:-1])
    with pytest.raises(ModelError, match="bytes instead of the"):
        open_tensorrt_rtx(copy, None, "fp32")


class Gpu:
    """A sketch of pycuda's driver and of TensorRT: memory are arrays, and the engine pools the frames' means."""

    __version__ = "1.7.1.116"

    def __init__(self, dimensions: int) -> None:
        self.dimensions, self.depth, self.stack = dimensions, 0, 0
        self.memory: dict[int, np.ndarray] = {}
        self.profile, self.shapes, self.addresses = 0, {}, {}  # type: ignore[var-annotated]
        self.loads = True
        self.calls: list[str] = []

    # pycuda.driver
    def init(self) -> None: ...

    def Device(self, ordinal: int) -> Any:  # noqa: ANN401, N802
        context = SimpleNamespace(push=self._push, pop=self._pop, detach=lambda: self.calls.append("detach"))
        return SimpleNamespace(retain_primary_context=lambda: context)

    def _push(self) -> None:
        self.stack += 1

    def _pop(self) -> None:
        self.stack -= 1

    def Stream(self) -> Any:  # noqa: ANN401, N802
        return SimpleNamespace(handle=7, synchronize=lambda: self.calls.append("synchronize"))

    def mem_alloc(self, size: int) -> int:
        address = len(self.memory) + 1
        self.memory[address] = np.zeros(size, np.uint8)
        return address

    def memcpy_htod(self, address: int, array: np.ndarray) -> None:
        assert array.flags.c_contiguous
        self.memory[address][: array.nbytes] = array.view(np.uint8).reshape(-1)

    def memcpy_dtoh(self, array: np.ndarray, address: int) -> None:
        array.view(np.uint8).reshape(-1)[:] = self.memory[address][: array.nbytes]

    # tensorrt
    ILogger = type("ILogger", (), {"ERROR": 1, "INTERNAL_ERROR": 0})

    def Runtime(self, logger: Any) -> Any:  # noqa: ANN401, N802
        logger.log(3, "all is well")
        if not self.loads:
            logger.log(1, "Serialization assertion\nfailed")
        engine = SimpleNamespace(create_execution_context=lambda: self)
        return SimpleNamespace(deserialize_cuda_engine=lambda plan: engine if self.loads else None)

    @property
    def active_optimization_profile(self) -> int:
        return self.profile

    def set_optimization_profile_async(self, index: int, stream: int) -> bool:
        self.profile = index
        self.calls.append(f"profile {index}")
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def _array(self, name: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.memory[self.addresses[name]][:size].view(dtype).reshape(shape)

    def execute_async_v3(self, stream: int) -> bool:
        assert self.stack == 1
        frames = self._array("frames", np.uint8, self.shapes["frames"])
        pooling = self._array("pooling", np.float32, self.shapes["pooling"])
        embedding = np.repeat(
            frames.reshape(len(frames), -1).mean(axis=1, dtype=np.float32)[:, None], self.dimensions, 1
        )
        self._array("frame_embedding", np.float32, embedding.shape)[:] = embedding
        self._array("pooled", np.float32, (len(pooling), self.dimensions))[:] = pooling @ embedding
        return True


@pytest.fixture
def gpu(with_engine: Path, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    sketch = Gpu(Bundle.open(with_engine).card.dimensions)
    monkeypatch.setattr(sessions, "_import_pycuda", lambda: sketch)
    return sketch


def session_on(gpu: Gpu, root: Path, *profiles: Profile) -> TensorRTSession:
    path, engine = find(root)
    engine = engine.model_copy(update={"profiles": profiles or engine.profiles})
    return TensorRTSession(path, engine, Bundle.open(root).card, gpu, Device("NVIDIA L4", "8.9", "13.0"), 0)  # type: ignore[arg-type]


def batch(count: int, tracklets: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(count)
    frames = random.integers(0, 256, (count, 3, 64, 64)).astype(np.uint8)
    return frames, random.uniform(size=(tracklets, count)).astype(np.float32)


def test_a_batch_goes_to_the_device_and_back(gpu: Gpu, with_engine: Path) -> None:
    with session_on(gpu, with_engine) as session:
        assert str(session.info) == "TensorRT-RTX 1.7.1.116 on NVIDIA L4"
        kept = None
        for count, tracklets in ((1, 1), (8, 3), (5, 5)):
            frames, pooling = batch(count, tracklets)
            frame_embedding, pooled = run(session, frames[:, :, ::-1], np.asfortranarray(pooling))
            expected = frames.reshape(count, -1).mean(axis=1)
            np.testing.assert_allclose(frame_embedding[:, 0], expected, rtol=1e-5)
            np.testing.assert_allclose(pooled[:, -1], pooling @ expected, rtol=1e-5)
            kept = kept or (frame_embedding, frame_embedding.copy())
        assert np.array_equal(*kept)  # type: ignore[misc]
    assert gpu.calls == ["synchronize"] * 3 + ["detach"]
    assert gpu.stack == 0


def test_the_first_profile_that_fits_is_selected(gpu: Gpu, with_engine: Path) -> None:
    with session_on(gpu, with_engine, Profile((1, 1, 2), (1, 1, 2)), Profile((2, 8, 16), (1, 4, 8))) as session:
        for count, tracklets in ((2, 1), (3, 1), (16, 8), (1, 1)):
            run(session, *batch(count, tracklets))
        assert [call for call in gpu.calls if call.startswith("profile")] == ["profile 1", "profile 0"]
        assert session.limits == BatchLimits(16, 8)
        for count, tracklets in ((17, 1), (16, 9)):
            with pytest.raises(
                ValueError, match=rf"{count} frames of {tracklets} tracklets: .* at most 16 frames of 8"
            ):
                run(session, *batch(count, tracklets))
        with pytest.raises(SessionError, match=r"3 frames of 0 tracklets fit no profile.*16 frames"):
            run(session, *batch(3, 0))


def test_the_limits_do_not_depend_on_the_order_of_the_profiles(gpu: Gpu, with_engine: Path) -> None:
    profiles = [Profile((1, 8, 8), (1, 8, 8)), Profile((9, 32, 32), (1, 2, 2)), Profile((1, 32, 32), (1, 8, 8))]
    for ordered in itertools.permutations(profiles):
        with session_on(gpu, with_engine, *ordered) as session:
            assert session.limits == BatchLimits(32, 8)


@pytest.mark.parametrize("profile", [Profile((1, 8, 8), (1, 4, 4)), Profile((1, 16, 32), (1, 1, 1))])
def test_tracklets_are_embedded_in_batches_that_the_profile_takes(
    gpu: Gpu, with_engine: Path, profile: Profile
) -> None:
    pixels, _ = batch(40, 1)
    crops = [frame.transpose(1, 2, 0) for frame in pixels]
    tracklets = [Tracklet(str(i), tuple(crops[i : i + 1 + i % 7])) for i in range(30)]
    with session_on(gpu, with_engine, profile) as session:
        for entry in embed(session, tracklets, keep_frames=True):
            assert len(entry.frames) == len(entry.tracklet.frames)
            for index, embedding in entry.frames.items():
                assert embedding[0] == pytest.approx(np.asarray(entry.tracklet.frames[index]).mean(), rel=1e-5)


def test_an_engine_that_does_not_load_is_an_error_with_the_command(gpu: Gpu, with_engine: Path) -> None:
    gpu.loads = False
    with pytest.raises(
        ModelError, match=rf"does not load on TensorRT-RTX.*\(Serialization assertion failed\); rebuild it: {COMMAND}$"
    ):
        session_on(gpu, with_engine)
    assert gpu.calls == ["detach"]
    assert gpu.stack == 0


@pytest.mark.gpu
def test_an_engine_on_a_gpu_equals_onnx_runtime_on_the_cpu(with_engine: Path) -> None:
    device = find_device()
    assert device is not None
    if device.compute_capability not in card_of(with_engine).compute_capabilities:
        with pytest.raises(SessionError, match="rebuild it"):
            open_tensorrt_rtx(with_engine, None, "fp32")
        return
    from reid.runtime.sessions.onnxruntime import load_onnxruntime

    graph = with_engine / "model.fp32.onnx"
    with open_tensorrt_rtx(with_engine, None, "fp32").session as session, load_onnxruntime(graph, "cpu") as reference:
        for count, tracklets in ((1, 1), (8, 3), (8, 8), (5, 2)):
            frames, pooling = batch(count, tracklets)
            for actual, expected in zip(run(session, frames, pooling), run(reference, frames, pooling), strict=True):
                np.testing.assert_allclose(actual, expected, atol=1e-4)
