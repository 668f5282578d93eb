"""The folder for DeepStream, held to what nvinfer's sources read, compute and refuse."""

from __future__ import annotations

import configparser
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from reid.commands.export import main
from reid.export.deepstream import write_deepstream_folder
from reid.export.deepstream_config import ReidModel, nvinfer_config, trtexec_command
from reid.runtime.bundle import CARD_FILE, Bundle
from reid.runtime.errors import ModelError, ReidError
from reid.runtime.galleries.memory import MemoryGallery
from reid.runtime.imaging import as_model_input, read_frame
from reid.runtime.opening import open_session
from reid.runtime.precision import PRECISIONS, Precision
from reid.runtime.sessions.session import run

DOCS = Path(__file__).parents[2] / "docs" / "deepstream.md"

FACTS = json.loads((Path(__file__).parents[1] / "contract" / "facts" / "deepstream-9.1.json").read_text())

SIMILARITY: dict[Precision, float] = {"fp32": 1 - 1e-6, "fp16": 1 - 1e-5, "int8": 1 - 1e-3}


@pytest.fixture(scope="module")
def folder(whole_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("deepstream") / "ds"
    write_deepstream_folder(Bundle.open(whole_bundle), output, PRECISIONS)
    return output


def nvinfer_settings(folder: Path, precision: Precision) -> dict[str, str]:
    """Read nvinfer's configuration as glib does: without comments behind values."""
    parser = configparser.ConfigParser(comment_prefixes=("#",), strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(folder / f"config_infer_secondary_reid_{precision}.txt")
    assert parser.sections() == ["property"]
    return dict(parser["property"])


def tracker_settings(folder: Path, precision: Precision) -> dict[str, str]:
    """Read the tracker's section: a mapping of one level, whose values are YAML's plainest."""
    lines = (folder / f"config_tracker_reid_{precision}.yml").read_text().splitlines()
    lines = [line.partition(" #")[0].rstrip() for line in lines if not line.startswith("#")]
    assert lines[0] == "ReID:"
    pairs = [re.fullmatch(r"  (\w+): (.+)", line) for line in lines[1:]]
    return {pair[1]: pair[2].strip('"') for pair in pairs if pair} if all(pairs) else {}


def check(value: str, fact: Mapping[str, Any]) -> None:
    kind = fact["type"]
    items = [item for item in re.split(r"[;,]", value.strip("[]")) if item.strip()] if "list" in kind else [value]
    assert len(items) == fact.get("length", len(items))
    if kind == "boolean":
        assert value in ("0", "1")
    elif kind.startswith("integer"):
        for number in map(int, items):
            assert number in fact.get("choices", [number])
            assert fact.get("least", number) <= number <= fact.get("most", number)
    elif kind.startswith("double"):
        assert all(np.isfinite(float(item)) for item in items)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_setting_is_one_that_deepstream_reads_and_takes(folder: Path, precision: Precision) -> None:
    for part, settings in (
        ("nvinfer", nvinfer_settings(folder, precision)),
        ("ReID", tracker_settings(folder, precision)),
    ):
        assert len(settings) > 15
        for name, value in settings.items():
            assert name in FACTS[part], f"{part} knows no {name}"
            check(value, FACTS[part][name])


@pytest.mark.parametrize(("name", "value"), [("network-mode", "4"), ("batch-size", "0"), ("infer-dims", "3;64")])
def test_a_wrong_value_would_be_found(name: str, value: str) -> None:
    with pytest.raises(AssertionError):
        check(value, FACTS["nvinfer"][name])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_both_files_say_what_the_graph_is(folder: Path, precision: Precision) -> None:
    graph = onnx.load(folder / f"reid.{precision}.onnx")
    (taken,), (given,) = graph.graph.input, graph.graph.output
    size = [dimension.dim_value for dimension in taken.type.tensor_type.shape.dim][1:]
    nvinfer, tracker = nvinfer_settings(folder, precision), tracker_settings(folder, precision)
    assert [int(number) for number in nvinfer["infer-dims"].split(";")] == json.loads(tracker["inferDims"]) == size
    assert taken.type.tensor_type.shape.dim[0].dim_param  # any batch
    assert given.name == "embedding"
    assert given.type.tensor_type.shape.dim[1].dim_value == int(tracker["reidFeatureSize"])
    assert nvinfer["onnx-file"] == tracker["onnxFile"] == f"reid.{precision}.onnx"
    assert nvinfer["batch-size"] == tracker["batchSize"]
    # nvinfer names what it builds itself so, and would not find it again under another name.
    engine = f"{nvinfer['onnx-file']}_b{nvinfer['batch-size']}_gpu{nvinfer['gpu-id']}_fp32.engine"
    assert nvinfer["model-engine-file"] == tracker["modelEngineFile"] == engine
    assert f"--saveEngine={engine}" in (folder / "README.md").read_text()


def as_nvinfer(crops: NDArray[np.uint8], settings: Mapping[str, str]) -> NDArray[np.float32]:
    """Return what nvinfer makes of crops [n, H, W, 3]: y = net-scale-factor * (x - offset), by channel, in planes."""
    assert (settings["model-color-format"], settings["network-input-order"]) == ("0", "0")
    offsets = np.array(settings["offsets"].split(";"), np.float32)
    return np.stack(
        [
            np.stack(
                [
                    np.float32(settings["net-scale-factor"]) * (crop[:, :, k].astype(np.float32) - offsets[k])
                    for k in range(3)
                ]
            )
            for crop in crops
        ]
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_nvinfer_computes_is_what_the_bundle_embeds(
    whole_bundle: Path, folder: Path, precision: Precision
) -> None:
    bundle = Bundle.open(whole_bundle)
    crops = [as_model_input(read_frame(path), bundle.card.preprocessing) for path in bundle.reference()[0]][:9]
    frames = np.stack(crops)
    with open_session(whole_bundle, "onnxruntime:cpu", precision) as session:
        expected = run(session, frames, np.eye(len(frames), dtype=np.float32)).frame_embedding
    graph = onnxruntime.InferenceSession(folder / f"reid.{precision}.onnx", providers=["CPUExecutionProvider"])
    pixels = as_nvinfer(frames.transpose(0, 2, 3, 1), nvinfer_settings(folder, precision))
    (together,) = graph.run(["embedding"], {"frames": pixels})
    alone = np.concatenate([graph.run(["embedding"], {"frames": one[None]})[0] for one in pixels])
    for found in (together, alone):
        assert found.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
        assert (found * expected).sum(axis=1).min() > SIMILARITY[precision]
    if precision == "fp32":
        np.testing.assert_allclose(together, expected, atol=1e-5)
    shifted = graph.run(["embedding"], {"frames": pixels / 255})[0]
    assert (shifted * expected).sum(axis=1).min() < SIMILARITY[precision]  # the scale does matter


@pytest.mark.rtx
@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_engine_can_be_built_of_each_graph(folder: Path, precision: Precision) -> None:
    rtx = pytest.importorskip("tensorrt_rtx")
    logger = rtx.Logger(rtx.Logger.ERROR)
    builder = rtx.Builder(logger)
    network = builder.create_network(1 << int(rtx.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = rtx.OnnxParser(network, logger)
    assert parser.parse((folder / f"reid.{precision}.onnx").read_bytes()), parser.get_error(0).desc()
    assert network.get_input(0).dtype == rtx.float32  # what nvinfer sets in any case
    assert network.get_output(0).dtype == rtx.float32
    profile = builder.create_optimization_profile()
    profile.set_shape("frames", (1, 3, 64, 64), (4, 3, 64, 64), (4, 3, 64, 64))
    config = builder.create_builder_config()
    config.add_optimization_profile(profile)
    config.builder_optimization_level = 0
    assert builder.build_serialized_network(network, config)


def test_the_folder_holds_graphs_configurations_card_and_readme(whole_bundle: Path, folder: Path) -> None:
    graphs = [f"reid.{one}.onnx" for one in PRECISIONS]
    configs = [name for one in PRECISIONS for name in (f"config_infer_secondary_reid_{one}.txt",)]
    trackers = [f"config_tracker_reid_{one}.yml" for one in PRECISIONS]
    assert sorted(os.listdir(folder)) == sorted([*graphs, *configs, *trackers, CARD_FILE, "README.md"])
    assert (folder / CARD_FILE).read_bytes() == (whole_bundle / CARD_FILE).read_bytes()
    fingerprint = Bundle.open(whole_bundle).card.fingerprint
    for name in ("README.md", *configs, *trackers):
        assert fingerprint in (folder / name).read_text()


def test_a_fingerprint_cannot_write_settings(bundle: Path) -> None:
    card = Bundle.open(bundle).card.model_copy(update={"fingerprint": "x\ncustom-lib-path=/tmp/x.so"})
    lines = nvinfer_config(ReidModel("fp32", card)).splitlines()
    assert [line for line in lines if "custom-lib-path" in line] == [lines[0]]
    assert lines[0].startswith("#")


def test_trtexec_gets_the_shapes_of_the_engine(bundle: Path) -> None:
    words = trtexec_command(ReidModel("int8", Bundle.open(bundle).card)).split()
    assert "--stronglyTyped" in words
    assert {word for word in words if "Shapes" in word} == {
        "--minShapes=frames:1x3x64x64",
        "--optShapes=frames:32x3x64x64",
        "--maxShapes=frames:32x3x64x64",
    }


def test_a_folder_with_anything_in_it_is_left_alone(bundle: Path, tmp_path: Path) -> None:
    opened = Bundle.open(bundle)
    (tmp_path / "empty").mkdir()
    write_deepstream_folder(opened, tmp_path / "empty", ["fp32"])
    before = {path: path.read_bytes() for path in (tmp_path / "empty").iterdir()}
    with pytest.raises(ReidError, match="empty exists and is not an empty folder"):
        write_deepstream_folder(opened, tmp_path / "empty", ["fp32"])
    assert {path: path.read_bytes() for path in (tmp_path / "empty").iterdir()} == before
    with pytest.raises(ReidError, match=r"lies in .*, which is an input"):
        write_deepstream_folder(opened, bundle / "deepstream", ["fp32"])


def test_a_precision_that_is_not_there_leaves_nothing(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no fp16 graph"):
        write_deepstream_folder(Bundle.open(bundle), tmp_path / "ds", PRECISIONS)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_it_for_a_bundle(
    run_main: Callable[..., tuple[int, str, str]], whole_bundle: Path, tmp_path: Path
) -> None:
    code, out, err = run_main(main, "reid-export", whole_bundle, "--deepstream", tmp_path / "ds", "--json")
    assert code == 0, err
    assert json.loads(out)["deepstream"] == [str(tmp_path / "ds" / f"reid.{one}.onnx") for one in PRECISIONS]
    code, _, err = run_main(main, "reid-export", whole_bundle, "--deepstream", tmp_path / "ds")
    assert (code, "exists and is not an empty folder" in err) == (1, True)


def test_records_of_the_probe_of_the_docs_become_a_gallery(bundle: Path, tmp_path: Path) -> None:
    card = Bundle.open(bundle).card
    (tmp_path / "model.json").write_bytes((bundle / CARD_FILE).read_bytes())
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(5, card.dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    tracks = [(0, 7), (1, 7), (0, 7), (0, 9), (0, 7)]
    with (tmp_path / "embeddings.bin").open("wb") as file:
        for frame, (track, vector) in enumerate(zip(tracks, vectors, strict=True)):
            file.write(np.array([*track, frame], "<i8").tobytes() + vector.tobytes())
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    exec(compile(code, "docs/deepstream.md", "exec"), {"folder": tmp_path})
    gallery = MemoryGallery.open(tmp_path / "gallery.npz")
    assert [(one.id, one.camera, one.frames) for one in gallery.members] == [
        ("0-7", "0", 3),
        ("0-9", "0", 1),
        ("1-7", "1", 1),
    ]
    mean = (vectors[0] + vectors[2] + vectors[4]) / 3
    np.testing.assert_allclose(gallery.embeddings[0], mean / np.linalg.norm(mean), atol=1e-6)
    assert (gallery.space.fingerprint, gallery.space.precision) == (card.fingerprint, "fp16")
