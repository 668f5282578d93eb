from __future__ import annotations

import os
from pathlib import Path

import pytest
from command_line import Run, assert_one_line_of_error

from reid.commands.train import main
from reid.data.layout import open_dataset
from reid.runtime.errors import ReidError
from reid.train.recipe import Recipe
from reid.train.run.folder import RunFolder, inputs_of
from reid.train.run.metrics import METRICS_FILE, read_rows, write_rows


def test_the_inputs_of_a_run_are_what_it_reads(veri: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = open_dataset(veri, needs="train")
    assert inputs_of(dataset, Recipe()) == [veri]
    for name in ("w.pth", "default", "none"):
        (tmp_path / name).touch()
    (tmp_path / "bundle").mkdir()
    for weights in ("default", "none"):
        assert inputs_of(dataset, Recipe(weights=weights)) == [veri]
    assert inputs_of(dataset, Recipe(weights="./none")) == [veri, Path("none")]
    assert inputs_of(dataset, Recipe(weights="w.pth")) == [veri, Path("w.pth")]
    assert inputs_of(dataset, Recipe(weights="w.pth", qat="bundle")) == [veri, Path("w.pth"), Path("bundle")]


def test_a_run_is_apart_from_its_inputs(tmp_path: Path) -> None:
    data, weights = tmp_path / "data", tmp_path / "runs" / "weights.pth"
    data.mkdir()
    weights.parent.mkdir()
    weights.touch()
    (tmp_path / "link").symlink_to(data)
    for folder in (data, data / "runs" / "new", tmp_path, tmp_path / "runs", tmp_path / "link" / "new", weights):
        for resume in (False, True):
            with pytest.raises(ReidError, match=f"^{folder} (is|lies in|holds) .*, which is an input"):
                RunFolder(folder).check(resume=resume, inputs=[data, weights])
    RunFolder(tmp_path / "runs" / "new").check(resume=False, inputs=[data, weights])
    assert list(data.iterdir()) == []


def test_only_our_own_partial_files_are_removed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "last").mkdir(parents=True)
    ours = [run / ".checkpoint.safetensors.host.1.ab.partial", run / "last" / ".state.safetensors.x.partial"]
    kept = [run / ".notes.partial", run / "mine.partial", run / "last" / ".mine.txt.1.partial"]
    writable = run / ".run.json.host.2.partial"
    for path in (*ours, *kept, writable):
        path.touch(0o644)
    writable.chmod(0o666)
    folder = run / ".metrics.jsonl.x.partial"
    folder.mkdir()
    link = run / ".report.html.x.partial"
    link.symlink_to(kept[0])
    RunFolder(run).create()
    assert not any(path.exists() for path in ours)
    assert all(os.path.lexists(path) for path in (*kept, writable, folder, link))


RESULTS = ["run.json", "not-finite.json", "checkpoint.safetensors", "checkpoint.json", "metrics.jsonl", "report.html"]
EVENTS = "events.out.tfevents.1.host.2.0"


def left_by_an_earlier_try(run: Path) -> Path:
    (run / "tensorboard").mkdir(parents=True)
    for name in (*RESULTS, f"tensorboard/{EVENTS}", "tensorboard/notes.txt"):
        (run / name).write_text("of an earlier try")
    return run


def files(run: Path) -> list[str]:
    return sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if not path.is_dir())


def test_a_run_that_begins_finds_nothing_of_an_earlier_try(tmp_path: Path) -> None:
    run = left_by_an_earlier_try(tmp_path / "runs" / "run")
    RunFolder(run).check(resume=False)
    RunFolder(run).create()
    assert files(run) == ["tensorboard/notes.txt"]


def test_a_run_that_goes_on_keeps_everything_but_the_report_on_the_step_that_stopped_it(tmp_path: Path) -> None:
    run = left_by_an_earlier_try(tmp_path / "runs" / "run")
    (run / "last").mkdir()
    (run / "last" / "state.safetensors").touch()
    before = files(run)
    RunFolder(run).create()
    assert [name for name in before if name not in files(run)] == ["not-finite.json"]


def test_results_that_are_not_ours_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = left_by_an_earlier_try(tmp_path / "runs" / "run")
    (run / "report.html").unlink()
    (run / "report.html").symlink_to(run / "tensorboard" / "notes.txt")
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(run).st_uid + 1)
    before = files(run)
    RunFolder(run).create()
    assert files(run) == before


def test_after_a_try_that_ended_in_nan_the_folder_is_that_of_a_run_that_never_failed(
    veri: Path, tmp_path: Path, run_main: Run
) -> None:
    options = ["--backbone", "test_resnet", "--weights", "none", "--image-size", 32, "--epochs", 1, "--batch", "4x2"]
    options += ["--output", tmp_path / "run"]
    diverging = ["--set", "learning_rate=1e6", "--set", "warmup_epochs=0"]
    error = assert_one_line_of_error(*run_main(main, "reid-train", veri, *options, *diverging))
    assert "not finite" in error
    assert "not-finite.json" in files(tmp_path / "run")
    assert run_main(main, "reid-train", veri, *options)[0] == 0
    found = [name for name in files(tmp_path / "run") if not name.startswith("tensorboard/")]
    assert found == sorted({*RESULTS, "last/state.safetensors"} - {"not-finite.json"})
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 1


def test_a_folder_with_a_partial_file_of_something_else_is_no_run(tmp_path: Path) -> None:
    (tmp_path / ".run.json.host.1.partial").touch()
    RunFolder(tmp_path).check(resume=False)
    (tmp_path / "film.partial").touch()
    with pytest.raises(ReidError, match="is not a run"):
        RunFolder(tmp_path).check(resume=False)


def test_rows_after_the_state_are_dropped_unread(tmp_path: Path) -> None:
    write_rows(tmp_path, [{"epoch": 1}, {"epoch": 2}])
    with (tmp_path / METRICS_FILE).open("ab") as file:
        file.write(b'{"epoch": 3, "tr\xff')
    run = RunFolder(tmp_path)
    run.forget_after(2)
    assert read_rows(tmp_path) == [{"epoch": 1}, {"epoch": 2}]
    run.forget_after(0)
    assert (tmp_path / METRICS_FILE).read_bytes() == b""


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff", b"[" * 100_000, b'{"epoch": ' + b"9" * 5000 + b"}"])
def test_a_damaged_row_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / METRICS_FILE).write_bytes(content + b"\n")
    with pytest.raises(ReidError, match=r"metrics\.jsonl: the row of metrics is not valid") as raised:
        RunFolder(tmp_path).forget_after(1)
    assert "\n" not in str(raised.value)


def test_a_pipe_in_place_of_the_rows_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / METRICS_FILE)
    with pytest.raises(ReidError, match=r"metrics\.jsonl: a named pipe, not a file; move"):
        RunFolder(tmp_path).forget_after(1)


def test_rows_are_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / METRICS_FILE).symlink_to(tmp_path / "elsewhere")
    write_rows(tmp_path, [{"epoch": 1}])
    assert (tmp_path / "elsewhere").read_text() == ""
    assert read_rows(tmp_path) == [{"epoch": 1}]
