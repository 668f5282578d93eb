from __future__ import annotations

import itertools
import json
import os
import shlex
import shutil
from functools import partial
from pathlib import Path

import onnx
import pytest
import typer
from command_line import Run

import reid.export.bundle as writer
from reid.commands.export import app, main
from reid.evaluation.verification.reading import read_verification
from reid.evaluation.verification.records import EngineFacts, LayerInFp32
from reid.evaluation.verification.sentences import engine_sentence
from reid.runtime.bundle import Bundle
from reid.runtime.engine_card import EngineCard, Profile
from reid.runtime.engine_fit import Target, check_engine
from reid.runtime.errors import ModelError
from reid.runtime.files.reading import sha256_of
from reid.runtime.model_card import ModelCard
from reid.runtime.opening import open_session
from reid.runtime.sessions.tensorrt import find_engine
from reid.train.model.checkpoint import load_checkpoint
from reid.train.model.multi_level import MultiLevelReID


@pytest.fixture
def run(run_main: Run, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in this process, with a graph that was exported before: (exit code, output, errors)."""

    def copy(model: MultiLevelReID, card: ModelCard, path: Path) -> None:
        shutil.copy(bundle / "model.fp32.onnx", path)

    monkeypatch.setattr(writer, "export_graph", copy)
    monkeypatch.chdir(tmp_path)
    return partial(run_main, main, "reid-export")


def assert_one_line_of_error(code: int, out: str, err: str, *, expected: int = 1) -> str:
    assert (code, out) == (expected, "")
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    return line


def test_without_arguments_it_exports_the_latest_run_to_bundle(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "latest").symlink_to(checkpoint)
    code, out, err = run()
    assert (code, out) == (0, "bundle\n")
    assert "fp32: smallest cosine similarity to PyTorch 1.000000" in err
    assert "not verified" in err
    Bundle.open(tmp_path / "bundle")


def test_json_is_alone_on_standard_output(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    code, out, _ = run(checkpoint, "--output", "deep/bundle", "--json")
    assert code == 0
    result = json.loads(out)
    card = Bundle.open(tmp_path / "deep" / "bundle").card
    assert (result["bundle"], result["fingerprint"]) == ("deep/bundle", card.fingerprint)
    assert 0 <= result["fp32"]["largest_difference"] < 1e-4
    assert result["verification"]["retrieval"] is False
    assert result["engines"] == []
    assert result["verification"]["judged_on"]["kind"] == "reference crops"


def test_a_failed_gate_ends_with_3_and_leaves_no_bundle(
    run: Run, checkpoint: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export_without_pooling(model: MultiLevelReID, card: ModelCard, path: Path) -> None:
        graph = onnx.load(bundle / "model.fp32.onnx")
        (last,) = (node for node in graph.graph.node if node.output[0] == "pooled")
        node = onnx.helper.make_node("MatMul", list(last.input), ["sum"])
        graph.graph.node.remove(last)
        graph.graph.node.extend([node, onnx.helper.make_node("Sin", ["sum"], ["pooled"])])
        onnx.save(graph, path)

    monkeypatch.setattr(writer, "export_graph", export_without_pooling)
    assert "differs from PyTorch" in assert_one_line_of_error(*run(checkpoint), expected=3)
    assert os.listdir(tmp_path) == []


def test_a_failure_is_one_line_that_names_the_cause(run: Run, checkpoint: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    damaged = Path(shutil.copytree(checkpoint, tmp_path / "damaged"))
    content = (damaged / "checkpoint.safetensors").read_bytes()
    (damaged / "checkpoint.safetensors").write_bytes(content[: len(content) // 2])
    other = tmp_path / "other"
    other.mkdir()
    (other / "work.txt").touch()
    before = sorted(os.listdir(tmp_path))
    for arguments, named in (
        ((), "runs/latest"),
        (("absent",), "absent"),
        ((damaged,), "checkpoint.safetensors"),
        ((checkpoint, "--output", "/proc/bundle"), "/proc"),
        ((checkpoint, "--output", "file"), "file"),
        ((checkpoint, "--output", "file/bundle"), "file"),
        ((checkpoint, "--output", "other"), "other"),
    ):
        assert named in assert_one_line_of_error(*run(*arguments, "--json"))
        assert sorted(os.listdir(tmp_path)) == before


def test_wrong_usage_ends_with_2(run: Run) -> None:
    code, out, err = run("one", "two")
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_a_bundle_alone_is_wrong_usage_that_says_what_it_is_good_for(run: Run, bundle: Path) -> None:
    code, out, err = run(bundle)
    assert (code, out) == (2, "")
    assert "--engine" in err
    assert "--triton" in err
    code, out, err = run(bundle, "--triton", "repo", "--verify", bundle)
    assert (code, out) == (2, "")
    assert "to verify them here, use reid-verify" in " ".join(err.split())


@pytest.mark.parametrize("wrong", ["1,2", "1,2,3:4", "1,2,3:3,2,1", "4,2,1:1,1,1", "1,2,3:1,2,4"])
def test_a_profile_that_cannot_be_is_wrong_usage(run: Run, checkpoint: Path, wrong: str) -> None:
    code, out, err = run(checkpoint, "--engine", "tensorrt-rtx", "--profile", wrong)
    assert (code, out) == (2, "")
    assert "profile" in err


def test_fp16_is_verified_on_retrieval_and_built_for_tensorrt_rtx(
    run: Run, checkpoint: Path, veri: Path, tmp_path: Path
) -> None:
    code, out, err = run(
        checkpoint, "--fp16", "--verify", veri, "--rerank", "--engine", "tensorrt-rtx", "--triton", "repo", "--json"
    )
    assert code == 0, err
    result = json.loads(out)
    assert [one["precision"] for one in result["verification"]["precisions"]] == ["fp32", "fp16"]
    for one in result["verification"]["precisions"]:
        compared = [(found["post_processing"], found["protocol"]) for found in one["protocols"]]
        assert compared == list(itertools.product(("plain", "re-ranking"), ("i2i", "i2t", "t2t")))
    engines = sorted(path.suffix for path in (tmp_path / "bundle" / "engines").iterdir())
    assert engines == [".engine", ".engine", ".json", ".json"]
    assert Bundle.open(tmp_path / "bundle").precisions == ("fp32", "fp16")
    assert result["triton"]
    assert "fp16 I2I: mAP" in err


def test_a_precision_outside_tolerance_leaves_a_report_instead_of_a_bundle(
    run: Run, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def perturbed(graph: Path, output: Path, frames: object) -> tuple[LayerInFp32, ...]:
        model = onnx.load(graph)
        (weight,) = (t for t in model.graph.initializer if t.name == "model.heads.1.weight")
        values = onnx.numpy_helper.to_array(weight)
        weight.CopyFrom(onnx.numpy_helper.from_array(values[::-1].copy(), weight.name))
        onnx.save(model, output)
        return ()

    monkeypatch.setattr(writer, "write_fp16_graph", perturbed)
    line = assert_one_line_of_error(*run(checkpoint, "--fp16"), expected=3)
    assert "fp16" in line
    assert "bundle.rejected" in line
    assert sorted(os.listdir(tmp_path)) == ["bundle.rejected"]
    found = json.loads((tmp_path / "bundle.rejected" / "verification.json").read_text())
    first = min((d for d in found["precisions"][1]["drift"] if d["relative_error"] > 0.01), key=lambda d: d["position"])
    assert first["weight"] == "model.heads.1.weight"
    failure = found["precisions"][1]["failures"][0]
    assert (failure["kind"], failure["furthest"]["level"]) == ("dissimilar", "level4")
    assert "level4 is the furthest off" in line


def dimmed(bundle: Path, output: Path) -> Path:
    """A copy of a bundle whose graph normalizes with another mean, and whose hashes say that it should."""
    copy = Path(shutil.copytree(bundle, output))
    model = onnx.load(copy / "model.fp32.onnx")
    (mean,) = (tensor for tensor in model.graph.initializer if tensor.name == "model.mean")
    mean.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(mean) * 1.5, mean.name))
    onnx.save(model, copy / "model.fp32.onnx")
    card = json.loads((copy / "model.json").read_text())
    card["files"]["model.fp32.onnx"] = sha256_of(copy / "model.fp32.onnx")
    (copy / "model.json").write_text(json.dumps(card))
    return copy


@pytest.mark.parametrize("options", [("--engine", "tensorrt-rtx"), ("--triton", "repo"), ("--deepstream", "repo")])
def test_nothing_is_made_from_a_graph_that_is_not_what_was_verified(
    run: Run, bundle: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    copy = dimmed(bundle, tmp_path / "copy")
    assert "unlike PyTorch" in assert_one_line_of_error(*run(copy, *options))
    assert not (copy / "engines").exists()
    assert not (tmp_path / "repo").exists()


def test_a_graph_inside_a_bundle_is_held_to_what_the_bundle_says(bundle: Path, tmp_path: Path) -> None:
    copy = dimmed(bundle, tmp_path / "copy")
    with pytest.raises(ModelError, match="unlike PyTorch"):
        open_session(copy / "model.fp32.onnx")
    with open_session(bundle / "model.fp32.onnx") as session:
        assert session.info.card.fingerprint == Bundle.open(bundle).card.fingerprint


def test_the_command_in_a_sidecar_builds_the_same_engine_again(run: Run, bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "a copy"))
    options = (
        "--profile",
        "1,2,4:1,1,4",
        "--profile",
        "1,8,8:1,2,8",
        "--compute-capability",
        "8.9",
        "--workspace",
        "99",
    )
    assert run(copy, "--engine", "tensorrt-rtx", *options)[0] == 0
    (sidecar,) = (copy / "engines").glob("*.json")
    first = EngineCard.parse(sidecar.read_bytes(), sidecar)
    command = shlex.split(first.rebuild(sidecar.with_suffix(".engine")))
    shutil.rmtree(copy / "engines")
    assert command[:2] == ["reid-export", str(copy)]
    assert run(*command[1:])[0] == 0
    again = EngineCard.parse(sidecar.read_bytes(), sidecar)
    assert (again.profiles, again.compute_capabilities) == (first.profiles, first.compute_capabilities)
    assert again.build_command == first.build_command


def test_frames_that_cannot_be_read_are_counted_and_named(
    run: Run, checkpoint: Path, veri: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(veri, tmp_path / "veri"))
    lost = sorted((data / "image_test").iterdir())[:2]
    for path in lost:
        path.write_bytes(b"")
    code, _, err = run(checkpoint, "--verify", data)
    assert code == 0
    assert "2 frames could not be read" in err
    found = json.loads((tmp_path / "bundle" / "verification.json").read_text())
    assert sorted(found["precisions"][0]["unreadable"]) == list(map(str, lost))
    assert found["judged_on"]["unreadable"] == 2


@pytest.mark.parametrize("wrong", ["inf", "nan", "-1"])
def test_a_tolerance_that_cannot_be_is_wrong_usage(run: Run, checkpoint: Path, wrong: str) -> None:
    code, out, err = run(checkpoint, "--tolerance-map", wrong)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_a_rejection_says_that_a_former_bundle_is_still_there_and_a_success_clears_the_report(
    run: Run, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "strict.json").write_text('{"similarity": 1.0}')
    assert run(checkpoint)[0] == 0
    line = assert_one_line_of_error(*run(checkpoint, "--fp16", "--tolerances", "strict.json"), expected=3)
    assert "bundle is from an earlier export" in line
    assert (tmp_path / "bundle.rejected").is_dir()
    Bundle.open(tmp_path / "bundle")
    assert run(checkpoint)[0] == 0
    assert not (tmp_path / "bundle.rejected").exists()


def test_int8_ends_in_an_engine_and_says_what_is_in_it(run: Run, checkpoint: Path, veri: Path, tmp_path: Path) -> None:
    (tmp_path / "lenient.json").write_text('{"map": 100, "rank": 100, "int8_similarity": -1}')
    options = ("--calibration", veri, "--calibration-frames", 6, "--ranges", "max", "--tolerances", "lenient.json")
    engine = ("--engine", "tensorrt-rtx", "--precision", "int8")
    code, out, err = run(checkpoint, "--int8", *options, *engine, "--json")
    assert code == 0, err
    result = json.loads(out)["int8"]
    assert result["in_fp16"] == []
    assert [one["passed"] for one in result["evaluations"]] == [True, True]  # by OpenVINO, and by the gate's session
    assert 99 < result["int8_percent"] < 100
    assert list(result["ranges"]) == ["max"]
    assert result["judged_on"]["held_out"]
    assert "judged on" in err
    assert "int8: all layers in INT8" in err
    (sidecar,) = (tmp_path / "bundle" / "engines").glob("*-int8.json")
    assert set(EngineCard.parse(sidecar.read_bytes(), sidecar).layers.convolutions) == {"int8"}
    assert not (tmp_path / "bundle.search.json").exists()


def test_int8_needs_data_to_calibrate_on_and_what_is_for_it_needs_int8(
    run: Run, checkpoint: Path, veri: Path, tmp_path: Path
) -> None:
    for options, named in (
        (("--int8",), "--calibration DATA"),
        (("--calibration", veri), "--int8"),
        (("--scales", "scales.json"), "--int8"),
        (("--objective", "latency"), "--int8"),
        (("--int8", "--calibration", veri, "--ranges", "guess"), "guess"),
        (("--int8", "--calibration", veri, "--calibration-frames", "0"), "--calibration-frames"),
    ):
        code, out, err = run(checkpoint, *options)
        assert (code, out) == (2, "")
        assert named in err
    gallery = veri / "image_test"
    assert "training split" in assert_one_line_of_error(*run(checkpoint, "--int8", "--calibration", gallery))
    (tmp_path / "scales.json").write_text("{}")
    line = assert_one_line_of_error(*run(checkpoint, "--int8", "--calibration", veri, "--scales", "scales.json"))
    assert "scales.json" in line
    assert os.listdir(tmp_path) == ["scales.json"]


def test_where_no_engine_can_be_timed_the_objective_is_refused_before_any_work(
    run: Run, checkpoint: Path, veri: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reid.export.int8.engine_time.find_device", lambda: None)
    line = assert_one_line_of_error(*run(checkpoint, "--int8", "--calibration", veri, "--objective", "latency"))
    assert "no NVIDIA GPU" in line
    assert line.endswith("leave out --objective latency to minimize multiply-accumulates")
    assert os.listdir(tmp_path) == []


def test_options_that_would_be_ignored_are_wrong_usage(
    run: Run, checkpoint: Path, bundle: Path, tmp_path: Path
) -> None:
    assert run(bundle, "--engine", "tensorrt-rtx", "--output", "elsewhere")[0] == 2
    assert run(bundle, "--engine", "tensorrt-rtx", "--objective", "latency")[0] == 2
    (tmp_path / "tolerances.json").write_text("{}")
    assert run(checkpoint, "--tolerances", "tolerances.json", "--tolerance-map", "0")[0] == 2
    for option in (("--rerank",), ("--expand-queries", "5")):
        code, out, err = run(checkpoint, "--fp16", *option)
        assert (code, out) == (2, "")
        assert "--expand-queries and --rerank compare rankings: add --verify DATA" in " ".join(err.split())
        assert run(bundle, "--engine", "tensorrt-rtx", *option)[0] == 2
    assert sorted(os.listdir(tmp_path)) == ["tolerances.json"]


@pytest.fixture(scope="module")
def fp16_bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with an FP32 and an FP16 graph. Copy to change."""
    output = tmp_path_factory.mktemp("fp16") / "bundle"
    writer.write_bundle(load_checkpoint(checkpoint), output, writer.ExportRequest(fp16=True))
    return output


def engines_of(bundle: Path) -> list[str]:
    """The precisions of a bundle's engines."""
    return sorted(path.stem.rpartition("-")[2] for path in (bundle / "engines").glob("*.engine"))


RTX = ("--engine", "tensorrt-rtx", "--compute-capability", "8.9", "--optimization-level", "0")


def test_an_engine_of_one_precision_is_added_alone(run: Run, fp16_bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(fp16_bundle, tmp_path / "copy"))
    code, out, err = run(copy, "--precision", "fp16", *RTX, "--json")
    assert code == 0, err
    assert engines_of(copy) == ["fp16"]
    (engine,) = json.loads(out)["engines"]
    assert engine.startswith("fp16 for sm89 by tensorrt-rtx ")
    assert f"engine: {engine}" in err
    (sidecar,) = (copy / "engines").glob("*.json")
    command = shlex.split(EngineCard.parse(sidecar.read_bytes(), sidecar).rebuild(sidecar.with_suffix(".engine")))
    shutil.rmtree(copy / "engines")
    assert run(*command[1:])[0] == 0
    assert engines_of(copy) == ["fp16"]
    assert run(copy, *RTX)[0] == 0  # every graph's, where none is named
    assert engines_of(copy) == ["fp16", "fp32"]


@pytest.mark.parametrize("stored", ["--fp16", ""])
def test_the_command_that_version_0_1_stored_builds_that_engine_alone(
    run: Run, fp16_bundle: Path, tmp_path: Path, stored: str
) -> None:
    copy = Path(shutil.copytree(fp16_bundle, tmp_path / "a copy"))
    precision = "fp16" if stored else "fp32"
    assert run(copy, "--precision", precision, *RTX)[0] == 0
    (sidecar,) = (copy / "engines").glob("*.json")
    card = EngineCard.parse(sidecar.read_bytes(), sidecar)
    old = card.model_copy(update={"build_command": f"reid-export BUNDLE {stored} {shlex.join(RTX)}"})
    sidecar.write_text(old.to_json())
    engine = sidecar.with_suffix(".engine")
    engine.write_bytes(b"damaged")
    shown = EngineCard.parse(sidecar.read_bytes(), sidecar).rebuild(engine)
    code, _, err = run(*shlex.split(shown)[1:])
    assert code == 0, err
    assert engines_of(copy) == [precision]
    again = EngineCard.parse(sidecar.read_bytes(), sidecar)
    check_engine(
        engine,
        again,
        Target("tensorrt-rtx", again.version, "8.9"),
        Bundle.open(copy).graph(precision),
        card.fingerprint,
    )


def test_a_flag_that_makes_a_graph_is_refused_for_a_bundle_with_the_command_that_builds_its_engine(
    run: Run, fp16_bundle: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(fp16_bundle, tmp_path / "a copy"))
    code, out, err = run(copy, "--fp16", "--engine", "tensorrt-rtx")
    assert (code, out) == (2, "")
    (line,) = (line for line in err.splitlines() if "whose graphs already exist" in line)
    command = shlex.split(line[line.index("reid-export ") :])
    assert command == ["reid-export", str(copy), "--precision", "fp16", "--engine", "tensorrt-rtx"]
    assert not (copy / "engines").exists()
    assert run(*command[1:])[0] == 0
    assert engines_of(copy) == ["fp16"]
    code, _, err = run(copy, "--int8", "--engine", "tensorrt-rtx")
    assert code == 2
    assert "for an INT8 graph, export its checkpoint with --int8" in err


def test_an_engine_needs_its_graph_and_a_package(run: Run, checkpoint: Path, fp16_bundle: Path, tmp_path: Path) -> None:
    for arguments, named in (
        ((checkpoint, "--precision", "fp32"), "add --engine"),
        ((fp16_bundle, "--precision", "fp16", "--triton", "repo"), "add --engine"),
        ((checkpoint, "--precision", "fp16", *RTX), "add --fp16"),
        ((checkpoint, "--fp16", "--precision", "int8", *RTX), "add --int8"),
        ((checkpoint, "--precision", "half", *RTX), "unknown precision 'half'; choose one of: fp32, fp16, int8"),
    ):
        code, out, err = run(*arguments)
        assert (code, out) == (2, "")
        assert named in err
    assert "has no int8 graph" in assert_one_line_of_error(*run(fp16_bundle, "--precision", "int8", *RTX))
    assert not (fp16_bundle / "engines").exists()
    assert os.listdir(tmp_path) == []


def test_a_new_bundle_gets_the_engines_that_are_asked_for_and_says_so(
    run: Run, checkpoint: Path, tmp_path: Path
) -> None:
    code, out, err = run(checkpoint, "--fp16", "--precision", "fp16", *RTX, "--profile", "1,8,8:1,4,4", "--json")
    assert code == 0, err
    assert engines_of(tmp_path / "bundle") == ["fp16"]
    stored = read_verification(tmp_path / "bundle" / "verification.json")
    (facts,) = stored.engines
    assert isinstance(facts, EngineFacts)
    assert (facts.precision, facts.flavor, facts.device) == ("fp16", "tensorrt-rtx", "sm89")
    assert json.loads(out)["engines"] == [engine_sentence(facts)]
    assert engine_sentence(facts) in (tmp_path / "bundle" / "report.html").read_text()
    (sidecar,) = (tmp_path / "bundle" / "engines").glob("*.json")
    card = EngineCard.parse(sidecar.read_bytes(), sidecar)
    assert card.profiles == (Profile((1, 8, 8), (1, 4, 4)),)
    opened = Bundle.open(tmp_path / "bundle")
    assert find_engine(opened, "fp16", Target("tensorrt-rtx", card.version, "8.9")) == (
        sidecar.with_suffix(".engine"),
        card,
    )


def test_profiles_that_leave_batches_without_one_are_wrong_usage_with_a_remedy_that_works(
    run: Run, bundle: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    given = (copy, *RTX, "--profile", "4,8,8:1,4,4")
    code, out, err = run(*given)
    assert (code, out) == (2, "")
    assert "a batch of 1 frames and 1 tracklets fits no profile" in " ".join(err.split())
    assert not (copy / "engines").exists()
    *_, option, profile = err.split()
    code, _, err = run(*given, option, profile)
    assert code == 0, err


@pytest.mark.parametrize(
    "words",
    [
        ("--output", "veri"),
        ("--output", "run/bundle"),
        ("--output", "."),
        ("--triton", "bundle"),
        ("--triton", "bundle/triton"),
        ("--triton", "veri/triton"),
        ("--deepstream", "veri/deepstream"),
        ("--timing-cache", "run/checkpoint.json"),
    ],
)
def test_an_output_over_an_input_is_refused_before_the_work(
    run: Run, checkpoint: Path, veri: Path, bundle: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    for name, source in (("run", checkpoint), ("veri", veri), ("bundle", bundle)):
        shutil.copytree(source, tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    line = assert_one_line_of_error(*run("run", "--verify", "veri", *words))
    assert "which is an input" in line
    assert words[1] in line
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_damaged_verification_is_one_line(run: Run, bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    (copy / "verification.json").write_text("{}")
    card = json.loads((copy / "model.json").read_text())
    card["files"]["verification.json"] = sha256_of(copy / "verification.json")
    (copy / "model.json").write_text(json.dumps(card))
    assert "verification.json: the verification is not valid" in assert_one_line_of_error(*run(copy, *RTX))


def test_the_options_are_listed_in_panels() -> None:
    """However --help draws them, every option of this command names one of its panels."""
    panels = {parameter.name: parameter for parameter in typer.main.get_command(app).params}
    found = {name: getattr(parameter, "rich_help_panel", None) for name, parameter in panels.items()}
    assert {found["fp16"], found["int8"]} == {"Graphs"}
    assert found["calibration"] == found["scales"] == found["objective"] == "INT8"
    assert {found[name] for name in ("verify", "tolerances", "expand_queries", "rerank")} == {"Verification"}
    assert {found["engine"], found["precision"], found["profile"], found["triton"], found["deepstream"]} == {"Engines"}
