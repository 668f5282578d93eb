"""`reid-bench`: a run on two bundles, one of which is wrong; what it predicts, compares and refuses."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shlex
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bench_party import SCRIPT
from bench_results import BATCHES, ENVIRONMENT, batch, result, sample, subject
from command_line import Run, assert_one_line_of_error
from machine_tree import plant
from onnx import numpy_helper

from reid.bench import measure
from reid.bench.costs.record import Roofline
from reid.bench.models import GivenModel
from reid.bench.reading import read_result
from reid.bench.result import BenchResult, Failure
from reid.bench.subjects import Candidate
from reid.commands import infer
from reid.commands.bench import _usable_cores, main

FILES = [".reid-manifest.json", "bench.csv", "bench.json", "bench.md", "report.html"]
PEAKS = Roofline(operations_per_s={"fp32": 1e12}, bytes_per_s=1e11, source="measured in this run")
QUICK = ("--session", "onnxruntime", "--precision", "fp32", "--batch", "2,1,2", "--minutes", "0.01", "--no-peers")


@pytest.fixture
def run(run_main: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return partial(run_main, main, "reid-bench")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked for, measuring it finds what `sample` holds."""
    monkeypatch.setattr(measure, "measure", lambda plan, progress: sample())


def write_wrong(bundle: Path, copy: Path) -> Path:
    """Write a bundle whose graph has the weights of its convolutions in another order, and whose card says it is so."""
    shutil.copytree(bundle, copy)
    model = onnx.load(copy / "model.fp32.onnx")
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 4:
            values = np.ascontiguousarray(numpy_helper.to_array(tensor)[::-1, ::-1])
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, copy / "model.fp32.onnx")
    card = json.loads((copy / "model.json").read_text())
    card["files"]["model.fp32.onnx"] = hashlib.sha256((copy / "model.fp32.onnx").read_bytes()).hexdigest()
    (copy / "model.json").write_text(json.dumps(card))
    return copy


# ---- a run ----


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run happens; its name has to be quoted in a command line."""
    return tmp_path_factory.mktemp("ein größeres")


@pytest.fixture(scope="module")
def printed(folder: Path, bundle: Path) -> tuple[str, str]:
    """What a run on two bundles prints and notes. Their folders have the same name; one of them is wrong."""
    (folder / "sound").mkdir()
    (folder / "sound" / "bundle").symlink_to(bundle)
    write_wrong(bundle, folder / "wrong" / "bundle")
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["reid-bench", "sound/bundle", "wrong/bundle", *QUICK])
        patch.setattr("reid.bench.limits.measure_peaks", lambda *_: PEAKS)
        for module, quick in {
            "measure": {"_TURN_S": 0.005, "_WARM_UP_S": 0.01},
            "scenarios": {"_FRAMES": 10, "_LEAST_S": 0.02},
            "from_files": {"_ROUND_S": 0.01},
            "machine.gathering": {"IDLE_S": 0.01},
        }.items():
            for name, value in quick.items():
                patch.setattr(f"reid.bench.{module}.{name}", value)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0, err.getvalue()
    return out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def found(printed: tuple[str, str], folder: Path) -> BenchResult:
    return read_result(folder / "bench")


def test_a_run_leaves_a_result_tables_and_a_page(printed: tuple[str, str], folder: Path) -> None:
    assert sorted(os.listdir(folder / "bench")) == FILES
    out, err = printed
    assert out.splitlines()[-1] == "bench/report.html"
    assert "Traceback" not in err


def test_what_was_asked_for_is_in_the_result(found: BenchResult) -> None:
    assert found.settings.batches == (1, 2)
    assert found.command == shlex.join(["reid-bench", "sound/bundle", "wrong/bundle", *QUICK])
    assert [one.name for one in found.subjects] == [f"onnxruntime fp32 of {one}/bundle" for one in ("sound", "wrong")]
    assert found.peer == ""
    assert found.roofline == PEAKS
    assert found.subjects[0].roofline_percent is not None


def test_a_graph_that_is_wrong_is_said_to_be_and_has_no_figures(
    printed: tuple[str, str], found: BenchResult, folder: Path
) -> None:
    sound, wrong = found.subjects
    assert wrong.failure is not None
    assert wrong.failure.during == "the check of its answers"
    assert wrong.batches == ()
    assert sound.quality is not None
    assert sound.quality.least_similarity == pytest.approx(1, abs=1e-4)
    for text in (printed[0], (folder / "bench" / "bench.md").read_text()):
        assert "onnxruntime fp32 of wrong/bundle failed during the check of its answers: " in text.replace("\\", "")
    assert "wrong/bundle" in (folder / "bench" / "report.html").read_text()


def test_the_recommendation_can_be_followed(
    printed: tuple[str, str], folder: Path, veri: Path, run_main: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    (command,) = (line for line in printed[0].splitlines() if line.startswith("reid-infer "))
    name, gallery, query, *options = shlex.split(command)
    assert options == ["--model", "sound/bundle", "--session", "onnxruntime", "--precision", "fp32"]
    assert f"`{command}`" in (folder / "bench" / "bench.md").read_text()
    assert [gallery, query] == ["GALLERY", "QUERY"]
    monkeypatch.chdir(folder)
    for part in (gallery, query):
        Path(part).mkdir()
        shutil.copy(next((veri / "image_query").iterdir()), part)
    code, out, err = run_main(infer.main, name, gallery, query, *options)
    assert (code, out) == (0, "results/report.html\n"), err


# ---- what comes of a result ----


def test_json_is_one_document_and_a_second_run_replaces_the_first(run: Run, bundle: Path, measured: None) -> None:
    for _ in range(2):
        code, out, _ = run(bundle, "--json", "--no-peers", "--output", "found")
        assert code == 0
    assert BenchResult.model_validate(json.loads(out)) == sample() == read_result(Path("found"))
    assert sorted(os.listdir("found")) == FILES


def test_nothing_is_measured_where_nothing_can_be_written(
    run: Run, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "measure", lambda *_: pytest.fail("it was measured"))
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "thesis.tex").write_text("years of work")
    assert "bench holds thesis.tex" in assert_one_line_of_error(*run(bundle))
    assert "which is an input" in assert_one_line_of_error(*run(bundle, "--output", bundle))
    assert os.listdir(tmp_path / "bench") == ["thesis.tex"]


def test_a_run_in_which_every_session_failed_is_a_failure_with_a_report(
    run: Run, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Failure(during="batches of 8", reason="CUDA error: the GPU has fallen off the bus")
    failed = subject("tensorrt int8", 900, batches=(), quality=None, start=None, memory_mib={}, failure=gone)
    monkeypatch.setattr(measure, "measure", lambda *_: result(failed, subject("torch fp32", 9, kind="peer")))
    code, out, err = run(bundle)
    assert code == 1
    assert "tensorrt int8 failed during batches of 8: CUDA error: the GPU has fallen off the bus" in out
    assert err.splitlines()[-1] == "error: no session works here as it should; see bench/report.html"
    assert sorted(os.listdir("bench")) == FILES


@pytest.mark.parametrize("signal_", [KeyboardInterrupt, MemoryError])
def test_whatever_ends_a_run_leaves_no_process_and_no_file(
    run: Run, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signal_: type[BaseException]
) -> None:
    def interrupt(*_: object) -> None:
        assert len(children()) == before + 2
        raise signal_

    def party(models: list[GivenModel], *_: object) -> list[Candidate]:
        return [Candidate(name, "session", "fp32", models[0], f"{SCRIPT}:open_party") for name in ("one", "other")]

    before = len(children())
    monkeypatch.setattr("reid.bench.subjects.find_sessions", party)
    monkeypatch.setattr(measure, "_measure_turns", interrupt)
    monkeypatch.setattr("reid.bench.machine.gathering.IDLE_S", 0.01)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    code, out, _ = run(bundle, "--no-peers")
    assert (code, out) == (130 if signal_ is KeyboardInterrupt else 1, "")
    assert len(children()) == before
    assert [*tmp_path.rglob("*")] == [tmp_path / "tmp"]


def children() -> list[str]:
    """Return the processes that this one has started and that are not gone."""
    return [pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]


# ---- what is refused ----


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--batch", ["0", "-1", "", "1,,2", "1;2", "4097", "1e3", "9" * 5000]),
        ("--precision", ["fp8", "", "FP32"]),
        ("--minutes", ["0", "nan", "1e9"]),
        ("--latency-limit", ["0", "nan"]),
        ("--camera-rate", ["0", "inf"]),
        ("--threads", ["0", "1025"]),
    ],
)
def test_an_option_that_makes_no_sense_is_wrong_usage(run: Run, bundle: Path, option: str, values: list[str]) -> None:
    for value in values:
        code, out, err = run(bundle, f"{option}={value}")
        assert (code, out) == (2, ""), value
        assert option in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--session", "quantum"], "unknown session 'quantum'; choose one of: onnxruntime, openvino, "),
        (["--session", "torch"], "torch runs checkpoints, and none was given; name the run that"),
        (["--session", "openvino", "--session", "torch:cpu"], "torch:cpu runs checkpoints, and none was given"),
        (
            ["--precision", "fp32", "--precision", "int8"],
            "there is no int8 graph in what was given; choose one of",
        ),
        (["--session", "onnxruntime", "--precision", "fp16"], "onnxruntime has no fp16 to run in what was given"),
        (["--peer", "mine"], "--peer 'mine' names no peer"),
        (["--peer", "mine=absent.py"], "there is no script absent.py"),
        (["--predict", "abacus"], "no device 'abacus' is known"),
        (["--predict", "t4", "--precision", "int8"], "has no int8 graph; choose one of: fp32"),
    ],
)
def test_what_cannot_be_measured_is_said_at_once(run: Run, bundle: Path, options: list[str], said: str) -> None:
    assert said in assert_one_line_of_error(*run(bundle, *options))
    assert not Path("bench").exists()


def test_a_session_for_graphs_is_refused_for_a_checkpoint(run: Run, checkpoint: Path) -> None:
    line = assert_one_line_of_error(*run(checkpoint, "--session", "onnxruntime"))
    assert "onnxruntime runs graphs, and only checkpoints were given; export one with reid-export" in line


def test_two_peers_of_one_name_are_refused(run: Run, bundle: Path) -> None:
    peer = ("--peer", f"mine={SCRIPT}")
    line = assert_one_line_of_error(*run(bundle, "--no-peers", *peer, *peer))
    assert line == "error: 2 subjects are called 'mine'; give each --peer a name of its own"


def test_where_no_session_runs_the_reason_is_told_and_no_peer_is_waited_for(run: Run, bundle: Path) -> None:
    code, out, err = run(bundle, "--session", "onnxruntime:tpu")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("error: no session works here: unknown ONNX Runtime device 'tpu'")
    assert not Path("bench").exists()


def test_threads_are_as_many_as_can_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert _usable_cores(str(tmp_path)) == 6  # nothing tells
    status = "proc/self/status = Cpus_allowed_list: 0-7\n"
    cores = plant(tmp_path, status)
    assert _usable_cores(cores) == 8
    for quota_us, threads in ((250_000, 2), (50_000, 1), (10_000_000, 8)):
        group = f"proc/self/cgroup = 0::/\nsys/fs/cgroup/cpu.max = {quota_us} 100000\n"
        assert _usable_cores(plant(tmp_path, status + group)) == threads


# ---- prediction ----


def test_a_prediction_is_a_range_and_its_error_is_printed(run: Run, bundle: Path, checkpoint: Path) -> None:
    arguments = (checkpoint, bundle, "--predict", "orin-nx", "--predict", "t4", "--batch", "1,8")
    code, out, _ = run(*arguments)
    assert code == 0
    assert "predicted" in out
    code, text, _ = run(*arguments, "--json")
    found = json.loads(text)
    assert (code, len(found["predicted"])) == (0, 2)
    for of_device in found["predicted"].values():
        assert [one["batch"] for one in of_device] == [1, 8]
    assert found["checked_on"]
    assert run(*arguments, "--precision", "fp32") == (0, out, "")
    assert not Path("bench").exists()


def test_a_checkpoint_has_no_graph_to_predict_from(run: Run, checkpoint: Path) -> None:
    line = assert_one_line_of_error(*run(checkpoint, "--predict", "orin-nx"))
    assert "export it and give the bundle" in line


# ---- comparison ----


def store(name: str, *subjects: Any, **fields: Any) -> str:  # noqa: ANN401 - the record's own
    """Write a result; return its folder."""
    Path(name).mkdir()
    (Path(name) / "bench.json").write_text(result(*subjects, **fields).model_dump_json())
    return name


def test_the_exit_code_says_whether_something_became_worse(run: Run) -> None:
    before = store("before", subject("openvino fp32", 48))
    slower = store("after", subject("openvino fp32", 48, batches=tuple(batch(n, 30) for n in BATCHES)))
    for as_json in ([], ["--json"]):
        code, out, err = run("compare", before, before, *as_json)
        assert (code, err) == (0, "")
        code, out, err = run("compare", before, f"{slower}/bench.json", *as_json)
        assert (code, err) == (3, f"error: {slower}/bench.json is worse than {before}\n")
        assert "slower" in out
        assert run("compare", slower, before, *as_json)[0] == 0
    assert {one["verdict"] for one in json.loads(out)["speeds"]} == {"slower"}


def test_on_two_machines_nothing_is_a_regression(run: Run) -> None:
    before = store("before", subject("openvino fp32", 48))
    processor = ENVIRONMENT.processor.model_copy(update={"model": "Cortex-A78AE"})
    elsewhere = ENVIRONMENT.model_copy(update={"processor": processor})
    after = store("after", subject("openvino fp32", 5), environment=elsewhere)
    code, out, _ = run("compare", before, after)
    assert code == 0
    assert "Cortex-A78AE" in out


def test_what_is_no_result_is_one_line(run: Run, bundle: Path) -> None:
    sound = store("sound", subject("openvino fp32", 48))
    Path("damaged.json").write_text((Path(sound) / "bench.json").read_text()[:-99])
    Path("empty").mkdir()
    for path, said in (
        ("damaged.json", "damaged.json: the benchmark result is not valid"),
        ("empty", "empty/bench.json: No such file"),
        ("absent", "absent: No such file"),
        (bundle / "model.json", "the benchmark result is not valid"),
    ):
        for pair in ((sound, path), (path, sound)):
            line = assert_one_line_of_error(*run("compare", *pair, "--json"))
            assert said in line
            assert "run reid-bench again" in line


def test_a_comparison_needs_two(run: Run) -> None:
    code, out, err = run("compare", "before")
    assert (code, out) == (2, "")
    assert "reid-bench compare --help" in err
