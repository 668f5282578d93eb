from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from command_line import Run, assert_one_line_of_error

import reid.pages.results
import reid.runtime.opening
from reid.commands.gallery import main as append_main
from reid.commands.infer import main
from reid.runtime.galleries.travel_times import TravelTimes

PRODUCTS = [".reid-manifest.json", "gallery.npz", "rankings.csv", "rankings.json", "report.html"]


@pytest.fixture
def run(run_main: Run) -> Run:
    """Run the command in this process: (exit code, standard output, standard error)."""
    return partial(run_main, main, "reid-infer")


@pytest.fixture
def work(veri: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with `gallery`, `query` and a link `bundle`."""
    images = sorted((veri / "image_test").iterdir())
    for target, chosen in (("gallery/track", images[:4]), ("gallery", images[10:16]), ("query", images[30:33])):
        (tmp_path / target).mkdir(parents=True, exist_ok=True)
        for image in chosen:
            shutil.copy(image, tmp_path / target)
    (tmp_path / "bundle").symlink_to(bundle)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_it_works_as_it_stands_in_the_readme(work: Path, run: Run) -> None:
    code, out, _ = run("gallery/", "query/")
    assert (code, out) == (0, "results/report.html\n")
    assert names(work / "results") == PRODUCTS
    assert names(work) == ["bundle", "gallery", "query", "results"]


def test_json_alone_is_on_standard_output(work: Path, run: Run) -> None:
    (work / "query" / "bad.jpg").write_bytes(b"no picture")
    (work / "gallery" / "track" / "cut.jpg").write_bytes(next((work / "query").glob("0*.jpg")).read_bytes()[:500])
    code, out, err = run("gallery", "query", "--json", "--output", "deep/er/results")
    summary = json.loads(out)
    assert code == 0
    assert (summary["queries"], summary["gallery"], summary["frames"]) == (3, 7, 15)
    assert [reason.partition(": ")[0] for reason in summary["unreadable"]] == [
        "gallery/track/cut.jpg",
        "query/bad.jpg",
    ]
    assert "2 of 15 frames could not be read" in err
    assert "query/bad.jpg" in err
    assert json.loads((work / "deep/er/results/rankings.json").read_text())["unreadable"] == summary["unreadable"]


def test_the_summary_names_the_post_processing(work: Path, run: Run) -> None:
    code, out, _ = run("gallery", "query", "--expand-queries", 2, "--rerank", "--json")
    assert code == 0
    assert json.loads(out)["post_processing"] == "query expansion (2), re-ranking"
    assert json.loads((work / "results" / "rankings.json").read_text())["score"] == "1 - re-ranked distance"


def test_a_second_run_replaces_the_first(work: Path, run: Run) -> None:
    run("gallery", "query", "--top-k", 2)
    assert run("gallery", "query", "--top-k", 3)[0] == 0
    assert names(work / "results") == PRODUCTS
    rankings = json.loads((work / "results" / "rankings.json").read_text())
    assert {len(query["matches"]) for query in rankings["queries"]} == {3}


@pytest.mark.parametrize("name", ["left over", "crops/1.jpg", "rankings.json"])
def test_results_with_a_file_of_the_users_are_not_replaced(work: Path, run: Run, name: str) -> None:
    run("gallery", "query")
    (work / "results" / name).parent.mkdir(exist_ok=True)
    (work / "results" / name).write_text("all my work")
    before = (work / "results" / "rankings.csv").read_bytes()
    sentence = assert_one_line_of_error(*run("gallery", "query", "--top-k", 1))
    assert name in sentence
    assert (work / "results" / name).read_text() == "all my work"
    assert (work / "results" / "rankings.csv").read_bytes() == before


def test_the_saved_gallery_gives_the_same_rankings(work: Path, run: Run) -> None:
    run("gallery", "query")
    code, _, err = run("results/gallery.npz", "query", "--output", "again")
    assert code == 0, err
    assert (work / "again" / "rankings.json").read_bytes() == (work / "results" / "rankings.json").read_bytes()


@pytest.mark.parametrize(
    ("gallery", "output"), [("results/gallery.npz", "results"), ("gallery", "gallery"), ("gallery", "query/results")]
)
def test_an_input_is_never_replaced_or_written_into(work: Path, run: Run, gallery: str, output: str) -> None:
    run("gallery", "query")
    before = sorted(work.rglob("*"))
    sentence = assert_one_line_of_error(*run(gallery, "query", "--output", output))
    assert "is an input" in sentence
    assert sorted(work.rglob("*")) == before


@pytest.mark.torch
def test_a_checkpoint_and_an_onnx_file_give_the_rankings_of_the_bundle(work: Path, run: Run, checkpoint: Path) -> None:
    found = []
    for number, model in enumerate(("bundle", "bundle/model.fp32.onnx", checkpoint)):
        assert run("gallery", "query", "--model", model, "--output", f"r{number}")[0] == 0
        result = json.loads((work / f"r{number}" / "rankings.json").read_text())
        found.append([[match["tracklet"] for match in query["matches"]] for query in result["queries"]])
    assert found[0] == found[1] == found[2]


def test_a_folder_with_other_things_is_not_touched(work: Path, run: Run) -> None:
    (work / "results").mkdir()
    (work / "results" / "thesis.tex").write_text("all my work")
    sentence = assert_one_line_of_error(*run("gallery", "query"))
    assert "results" in sentence
    assert "--output" in sentence
    assert names(work / "results") == ["thesis.tex"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["gallery", "nowhere"], "nowhere"),
        (["nowhere", "query"], "nowhere"),
        (["gallery", "query", "--model", "nowhere"], "nowhere"),
        (["gallery", "query", "--model", "gallery"], "gallery"),
        (["gallery", "query", "--session", "quantum"], "quantum"),
        (["gallery", "query", "--session", "onnxruntime:tpu"], "tpu"),
        (["gallery", "query", "--precision", "int8"], "int8"),
        (["gallery", "query", "--output", "/proc/results"], "/proc"),
        (["gallery", "query", "--output", "file/results"], "file"),
        (["gallery", "query", "--output", "file"], "file"),
        (["file", "query"], "file"),
        (["gallery", "empty"], "empty"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_failure_is_one_line_that_names_the_cause(work: Path, run: Run, arguments: list[str], named: str) -> None:
    (work / "file").write_text("a file, no folder")
    (work / "empty").mkdir()
    before = names(work)
    assert named in assert_one_line_of_error(*run(*arguments, "--json"))
    assert names(work) == before


def test_an_output_that_cannot_be_written_is_told_before_the_work(work: Path, run: Run) -> None:
    _, _, err = run("gallery", "query", "--output", "/proc/results")
    assert "frames" not in err


def test_images_that_are_all_bad_are_one_line_that_names_one(work: Path, run: Run) -> None:
    for image in (work / "query").iterdir():
        image.write_bytes(b"\xff\xd8 cut")
    sentence = assert_one_line_of_error(*run("gallery", "query"))
    assert "query/" in sentence
    assert names(work) == ["bundle", "gallery", "query"]


def test_a_gallery_of_another_model_is_one_line(work: Path, run: Run) -> None:
    run("gallery", "query")
    with np.load(work / "results" / "gallery.npz") as stored:
        fields = {name: stored[name] for name in stored.files}
    np.savez(work / "other.npz", **{**fields, "fingerprint": np.array("0" * 64)})
    before = (work / "results" / "rankings.json").read_bytes()
    assert "other.npz" in assert_one_line_of_error(*run("other.npz", "query"))
    assert (work / "results" / "rankings.json").read_bytes() == before


@pytest.mark.parametrize(
    "arguments", [["gallery"], [], ["gallery", "query", "--top-k", "0"], ["gallery", "query", "--top-k", "x"]]
)
def test_wrong_usage_ends_with_2(work: Path, run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_a_full_disk_is_one_line_and_leaves_nothing(work: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("gallery", "query")
    before = (work / "results" / "rankings.json").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert "disk is full" in assert_one_line_of_error(*run("gallery", "query", "--top-k", 1))
    assert (work / "results" / "rankings.json").read_bytes() == before
    assert names(work) == ["bundle", "gallery", "query", "results"]


def script() -> str:
    return str(Path(sys.executable).with_name("reid-infer"))


def test_a_write_that_the_system_stops_half_way_leaves_nothing(work: Path) -> None:
    def limit_files_to_a_few_bytes() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    done = subprocess.run(
        [script(), "gallery", "query"],
        capture_output=True,
        text=True,
        preexec_fn=limit_files_to_a_few_bytes,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},  # its files would be cut short, too, and stay
        timeout=60,
        check=False,
    )
    assert "File too large" in assert_one_line_of_error(done.returncode, done.stdout, done.stderr)
    assert names(work) == ["bundle", "gallery", "query"]


def interrupt_this_process(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_results_and_no_traceback(work: Path, number: signal.Signals, code: int) -> None:
    picture = next((work / "query").iterdir())
    for index in range(3000):  # some seconds of work
        (work / "gallery" / f"link{index}.jpg").symlink_to(picture)
    process = subprocess.Popen(
        [script(), "gallery", "query"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 20
    while not list(work.glob(".results.*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in err
    assert names(work) == ["bundle", "gallery", "query"]


def test_ctrl_c_while_results_are_written_keeps_the_former_ones(
    work: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("gallery", "query")
    before = (work / "results" / "rankings.json").read_bytes()
    monkeypatch.setattr(reid.pages.results, "write_report", interrupt_this_process)
    code, out, err = run("gallery", "query", "--top-k", 1)
    assert (code, out) == (130, "")
    assert "Traceback" not in err
    assert (work / "results" / "rankings.json").read_bytes() == before
    assert names(work) == ["bundle", "gallery", "query", "results"]


def test_ctrl_c_that_a_library_takes_for_a_failure_of_its_own_is_still_ctrl_c(
    work: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def import_of_a_binary_module(*_: object) -> None:
        try:
            interrupt_this_process()
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    monkeypatch.setattr(reid.runtime.opening, "open_session", import_of_a_binary_module)
    assert run("gallery", "query") == (130, "", "")


def test_a_false_match_rate_needs_a_model_that_was_verified(work: Path, run: Run) -> None:
    line = assert_one_line_of_error(*run("gallery", "query", "--false-match-rate", "1e-3"))
    assert "reid-export --verify DATA" in line
    assert names(work) == ["bundle", "gallery", "query"]
    assert run("gallery", "query", "--false-match-rate", "nan")[0] == 2


def test_a_false_match_rate_decides_by_the_card(work: Path, bundle: Path, run: Run) -> None:
    card = json.loads((bundle / "model.json").read_text())
    estimate = {"value": 0.9, "interval": [0.8, 0.95]}
    point = {"false_match_rate": 1e-3, "threshold": estimate, "true_match_rate": estimate, "measured_rate": estimate}
    pairs = {"impostor_pairs": 100_000, "genuine_pairs": 100, "vehicles": 50, "confused": 20}
    card["operating_points"] = {"fp32": {"i2t": [point | pairs]}}
    shutil.copytree(bundle, work / "verified")
    (work / "verified" / "model.json").write_text(json.dumps(card))
    code, out, err = run("gallery", "query", "--model", "verified", "--false-match-rate", "0.001", "--json")
    assert code == 0, err
    assert json.loads(out)["operating_point"] == point | pairs
    rankings = json.loads((work / "results" / "rankings.json").read_text())
    assert rankings["threshold"] == 0.9
    found = [match for query in rankings["queries"] for match in query["matches"]]
    assert [match["same"] for match in found] == [match["score"] >= 0.9 for match in found]


def test_results_say_what_the_filters_left_out(work: Path, run: Run, run_main: Run) -> None:
    queries = sorted(path.name for path in (work / "query").iterdir())
    assert {name.split("_")[1] for name in queries} <= {"c001", "c002", "c003", "c004"}
    seen = [f"{name},c00{number},{number}" for number, name in enumerate(queries, start=1)]
    (work / "seen.csv").write_text("\n".join(["id,camera,time_s", *seen]) + "\n")
    crops = sorted(path.name for path in (work / "gallery").glob("*.jpg"))
    assert len(crops) == 6
    times = [f"{name},c001,{number}" for number, name in enumerate(crops)]
    (work / "times.csv").write_text("\n".join(["id,camera,time_s", *times]) + "\n")
    assert run_main(append_main, "reid-gallery", "append", "store", "gallery", "--sightings", "times.csv")[0] == 0
    TravelTimes({("c001", "c001"): (1, 1), ("c001", "c002"): (100, 200), ("c002", "c001"): (100, 200)}).save("travel")
    options = [
        "--camera",
        "c001",
        "--camera",
        "c001",
        "--until",
        9,
        "--travel-times",
        "travel",
        "--sightings",
        "seen.csv",
    ]
    code, out, err = run("store", "query", *options, "--json")
    assert code == 0, err
    assert "nothing passes the filters for 1 of 3 queries" in err
    summary = json.loads(out)
    assert (summary["queries"], summary["unmatched"]) == (3, 1)
    asked = {"camera": ["c001"], "until_s": 9.0, "travel_times": 3}
    result = json.loads((work / "results" / "rankings.json").read_text())
    assert summary["filters"] == result["filters"] == asked
    found = {query["tracklet"]: {match["tracklet"] for match in query["matches"]} for query in result["queries"]}
    assert found == {
        queries[0]: {crops[0], crops[2]},  # a second before, or after
        queries[1]: set(),
        queries[2]: set(crops),  # nothing is known of that pair of cameras
    }
    rows = [line.split(",") for line in (work / "results" / "rankings.csv").read_text().splitlines()]
    assert [row for row in rows if row[0] == queries[1]] == [[queries[1], "", "", ""]]
    page = (work / "results" / "report.html").read_text()
    for words in ("cameras c001, until 9 s, travel times of 3 pairs of cameras", "1 of 3 queries", "no matches"):
        assert words in page
    assert names(work / "results") == [name for name in PRODUCTS if name != "gallery.npz"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--since", "2", "--until", "1"], "--since 2 is after --until 1"),
        (["--since", "nan"], "--since"),
        (["--camera", ""], "--camera"),
        (["--camera", "c1", "--not-camera", "c1"], "c1"),
        (["--shard", "4/3"], "1/3 to 3/3"),
        (["--shard", "three"], "3/16"),
        (["--shard", "1/2", "--rerank"], "--shard"),
    ],
)
def test_filters_that_make_no_sense_are_wrong_usage(work: Path, run: Run, options: list[str], named: str) -> None:
    code, out, err = run("gallery", "query", *options)
    assert (code, out) == (2, "")
    assert named in err.splitlines()[-1]


def test_a_gallery_of_a_kind_that_is_not_known_is_one_line(work: Path, run: Run) -> None:
    line = assert_one_line_of_error(*run("s3://bucket/gallery", "query"))
    assert "s3://bucket/gallery: no such kind of gallery; give a folder, a file, lance://" in line
    assert names(work) == ["bundle", "gallery", "query"]
