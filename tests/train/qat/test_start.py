"""Quantization-aware training computes what the INT8 graph computes, and ends in the same graph."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from reid.calibration.intermediates import run_with_intermediates
from reid.calibration.layers import find_layers
from reid.calibration.quantize import quantize
from reid.commands.export import main as export_main
from reid.commands.train import main as train_main
from reid.data.layout import open_dataset
from reid.export.bundle import ExportRequest, write_bundle
from reid.runtime.bundle import CARD_FILE, Bundle, graph_file
from reid.runtime.errors import ModelError, ReidError
from reid.runtime.files.reading import sha256_of
from reid.runtime.imaging import decode, resize
from reid.runtime.model_card import FORMAT_VERSION, ModelCard
from reid.runtime.training_facts import TrainingFacts
from reid.train.model.architecture import Architecture
from reid.train.model.backbone import create_backbone
from reid.train.model.checkpoint import describe, load_checkpoint, save_checkpoint
from reid.train.model.multi_level import MultiLevelReID
from reid.train.model.quantization import Quantization
from reid.train.qat.fake_quantization import FakeQuantizedReID
from reid.train.qat.int8_graph import GraphLayers, read_quantization
from reid.train.qat.program import Program
from reid.train.qat.start import build_fake_quantized, qat_recipe
from reid.train.run.provenance import reference_crops

RunMain = Callable[..., tuple[int, str, str]]

STRONG = Architecture(pooling="max+gem", bnneck=True, last_stride=1, ibn="a")


def make_bundle(folder: Path, data: Path, architecture: Architecture) -> Path:
    """A bundle of a small model whose batch normalization has learned, with an FP16 and an INT8 graph."""
    torch.manual_seed(0)
    backbone = create_backbone("test_resnet", (3, 4), image_size=64, weights="none", architecture=architecture)
    levels, preprocessing = describe(backbone, 16, 64)
    model = MultiLevelReID(
        backbone.module, backbone.indices, backbone.channels, levels, preprocessing, architecture
    ).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter) * parameter.std(correction=0).clamp(min=0.05)
        for _ in range(10):
            model.after_neck(model.features(torch.randint(0, 256, (16, 3, 64, 64), dtype=torch.uint8)))
    card = ModelCard(
        format_version=FORMAT_VERSION,
        fingerprint="",
        backbone="test_resnet",
        levels=levels,
        preprocessing=preprocessing,
        training=TrainingFacts(recipe={"loss": "triplet", "seed": 3, "learning_rate": 1e-3, "colour_jitter": 0.25}),
    )
    run = folder / "run"
    run.mkdir()
    save_checkpoint(run, model.eval(), card, reference_crops(open_dataset(data, needs="query").gallery.images))
    write_bundle(load_checkpoint(run), folder / "bundle", ExportRequest(fp16=True))
    add_int8_graph(folder / "bundle")
    return folder / "bundle"


def run_of(bundle: Path) -> Path:
    """The run that a bundle of `make_bundle` was exported from."""
    return bundle.with_name("run")


def model_of(bundle: Path) -> MultiLevelReID:
    return load_checkpoint(run_of(bundle)).model


def reference_frames(bundle: Bundle) -> torch.Tensor:
    """The reference crops, uint8 [n, 3, H, W]."""
    size = bundle.card.preprocessing
    crops = (decode(path.read_bytes(), path) for path in bundle.reference()[0])
    return torch.from_numpy(np.stack([resize(crop, size.height, size.width).transpose(2, 0, 1) for crop in crops]))


def add_int8_graph(root: Path) -> None:
    """Put every layer but one in INT8, with ranges that clip."""
    bundle = Bundle.open(root)
    layers = find_layers(onnx.load(bundle.graph("fp32").path))
    frames = reference_frames(bundle).numpy()[:4]
    seen = run_with_intermediates(bundle.graph("fp32").path, frames)
    thresholds = {name: 0.8 * float(np.abs(values).max()) for name, values in seen}
    names = [layer.name for layer in layers]
    onnx.save(quantize(onnx.load(bundle.graph("fp16").path), layers, names[1:], thresholds), root / graph_file("int8"))
    files = {**bundle.card.files, graph_file("int8"): sha256_of(root / graph_file("int8"))}
    (root / CARD_FILE).write_text(bundle.card.model_copy(update={"files": files}).model_dump_json())


@pytest.fixture(scope="module")
def int8_bundle(veri: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("qat"), veri, Architecture())


@pytest.fixture(scope="module")
def strong_bundle(veri: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("strong"), veri, STRONG)


@pytest.fixture(params=["int8_bundle", "strong_bundle"], ids=["poster", "strong"])
def each(request: pytest.FixtureRequest) -> Path:
    bundle: Path = request.getfixturevalue(request.param)
    return bundle


def run_as_written(graph: Path, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Run a graph without optimizations, which change roundings."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    pooling = np.eye(len(frames), dtype=np.float32)
    embeddings: NDArray[np.float32] = session.run(["frame_embedding"], {"frames": frames, "pooling": pooling})[0]
    return embeddings


def fake_quantized(root: Path, model: MultiLevelReID, quantization: Quantization) -> FakeQuantizedReID:
    bundle = Bundle.open(root)
    return FakeQuantizedReID(bundle.card, model, GraphLayers(bundle.graph("fp32").path), quantization).eval()


def test_the_rounding_model_agrees_with_onnx_runtime_on_the_int8_graph(each: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(each)
    model, frames = model_of(each), reference_frames(bundle)
    plain = model(frames).detach().numpy()
    int8 = onnx.load(bundle.graph("int8").path)
    quantization = read_quantization(bundle.graph("int8").path)
    layers = find_layers(onnx.load(bundle.graph("fp32").path))
    assert set(quantization.inputs) == {layer.node for layer in layers.in_order[1:]}
    assert set(quantization.weight_scales) == {layer.node for layer in layers.in_order[1:] if layer.weight}
    assert sum(node.op_type == "QuantizeLinear" for node in int8.graph.node) == len(quantization.scales)
    # The same pairs in an FP32 graph, so that no rounding to FP16 comes between the two.
    names = [layer.name for layer in layers.in_order[1:]]
    thresholds = {tensor: 127 * scale for tensor, scale in quantization.scales.items()}
    exact = tmp_path / "exact.onnx"
    onnx.save(quantize(onnx.load(bundle.graph("fp32").path), layers, names, thresholds), exact)

    for graph, least in ((exact, 0.9999), (bundle.graph("int8").path, 0.999)):
        expected = run_as_written(graph, frames.numpy())
        rounded = fake_quantized(each, model, read_quantization(graph))(frames).detach().numpy()
        similarity = (expected * rounded).sum(axis=1)
        assert similarity.min() > least
        # It is the rounding that makes them agree: the error of INT8 is many times the remaining difference.
        assert (1 - (expected * plain).sum(axis=1)).mean() > 5 * (1 - similarity).mean()


def test_rounding_lets_gradients_pass_and_clipping_stops_them(int8_bundle: Path) -> None:
    bundle = Bundle.open(int8_bundle)
    quantization = read_quantization(bundle.graph("int8").path)
    model, frames = model_of(int8_bundle), reference_frames(bundle)[:4]
    fine = fake_quantized(int8_bundle, model, quantization)
    sum(feature.square().sum() for feature in fine.train().features(frames)).backward()  # type: ignore[union-attr]
    gradients = {name: parameter.grad for name, parameter in fine.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    assert all(float(gradient.abs().max()) > 0 for name, gradient in gradients.items() if "weight" in name)

    # With a range so small that the last map is clipped everywhere, no gradient passes.
    layers = find_layers(onnx.load(bundle.graph("fp32").path))
    last = layers.in_order[-1]
    assert last.op == "ReduceMax"
    scales = {**quantization.scales, last.input: 1e-9}
    only_last = Quantization({last.node: last.input}, scales, {})
    clipped = fake_quantized(int8_bundle, model_of(int8_bundle), only_last)
    clipped.zero_grad()
    clipped.features(frames)[-1].sum().backward()
    conv = clipped.backbone.get_parameter("layer4.0.conv1.weight").grad
    assert conv is None or float(conv.abs().max()) == 0


def test_batch_normalization_does_not_move_in_training(int8_bundle: Path) -> None:
    bundle = Bundle.open(int8_bundle)
    model = fake_quantized(int8_bundle, model_of(int8_bundle), read_quantization(bundle.graph("int8").path))
    frames = reference_frames(bundle)
    before = {name: value.clone() for name, value in model.named_buffers()}
    embeddings = model(frames)
    model.train()
    assert torch.equal(model(frames), embeddings)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert not any(module.training for module in model.backbone.modules())


def test_a_run_of_another_model_is_refused(int8_bundle: Path, checkpoint: Path, veri: Path, run_main: RunMain) -> None:
    other, own = load_checkpoint(checkpoint).card.fingerprint[:12], Bundle.open(int8_bundle).card.fingerprint[:12]
    words = rf"{checkpoint} holds model {other}, and {int8_bundle} was exported from model {own}: .*--weights"
    with pytest.raises(ModelError, match=words):
        build_fake_quantized(int8_bundle, checkpoint)
    code, _, errors = run_main(train_main, "reid-train", veri, "--qat", int8_bundle, "--weights", checkpoint)
    assert (code, errors.count("\n")) == (1, 1)
    assert other in errors
    assert own in errors


@pytest.mark.parametrize("options", [(), ("--weights", "none"), ("--weights", "default"), ("--set", "weights=none")])
def test_without_a_run_the_error_says_what_to_give(
    int8_bundle: Path, veri: Path, run_main: RunMain, options: tuple[str, ...]
) -> None:
    code, _, errors = run_main(train_main, "reid-train", veri, "--qat", int8_bundle, *options)
    assert code == 2
    assert "--weights RUN" in errors


def test_a_weight_without_a_name_in_the_graph_is_refused(int8_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(int8_bundle)
    graph = onnx.load(bundle.graph("fp32").path)
    quantization = read_quantization(bundle.graph("int8").path)
    node = next(node for node in graph.graph.node if node.name in quantization.weight_scales)
    (initializer,) = [tensor for tensor in graph.graph.initializer if tensor.name == node.input[1]]
    initializer.name = node.input[1] = "val_7"
    onnx.save(graph, tmp_path / "anonymous.onnx")
    with pytest.raises(ModelError, match=f"does not name the weight of {node.name}; .*convolutional networks"):
        FakeQuantizedReID(bundle.card, model_of(int8_bundle), GraphLayers(tmp_path / "anonymous.onnx"), quantization)


def first_pair(graph: onnx.GraphProto, *, of_weight: bool) -> onnx.NodeProto:
    """The first DequantizeLinear of a graph that dequantizes a weight, or one that does not."""
    computed = {name for node in graph.node for name in node.output}
    return next(
        node
        for node in graph.node
        if node.op_type == "DequantizeLinear" and (node.input[0] not in computed) == of_weight
    )


def replace_constant(graph: onnx.GraphProto, name: str, values: NDArray[np.generic]) -> None:
    (tensor,) = [tensor for tensor in graph.initializer if tensor.name == name]
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))


@pytest.mark.parametrize("of_weight", [True, False])
@pytest.mark.parametrize(
    "damage",
    [
        lambda graph, pair: replace_constant(graph, pair.input[1], np.zeros(1, np.float32)),
        lambda graph, pair: replace_constant(graph, pair.input[1], np.full(1, -1, np.float32)),
        lambda graph, pair: replace_constant(graph, pair.input[1], np.full(1, np.nan, np.float32)),
        lambda graph, pair: replace_constant(graph, pair.input[1], np.full(1, np.inf, np.float32)),
        lambda graph, pair: replace_constant(graph, pair.input[2], np.ones(1, np.int8)),
        lambda graph, pair: replace_constant(graph, pair.input[2], np.zeros(1, np.uint8)),
        lambda graph, pair: pair.input.pop(),
        lambda graph, pair: pair.ClearField("input"),
    ],
)
def test_a_damaged_pair_is_named(int8_bundle: Path, of_weight: bool, damage: Any, tmp_path: Path) -> None:  # noqa: ANN401
    model = onnx.load(int8_bundle / graph_file("int8"))
    pair = first_pair(model.graph, of_weight=of_weight)
    damage(model.graph, pair)
    onnx.save(model, tmp_path / "damaged.onnx")
    with pytest.raises(ModelError, match="is not symmetric INT8 with constant scales"):
        read_quantization(tmp_path / "damaged.onnx")


def test_an_activation_has_a_single_scale(int8_bundle: Path, tmp_path: Path) -> None:
    model = onnx.load(int8_bundle / graph_file("int8"))
    replace_constant(model.graph, first_pair(model.graph, of_weight=False).input[1], np.ones(3, np.float32))
    onnx.save(model, tmp_path / "damaged.onnx")
    with pytest.raises(ModelError, match="is not symmetric INT8"):
        read_quantization(tmp_path / "damaged.onnx")


def test_a_weight_has_as_many_scales_as_channels(int8_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Made once: a weight is refused before the program is changed.
    program = Program(model_of(int8_bundle), 64, 64)
    monkeypatch.setattr("reid.train.qat.fake_quantization.Program", lambda *_: program)
    quantization = read_quantization(int8_bundle / graph_file("int8"))
    node = next(iter(quantization.weight_scales))
    for scales in (torch.ones(3), torch.tensor(1.0), torch.ones(0)):
        changed = {**quantization.weight_scales, node: scales}
        wrong = Quantization(quantization.inputs, quantization.scales, changed)
        with pytest.raises(ModelError, match=rf"has {scales.numel()} scales for .*, which has \d+ channels; export"):
            fake_quantized(int8_bundle, model_of(int8_bundle), wrong)


def test_files_that_are_no_graphs_are_one_line(int8_bundle: Path, tmp_path: Path) -> None:
    content = (int8_bundle / graph_file("int8")).read_bytes()
    for name, part in (("cut", content[:-100]), ("empty", b""), ("text", b"no graph at all")):
        (tmp_path / name).write_bytes(part)
    os.mkfifo(tmp_path / "pipe")
    for read in (read_quantization, GraphLayers):
        for name in ("cut", "empty", "text", "pipe", "absent"):
            with pytest.raises(ModelError) as raised:
                read(tmp_path / name)
            assert "\n" not in str(raised.value), name


def test_scales_that_reid_0_1_stored_are_read() -> None:
    weight_scales = {"node": torch.ones(2)}
    old = '{"reads": {"node": "tensor"}, "steps": {"tensor": 0.5}}'
    found = Quantization.from_json(old, weight_scales, Path("checkpoint"))
    assert found == Quantization({"node": "tensor"}, {"tensor": 0.5}, weight_scales)
    assert Quantization.from_json(found.to_json(), weight_scales, Path("checkpoint")) == found


def test_the_recipe_is_the_models_own_at_a_lower_rate(int8_bundle: Path) -> None:
    run = run_of(int8_bundle)
    recipe = qat_recipe(int8_bundle, run, {"vehicles_per_batch": 4})
    assert (recipe.loss, recipe.seed, recipe.vehicles_per_batch) == ("triplet", 3, 4)
    assert (recipe.backbone, recipe.levels, recipe.embedding_size, recipe.image_size) == ("test_resnet", (3, 4), 16, 64)
    assert recipe.learning_rate == pytest.approx(1e-3 / 100)
    assert (recipe.epochs, recipe.frozen_epochs, recipe.warmup_epochs) == (5, 1, 0)
    assert (recipe.weights, recipe.qat) == (str((run / "checkpoint.safetensors").resolve()), str(int8_bundle.resolve()))
    assert recipe.color_jitter == 0.25
    assert qat_recipe(int8_bundle, run, {"epochs": 1}).frozen_epochs == 0  # otherwise nothing would learn
    assert qat_recipe(int8_bundle, run, {"epochs": "1"}).frozen_epochs == 0
    with pytest.raises(ReidError, match="backbone, levels"):
        qat_recipe(int8_bundle, run, {"levels": (4,), "backbone": "resnet18"})


def test_without_an_int8_graph_there_is_nothing_to_train_for(
    bundle: Path, checkpoint: Path, veri: Path, run_main: RunMain
) -> None:
    code, _, errors = run_main(train_main, "reid-train", veri, "--qat", bundle, "--weights", checkpoint)
    assert code == 1
    assert "no int8 graph" in errors


@pytest.mark.parametrize("option", [("--recipe", "strong"), ("--repeat", "elsewhere")])
def test_the_model_decides_the_recipe(
    int8_bundle: Path, veri: Path, run_main: RunMain, option: tuple[str, str]
) -> None:
    code, _, errors = run_main(
        train_main, "reid-train", veri, "--qat", int8_bundle, "--weights", run_of(int8_bundle), *option
    )
    assert code == 2
    assert "leave" in errors


def test_from_bundle_to_bundle(int8_bundle: Path, veri: Path, run_main: RunMain, tmp_path: Path) -> None:
    run = tmp_path / "run"
    # Whichever epoch is the best, its weights have changed.
    options = ("--epochs", 2, "--set", "frozen_epochs=0", "--batch", "4x2", "--output", run)
    weights = ("--weights", run_of(int8_bundle))
    code, _, errors = run_main(train_main, "reid-train", veri, "--qat", int8_bundle, *weights, *options)
    assert code == 0, errors
    checkpoint = load_checkpoint(run)
    asked = read_quantization(int8_bundle / graph_file("int8"))
    kept = checkpoint.model.quantization
    assert kept is not None
    assert (kept.inputs, kept.scales) == (asked.inputs, asked.scales)
    start = model_of(int8_bundle).state_dict()
    assert checkpoint.model.state_dict().keys() == start.keys()
    assert not torch.equal(checkpoint.model.state_dict()["backbone.layer1.0.conv1.weight"],
                           start["backbone.layer1.0.conv1.weight"])  # fmt: skip

    code, _, errors = run_main(export_main, "reid-export", run, "--int8", "--calibration", veri)
    assert code == 2
    assert "leave out --calibration" in errors
    # An untrained model embeds all frames almost equally, so that no rounding is within tolerance.
    tolerances = tmp_path / "tolerances.json"
    tolerances.write_text('{"int8_similarity": -1}')
    options = ("--int8", "--tolerances", tolerances, "--output", tmp_path / "again")
    code, _, errors = run_main(export_main, "reid-export", run, *options)
    assert code == 0, errors
    written = read_quantization(tmp_path / "again" / graph_file("int8"))
    assert (written.inputs, written.scales) == (asked.inputs, asked.scales)
    assert all(torch.equal(written.weight_scales[node], scales) for node, scales in asked.weight_scales.items())
    again = Bundle.open(tmp_path / "again")
    frames = reference_frames(again)
    trained = fake_quantized(int8_bundle, checkpoint.model, asked)(frames).detach().numpy()
    assert (run_as_written(again.graph("int8").path, frames.numpy()) * trained).sum(axis=1).min() > 0.999


def test_a_resumed_run_needs_the_graph_it_was_started_with(
    int8_bundle: Path, veri: Path, run_main: RunMain, tmp_path: Path
) -> None:
    copy = shutil.copytree(int8_bundle, tmp_path / "bundle")
    weights = ("--weights", run_of(int8_bundle))
    options = ("--qat", copy, *weights, "--epochs", 1, "--batch", "4x2", "--output", tmp_path / "run")
    assert run_main(train_main, "reid-train", veri, *options)[0] == 0
    assert run_main(train_main, "reid-train", veri, *options, "--resume")[0] == 0
    bundle = Bundle.open(copy)
    model = onnx.load(bundle.graph("int8").path)
    model.doc_string = "another"
    onnx.save(model, bundle.graph("int8").path)
    files = {**bundle.card.files, graph_file("int8"): sha256_of(bundle.graph("int8").path)}
    (copy / CARD_FILE).write_text(bundle.card.model_copy(update={"files": files}).model_dump_json())
    code, _, errors = run_main(train_main, "reid-train", veri, *options, "--resume")
    assert code == 1
    assert "graph of qat" in errors
