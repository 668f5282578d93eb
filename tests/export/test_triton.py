from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format
from numpy.typing import NDArray
from onnx import helper
from triton_double import serving
from tritonclient.grpc import model_config_pb2 as schema

import reid.export.triton as writer
from reid.export.fp16 import write_fp16_graph
from reid.export.frames_graph import write_frames_graph
from reid.export.triton import engines_for_triton, write_triton_repository
from reid.runtime.bundle import CARD_FILE, Bundle, graph_file
from reid.runtime.engine_card import ENGINE_FORMAT_VERSION, EngineCard, LayerSummary, Profile
from reid.runtime.errors import ModelError, ReidError
from reid.runtime.files.reading import sha256_of

DOCS = Path(__file__).parents[2] / "docs" / "triton.md"


@pytest.fixture
def opened(bundle: Path) -> Bundle:
    return Bundle.open(bundle)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return tmp_path / "repository"


def engine(bundle: Bundle, folder: Path, **changes: Any) -> Path:  # noqa: ANN401
    """A file that passes for an engine of the bundle's graph, and its sidecar."""
    folder.mkdir(exist_ok=True)
    path = folder / "gpu-10.3-fp32.engine"
    path.write_bytes(b"plan")
    facts = {
        "format_version": ENGINE_FORMAT_VERSION,
        "flavor": "tensorrt",
        "version": "10.3.0",
        "cuda": "12.6",
        "device": "NVIDIA Orin",
        "compute_capabilities": ("8.7",),
        "hardware_compatible": False,
        "version_compatible": False,
        "precision": "fp32",
        "profiles": (Profile((1, 8, 16), (1, 4, 16)), Profile((1, 32, 64), (1, 8, 32))),
        "graph_sha256": bundle.card.files[graph_file("fp32")],
        "engine_sha256": sha256_of(path),
        "engine_bytes": 4,
        "fingerprint": bundle.card.fingerprint,
        "opset": bundle.card.opset,
        "layers": LayerSummary(source="engine", layers={"fp32": 3}, convolutions={"fp32": 1}),
        "build_command": "reid-export bundle --engine tensorrt",
    }
    path.with_suffix(".json").write_text(EngineCard(**{**facts, **changes}).to_json())
    return path


def config_of(model: Path) -> Any:  # noqa: ANN401 - protobuf makes its classes when it runs
    """Parse a model's config.pbtxt, as strictly as the server does."""
    return text_format.Parse((model / "config.pbtxt").read_text(), schema.ModelConfig())


def shapes(tensors: Any) -> dict[str, tuple[int, list[int]]]:  # noqa: ANN401
    return {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in tensors}


def run(graph: Path, **inputs: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def frames_of(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 64, 64), dtype=np.uint8)


def test_the_frames_model_is_batched_by_the_server(opened: Bundle, repository: Path) -> None:
    write_triton_repository(opened, repository, precisions=["fp32"])
    config = config_of(repository / "reid_frames_fp32")
    assert (config.name, config.platform) == ("reid_frames_fp32", "onnxruntime_onnx")
    assert config.max_batch_size == 32
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert shapes(config.input) == {"frames": (schema.TYPE_UINT8, [3, 64, 64])}
    assert shapes(config.output) == {"frame_embedding": (schema.TYPE_FP32, [32])}
    assert config.version_policy.WhichOneof("policy_choice") == "all"


def test_the_tracklets_model_takes_whole_tracklets_without_a_sequence_batcher(opened: Bundle, repository: Path) -> None:
    write_triton_repository(opened, repository, precisions=["fp32"])
    config = config_of(repository / "reid_tracklets_fp32")
    assert (config.name, config.platform) == ("reid_tracklets_fp32", "onnxruntime_onnx")
    assert config.max_batch_size == 0
    assert config.WhichOneof("scheduling_choice") is None
    assert shapes(config.input) == {
        "frames": (schema.TYPE_UINT8, [-1, 3, 64, 64]),
        "pooling": (schema.TYPE_FP32, [-1, -1]),
    }
    assert shapes(config.output) == {
        "frame_embedding": (schema.TYPE_FP32, [-1, 32]),
        "pooled": (schema.TYPE_FP32, [-1, 32]),
    }


def test_no_graph_runs_in_tf32(opened: Bundle, repository: Path) -> None:
    for version in write_triton_repository(opened, repository, precisions=["fp32"]):
        (accelerator,) = config_of(version.parent).optimization.execution_accelerators.gpu_execution_accelerator
        assert (accelerator.name, dict(accelerator.parameters)) == ("cuda", {"use_tf32": "0"})


def test_configs_say_what_their_graphs_take_and_give(opened: Bundle, repository: Path) -> None:
    kinds = {"tensor(uint8)": schema.TYPE_UINT8, "tensor(float)": schema.TYPE_FP32}
    for version in write_triton_repository(opened, repository, precisions=["fp32"]):
        config = config_of(version.parent)
        batched = [] if config.max_batch_size == 0 else [-1]
        session = onnxruntime.InferenceSession(str(version / "model.onnx"), providers=["CPUExecutionProvider"])
        for tensors, declared in (
            (session.get_inputs(), config.input),
            (session.get_outputs(), config.output),
        ):
            of_graph = {
                tensor.name: (kinds[tensor.type], [size if isinstance(size, int) else -1 for size in tensor.shape])
                for tensor in tensors
            }
            assert of_graph == {name: (kind, batched + dims) for name, (kind, dims) in shapes(declared).items()}


def test_frames_alone_embed_as_in_the_fused_graph(opened: Bundle, repository: Path) -> None:
    alone, fused = (
        version / "model.onnx" for version in write_triton_repository(opened, repository, precisions=["fp32"])
    )
    frames = frames_of(5)
    expected = run(fused, frames=frames, pooling=np.ones((2, 5), np.float32))["frame_embedding"]
    np.testing.assert_allclose(run(alone, frames=frames)["frame_embedding"], expected, atol=1e-6)


def test_frames_alone_embed_as_in_the_fused_fp16_graph(opened: Bundle, tmp_path: Path) -> None:
    frames, fused, alone = frames_of(5), tmp_path / "fused.onnx", tmp_path / "alone.onnx"
    write_fp16_graph(opened.graph("fp32").path, fused, frames)
    write_frames_graph(fused, alone)
    expected = run(fused, frames=frames, pooling=np.eye(5, dtype=np.float32))["frame_embedding"]
    np.testing.assert_allclose(run(alone, frames=frames)["frame_embedding"], expected, atol=1e-6)
    assert alone.stat().st_size < 0.55 * opened.graph("fp32").path.stat().st_size


def test_two_requests_in_one_batch_get_what_they_get_alone(opened: Bundle, tmp_path: Path) -> None:
    graph = tmp_path / "frames.onnx"
    write_frames_graph(opened.graph("fp32").path, graph)
    first, second = frames_of(2, seed=1), frames_of(3, seed=2)
    together = run(graph, frames=np.concatenate([first, second]))["frame_embedding"]
    alone = [run(graph, frames=request)["frame_embedding"] for request in (first, second)]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-6)


def test_the_frames_graph_keeps_opset_format_and_card(opened: Bundle, tmp_path: Path) -> None:
    write_frames_graph(opened.graph("fp32").path, tmp_path / "frames.onnx")
    part, whole = onnx.load(tmp_path / "frames.onnx"), onnx.load(opened.graph("fp32").path)
    assert part.ir_version == whole.ir_version
    assert part.opset_import == whole.opset_import
    assert part.metadata_props == whole.metadata_props


def test_a_graph_that_mixes_pooling_into_frames_is_refused(opened: Bundle, tmp_path: Path) -> None:
    model = onnx.load(opened.graph("fp32").path)
    (last,) = (node for node in model.graph.node if "frame_embedding" in node.output)
    last.output[0] = "before"
    model.graph.node.append(helper.make_node("ReduceMax", ["pooling"], ["scale"], keepdims=0))
    model.graph.node.append(helper.make_node("Mul", ["before", "scale"], ["frame_embedding"]))
    onnx.save(model, tmp_path / "mixed.onnx")
    with pytest.raises(ModelError, match="does not embed frames on their own"):
        write_frames_graph(tmp_path / "mixed.onnx", tmp_path / "frames.onnx")
    assert not (tmp_path / "frames.onnx").exists()


def test_an_engine_is_served_with_all_its_profiles(opened: Bundle, repository: Path, tmp_path: Path) -> None:
    path = engine(opened, tmp_path / "engines")
    (version,) = write_triton_repository(opened, repository, precisions=[], engines=[path])
    assert version == repository / "reid_tracklets_tensorrt_fp32" / "1"
    assert sorted(os.listdir(version)) == ["engine.json", "model.json", "model.plan"]
    assert (version / "model.plan").read_bytes() == b"plan"
    config = config_of(version.parent)
    assert (config.platform, config.max_batch_size) == ("tensorrt_plan", 0)
    assert list(config.input) == list(graph_config(opened, tmp_path).input)
    (instances,) = config.instance_group
    assert (instances.kind, list(instances.profile)) == (schema.ModelInstanceGroup.KIND_GPU, ["0", "1"])


def graph_config(bundle: Bundle, tmp_path: Path) -> Any:  # noqa: ANN401
    write_triton_repository(bundle, tmp_path / "graphs", precisions=["fp32"])
    return config_of(tmp_path / "graphs" / "reid_tracklets_fp32")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"flavor": "tensorrt-rtx"}, "cannot run engines of tensorrt-rtx; .*--engine tensorrt"),
        ({"graph_sha256": "0" * 64}, "another graph"),
        ({"fingerprint": "0" * 64}, "another model"),
        ({"engine_bytes": 5}, "4 bytes instead of the 5"),
        ({"precision": "int8"}, "has no int8 graph"),
    ],
)
def test_an_engine_that_is_not_for_here_is_refused(
    opened: Bundle, repository: Path, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    path = engine(opened, tmp_path / "engines", **changes)
    with pytest.raises(ModelError, match=reason):
        write_triton_repository(opened, repository, precisions=["fp32"], engines=[path])
    assert not repository.exists()


def test_an_engine_without_its_sidecar_is_refused(opened: Bundle, repository: Path, tmp_path: Path) -> None:
    path = engine(opened, tmp_path / "engines")
    path.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match=r"no gpu-10\.3-fp32\.json beside it"):
        write_triton_repository(opened, repository, precisions=[], engines=[path])


def test_two_models_of_one_name_are_refused(opened: Bundle, repository: Path, tmp_path: Path) -> None:
    path = engine(opened, tmp_path / "engines")
    for precisions, engines in ((["fp32", "fp32"], []), ([], [path, path])):
        with pytest.raises(ReidError, match="requested twice"):
            write_triton_repository(opened, repository, precisions=precisions, engines=engines)


def test_every_version_is_new_and_the_same_in_all_forms(opened: Bundle, repository: Path, tmp_path: Path) -> None:
    assert {path.name for path in write_triton_repository(opened, repository, precisions=["fp32"])} == {"1"}
    (repository / "reid_frames_fp32" / "9").mkdir()
    path = engine(opened, tmp_path / "engines")
    written = write_triton_repository(opened, repository, precisions=["fp32"], engines=[path])
    assert {path.name for path in written} == {"10"}
    assert len(written) == 3
    assert sorted(os.listdir(repository / "reid_tracklets_fp32")) == ["1", "10", "config.pbtxt"]
    for folder in written:
        assert (folder / "model.json").read_bytes() == (opened.root / CARD_FILE).read_bytes()


def test_a_version_is_never_replaced(opened: Bundle, repository: Path) -> None:
    write_triton_repository(opened, repository, precisions=["fp32"], version=4)
    kept = repository / "reid_frames_fp32" / "4" / "model.onnx"
    kept.write_bytes(b"kept")
    with pytest.raises(ReidError, match=r"reid_frames_fp32/4 exists.*choose another version"):
        write_triton_repository(opened, repository, precisions=["fp32"], version=4)
    assert kept.read_bytes() == b"kept"
    with pytest.raises(ReidError, match="from 1"):
        write_triton_repository(opened, repository, precisions=["fp32"], version=0)


def test_a_tuned_config_is_kept(opened: Bundle, repository: Path) -> None:
    write_triton_repository(opened, repository, precisions=["fp32"])
    config = repository / "reid_frames_fp32" / "config.pbtxt"
    config.write_text(tuned := config.read_text().replace("max_batch_size: 32", "max_batch_size: 8"))
    write_triton_repository(opened, repository, precisions=["fp32"])
    assert config.read_text() == tuned


@pytest.mark.parametrize("change", ["another size", "foreign", "absent"])
def test_a_model_that_takes_something_else_is_refused(opened: Bundle, repository: Path, change: str) -> None:
    write_triton_repository(opened, repository, precisions=["fp32"])
    config = repository / "reid_tracklets_fp32" / "config.pbtxt"
    if change == "absent":
        config.unlink()
    else:
        config.write_text('name: "mine"' if change == "foreign" else config.read_text().replace("64 x 64", "96 x 96"))
    with pytest.raises(ReidError, match=r"config\.pbtxt.*choose another repository"):
        write_triton_repository(opened, repository, precisions=["fp32"])
    assert not (repository / "reid_frames_fp32" / "2").exists()


@pytest.mark.parametrize("moment", ["staging", "publishing"])
def test_a_failure_leaves_nothing_behind(
    opened: Bundle, repository: Path, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_triton_repository(opened, repository, precisions=["fp32"])
    before = sorted(tmp_path.rglob("*"))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if moment == "staging":
        monkeypatch.setattr(writer.shutil, "copyfile", fail)
    else:
        real = Path.rename
        monkeypatch.setattr(Path, "rename", lambda self, to: fail() if "tracklets" in str(to) else real(self, to))
    with pytest.raises((ReidError, OSError), match="No space left"):
        write_triton_repository(opened, repository, precisions=["fp32"])
    assert sorted(tmp_path.rglob("*")) == before


def test_the_client_of_the_docs_embeds_a_gallery(
    bundle: Path, veri: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_triton_repository(Bundle.open(bundle), repository, precisions=["fp32"])
    monkeypatch.chdir(repository.parent)
    shutil.copytree(bundle, "bundle")
    shutil.copytree(veri / "image_query", "gallery")
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    with serving(repository) as server:
        exec(compile(code.replace("localhost:8001", server.address), "docs/triton.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == len(list((veri / "image_query").iterdir()))


@pytest.mark.parametrize("damage", ["pipe", "folder", "huge", "not text"])
def test_a_config_that_cannot_be_read_is_one_line(opened: Bundle, repository: Path, damage: str) -> None:
    write_triton_repository(opened, repository, precisions=["fp32"])
    config = repository / "reid_tracklets_fp32" / "config.pbtxt"
    config.unlink()
    if damage == "pipe":
        os.mkfifo(config)
    elif damage == "folder":
        config.mkdir()
    else:
        config.write_bytes(b"\xff\xfe" if damage == "not text" else b"")
        os.truncate(config, 1 << 40 if damage == "huge" else 2)
    with pytest.raises(ReidError, match=rf"^{config}.*; choose another repository$") as caught:
        write_triton_repository(opened, repository, precisions=["fp32"])
    assert "\n" not in str(caught.value)
    assert not (repository / "reid_frames_fp32" / "2").exists()


def test_only_names_that_triton_counts_are_versions(opened: Bundle, repository: Path) -> None:
    write_triton_repository(opened, repository, precisions=["fp32"])
    for name in ("٣", "²", "007", "9" * 200, "-5", "2.old"):
        (repository / "reid_frames_fp32" / name).mkdir()
    assert {path.name for path in write_triton_repository(opened, repository, precisions=["fp32"])} == {"2"}
    for version in (10**9, 2**63, -1):
        with pytest.raises(ReidError, match=f"version {version} of .*: versions count from 1 to 999999999"):
            write_triton_repository(opened, repository, precisions=["fp32"], version=version)
    (repository / "reid_frames_fp32" / "999999999").mkdir()
    with pytest.raises(ReidError, match="version 1000000000 of"):
        write_triton_repository(opened, repository, precisions=["fp32"])


def test_a_repository_is_a_folder_apart_from_the_bundle(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "work" / "bundle"))
    before = sorted(copy.rglob("*"))
    for place, named in ((copy, "is"), (copy / "engines", "lies in"), (copy.parent, "holds")):
        with pytest.raises(ReidError, match=f"^{place} {named} {copy}, which is an input"):
            write_triton_repository(Bundle.open(copy), place, precisions=["fp32"])
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ReidError, match="file exists and is not a folder; choose another repository"):
        write_triton_repository(Bundle.open(copy), tmp_path / "file", precisions=["fp32"])
    assert sorted(copy.rglob("*")) == before
    assert (tmp_path / "file").read_text() == "mine"


def test_a_sidecar_that_is_no_file_is_one_line(bundle: Path, tmp_path: Path) -> None:
    copy = Bundle.open(Path(shutil.copytree(bundle, tmp_path / "bundle")))
    path = engine(copy, copy.root / "engines")
    assert engines_for_triton(copy) == [path]
    path.with_suffix(".json").unlink()
    os.mkfifo(path.with_suffix(".json"))
    with pytest.raises(ModelError, match=r"\.json: a named pipe, not a file; build the engine again"):
        engines_for_triton(copy)


def test_an_interruption_between_two_renames_takes_the_first_back(
    opened: Bundle, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_triton_repository(opened, repository, precisions=["fp32"])
    before = sorted(tmp_path.rglob("*"))

    def interrupted(self: Path, target: Path) -> Path:
        if "tracklets" in str(target):
            raise KeyboardInterrupt
        return real(self, target)

    real = Path.rename
    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_triton_repository(opened, repository, precisions=["fp32"])
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("version", [None, 2])
def test_a_version_that_is_there_in_some_forms_only_is_completed(
    opened: Bundle, repository: Path, tmp_path: Path, version: int | None
) -> None:
    path = engine(opened, tmp_path / "engines")
    write_triton_repository(opened, repository, precisions=["fp32"], engines=[path])
    written = write_triton_repository(opened, repository, precisions=["fp32"], engines=[path])
    before = {file: file.read_bytes() for file in repository.rglob("*") if file.is_file()}
    shutil.rmtree(repository / "reid_tracklets_fp32" / "2")
    shutil.rmtree(repository / "reid_tracklets_tensorrt_fp32")
    again = write_triton_repository(opened, repository, precisions=["fp32"], engines=[path], version=version)
    assert again == written
    after = {file: file.read_bytes() for file in repository.rglob("*") if file.is_file()}
    assert after == {
        file: content for file, content in before.items() if file.parts[-3:-1] != ("reid_tracklets_tensorrt_fp32", "1")
    }


@pytest.mark.parametrize("change", ["model.onnx", "model.json", "another file", "a file less"])
def test_a_version_that_holds_something_else_is_not_completed(
    opened: Bundle, repository: Path, tmp_path: Path, change: str
) -> None:
    write_triton_repository(opened, repository, precisions=["fp32"])
    shutil.rmtree(repository / "reid_tracklets_fp32" / "1")
    there = repository / "reid_frames_fp32" / "1"
    if change == "a file less":
        (there / "model.json").unlink()
    else:
        with (there / change).open("ab") as file:
            file.write(b" ")
    before = {path.name: sha256_of(path) for path in there.iterdir()}
    with pytest.raises(ReidError, match="reid_frames_fp32/1 exists, and versions are never replaced"):
        write_triton_repository(opened, repository, precisions=["fp32"], version=1)
    assert {path.name for path in write_triton_repository(opened, repository, precisions=["fp32"])} == {"2"}
    assert {path.name: sha256_of(path) for path in there.iterdir()} == before
    assert not (repository / "reid_tracklets_fp32" / "1").exists()
    assert sorted(os.listdir(tmp_path)) == ["repository"]
