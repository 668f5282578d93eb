from __future__ import annotations

import json
import os
import shutil
from functools import partial
from pathlib import Path

import pytest
from command_line import Run, assert_one_line_of_error

import reid.evaluation.operating_points.estimates
from reid.commands.evaluate import main


@pytest.fixture
def run(run_main: Run) -> Run:
    """Run the command in this process: (exit code, standard output, standard error)."""
    return partial(run_main, main, "reid-eval")


@pytest.fixture
def cityflow(veri: Path, tmp_path: Path) -> Path:
    root = tmp_path / "cityflow"
    for part in ("train", "query", "test"):
        (root / f"image_{part}").mkdir(parents=True)
    items = []
    for number, image in enumerate(sorted((veri / "image_train").iterdir()), start=1):
        shutil.copy(image, root / "image_train" / f"{number:06d}.jpg")
        vehicle, camera, *_ = image.name.split("_")
        items.append(f'<Item imageName="{number:06d}.jpg" vehicleID="{vehicle}" cameraID="{camera}" />')
    (root / "train_label.xml").write_text(
        '<?xml version="1.0" encoding="gb2312"?>\n<TrainingImages Version="1.0"><Items number="1">\n'
        + "\n".join(items)
        + "\n</Items></TrainingImages>\n"
    )
    for part, count in (("query", 3), ("test", 9)):
        for number, image in enumerate(sorted((veri / "image_test").iterdir())[:count], start=1):
            shutil.copy(image, root / f"image_{part}" / f"{number:06d}.jpg")
    return root


def test_json_has_the_shape_of_the_design_and_is_alone_on_standard_output(veri: Path, bundle: Path, run: Run) -> None:
    code, out, _ = run(bundle, veri, "--json")
    assert code == 0
    result = json.loads(out)
    assert list(result["protocols"]) == ["i2i", "i2t", "t2t"]
    for name, scores in result["protocols"].items():
        assert {"mAP", "R-1", "R-5", "R-10", "queries", "gallery"} <= scores.keys()
        assert 0 < scores["mAP"] <= 100
        assert scores["R-1"] <= scores["R-5"] <= scores["R-10"] <= 100
        kind = "image_test" if name == "i2i" else "test_track.txt"
        entries = os.listdir(veri / kind) if name == "i2i" else (veri / kind).read_text().splitlines()
        assert scores["gallery"] == len(entries)
        assert scores["queries"] + scores["unanswerable"] == len(os.listdir(veri / "image_query"))
    assert result["model"]["fingerprint"] == json.loads((bundle / "model.json").read_text())["fingerprint"]
    assert result["data"]["layout"] == "veri"


@pytest.mark.torch
def test_checkpoint_bundle_and_graph_score_alike(veri: Path, checkpoint: Path, bundle: Path, run: Run) -> None:
    scores = [
        json.loads(run(model, veri, "--json")[1])["protocols"]
        for model in (checkpoint, bundle, bundle / "model.fp32.onnx")
    ]
    for protocols in scores:
        for found in protocols.values():
            del found["operating_points"]
    for name, expected in scores[0].items():
        assert scores[1][name] == pytest.approx(expected, abs=1e-6)
        assert scores[2][name] == pytest.approx(expected, abs=1e-6)


def test_the_table_shows_the_chosen_protocols_with_the_figures_of_the_json(veri: Path, bundle: Path, run: Run) -> None:
    scores = json.loads(run(bundle, veri, "--json", "--protocols", "i2t")[1])["protocols"]
    assert list(scores) == ["i2t"]
    _, out, _ = run(bundle, veri, "--protocols", "i2t")
    assert "I2T" in out
    assert "I2I" not in out
    assert f"{scores['i2t']['mAP']:.2f}" in out


def test_operating_points_stand_in_the_json_and_in_a_table_of_their_own(
    veri: Path, bundle: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--protocols", "i2i", "--rerank"]
    few = json.loads(run(bundle, veri, *options, "--json")[1])["plain"]["i2i"]["operating_points"]
    assert [point["false_match_rate"] for point in few] == [1e-2, 1e-3, 1e-4]
    assert all(point["threshold"] is None and point["reason"] for point in few)  # of so few vehicles
    monkeypatch.setattr(reid.evaluation.operating_points.estimates, "FEWEST_CONFUSED", 1)
    result = json.loads(run(bundle, veri, *options, "--json")[1])
    assert result["protocols"]["i2i"]["operating_points"] == []
    point = result["plain"]["i2i"]["operating_points"][0]
    low, high = point["threshold"]["interval"]
    assert low <= point["threshold"]["value"] <= high
    assert 0 <= point["true_match_rate"]["value"] <= 100
    _, out, _ = run(bundle, veri, *options)
    assert "none of re-ranked distances" in " ".join(out.split())
    assert f"{point['threshold']['value']:.4f}" in out


def test_plain_and_post_processed_figures_stand_side_by_side(veri: Path, bundle: Path, run: Run) -> None:
    options = ["--expand-queries", 3, "--rerank"]
    plain, processed = (
        json.loads(run(bundle, veri, "--json", "--protocols", "i2i", *some)[1]) for some in ([], options)
    )
    assert (plain["expand_queries"], plain["rerank"], plain["post_processing"]) == (0, False, "plain")
    assert (processed["expand_queries"], processed["rerank"]) == (3, True)
    assert processed["post_processing"] == "query expansion (3), re-ranking"
    assert processed["plain"] == plain["protocols"]
    assert "plain" not in plain
    _, out, _ = run(bundle, veri, "--protocols", "i2i", *options)
    rows = [line for line in out.splitlines() if "I2I" in line][:2]
    figures = [one["i2i"]["mAP"] for one in (processed["plain"], processed["protocols"])]
    assert figures[0] != figures[1]
    for row, name, figure in zip(rows, ("plain", "query"), figures, strict=True):
        assert name in row
        assert f"{figure:.2f}" in row
    assert "re-ranking" in out


def test_unreadable_frames_are_named_in_the_json_and_counted_for_people(
    veri: Path, bundle: Path, tmp_path: Path, run: Run
) -> None:
    root = Path(shutil.copytree(veri, tmp_path / "veri"))
    bad = [min((root / part).iterdir()) for part in ("image_query", "image_test")]
    for path in bad:
        path.write_bytes(b"no picture")
    result = json.loads(run(bundle, root, "--json")[1])
    assert sorted(result["data"]["unreadable"]) == sorted(map(str, bad))
    _, _, err = run(bundle, root)
    assert "2 frames could not be read" in err
    assert all(path.name in err.replace("\n", "") for path in bad)


def test_a_submission_is_written_beside_the_evaluation(cityflow: Path, bundle: Path, tmp_path: Path, run: Run) -> None:
    (cityflow / "image_test" / "000004.jpg").write_bytes(b"")
    path = tmp_path / "track2.txt"
    code, out, err = run(bundle, cityflow, "--submission", path, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert [sorted(map(int, line.split())) for line in path.read_text().splitlines()] == [[1, 2, 3, 5, 6, 7, 8, 9]] * 3
    assert result["protocols"]["i2i"]["queries"] > 0
    assert result["data"]["split"]["seed"] == 0
    assert "000004.jpg" in json.dumps(result["submission"])


def test_a_submission_for_data_that_has_no_challenge_is_told_before_the_work(
    veri: Path, bundle: Path, tmp_path: Path, run: Run
) -> None:
    code, out, err = run(bundle, veri, "--submission", tmp_path / "track2.txt")
    assert "CityFlow" in assert_one_line_of_error(code, out, err)
    assert "embedding" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["thesis.tex", "cityflow/track2.txt", "cityflow", "cityflow/train_label.xml"])
def test_a_submission_over_something_else_is_refused_before_the_work(
    cityflow: Path, bundle: Path, tmp_path: Path, run: Run, place: str
) -> None:
    (tmp_path / "thesis.tex").write_text("all my work")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    code, out, err = run(bundle, cityflow, "--submission", tmp_path / place)
    assert place in assert_one_line_of_error(code, out, err)
    assert err.count("\n") == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_failure_is_one_line_that_names_the_cause(veri: Path, bundle: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.onnx").write_bytes((bundle / "model.fp32.onnx").read_bytes()[:10_000])
    damaged = Path(shutil.copytree(bundle, tmp_path / "damaged"))
    (damaged / "verification.json").write_text("{}")
    for arguments, named in (
        ((bundle, tmp_path / "absent"), "absent"),
        ((tmp_path / "absent", veri), "absent"),
        ((bundle, tmp_path / "empty"), "empty"),
        ((tmp_path / "cut.onnx", veri), "cut.onnx"),
        ((damaged, veri), "verification.json"),
        ((bundle, veri, "--session", "abacus"), "abacus"),
        ((bundle, veri, "--precision", "fp16"), "fp16"),
    ):
        assert named in assert_one_line_of_error(*run(*arguments, "--json"))


@pytest.mark.parametrize("arguments", [[], ["model"], ["--protocols", "i2i,x2y"], ["--protocols", ""]])
def test_wrong_usage_ends_with_2(veri: Path, bundle: Path, run: Run, arguments: list[str]) -> None:
    whole = [bundle, veri, *arguments] if arguments[:1] == ["--protocols"] else arguments
    code, out, err = run(*whole)
    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_an_unknown_protocol_is_answered_with_those_that_exist(veri: Path, bundle: Path, run: Run) -> None:
    _, _, err = run(bundle, veri, "--protocols", "i2i,x2y")
    assert "unknown protocol 'x2y'; choose one of: i2i, i2t, t2t" in " ".join(err.split())


# What is left out, and for what data


@pytest.fixture
def one_camera(veri: Path, tmp_path: Path) -> Path:
    """The test images as query and gallery folders of one camera, the query images being copies."""
    root = tmp_path / "one"
    for part, folder in (("query", "image_query"), ("gallery", "image_test")):
        (root / part).mkdir(parents=True)
        for image in (veri / folder).iterdir():
            shutil.copy(image, root / part / f"{image.name[:4]}_c001_{image.name[10:]}")
    return root


def test_the_table_and_the_json_say_what_happens_to_the_querys_camera(veri: Path, bundle: Path, run: Run) -> None:
    found = {}
    for rule, title in (("drop", "same camera: dropped"), ("keep", "same camera: kept, but for the query itself")):
        found[rule] = json.loads(run(bundle, veri, "--json", "--same-camera", rule)[1])
        assert found[rule]["same_camera"] == rule
        assert title in run(bundle, veri, "--same-camera", rule)[1]
    usual = json.loads(run(bundle, veri, "--json")[1])
    assert (usual["same_camera"], usual["protocols"]) == ("drop", found["drop"]["protocols"])
    assert usual["test_sets"] == {}
    queries = {rule: found[rule]["protocols"]["i2i"] for rule in found}
    assert queries["keep"]["queries"] >= queries["drop"]["queries"]
    assert queries["keep"]["mAP"] != queries["drop"]["mAP"]


def test_data_of_one_camera_is_ranked_without_the_query_itself(one_camera: Path, bundle: Path, run: Run) -> None:
    code, out, err = run(bundle, one_camera, "--json", "--protocols", "i2i")
    assert code == 0, err
    result = json.loads(out)
    assert result["same_camera"] == "keep"
    assert result["protocols"]["i2i"]["mAP"] < 100  # which the copies of the queries would make it
    assert "same camera: kept" in run(bundle, one_camera, "--protocols", "i2i")[1]
    line = assert_one_line_of_error(*run(bundle, one_camera, "--protocols", "i2i", "--same-camera", "drop", "--json"))
    assert line.endswith("with --same-camera keep")
    code, out, _ = run(bundle, one_camera, "--protocols", "i2i", "--same-camera", "keep", "--json")
    assert (code, json.loads(out)["protocols"]) == (0, result["protocols"])


def test_a_test_set_that_does_not_exist_is_answered_before_the_work(veri: Path, bundle: Path, run: Run) -> None:
    code, out, err = run(bundle, veri, "--test-set", "800")
    assert "leave out --test-set" in assert_one_line_of_error(code, out, err)
    assert "embedding" not in err


@pytest.fixture
def vehicleid(veri: Path, tmp_path: Path) -> Path:
    """The images in VehicleID's layout, with two test sets."""
    root = tmp_path / "VehicleID"
    (root / "image").mkdir(parents=True)
    (root / "train_test_split").mkdir()
    lines: dict[str, list[str]] = {"train_list": [], "test_list_2": [], "test_list_3": []}
    images = [*sorted((veri / "image_train").iterdir()), *sorted((veri / "image_test").iterdir())]
    tested = sorted({image.name[:4] for image in images if image.parent.name == "image_test"})
    for number, image in enumerate(images):
        vehicle = image.name[:4]
        shutil.copy(image, root / "image" / f"{number:07d}.jpg")
        names = [f"test_list_{count}" for count in (2, 3) if vehicle in tested[:count]]
        for name in names if image.parent.name == "image_test" else ["train_list"]:
            lines[name].append(f"{number:07d} {int(vehicle)}")
    for name, content in lines.items():
        (root / "train_test_split" / f"{name}.txt").write_text("\n".join(content))
    return root


def test_all_test_sets_are_in_the_table_and_the_json_or_the_one_that_is_chosen(
    vehicleid: Path, bundle: Path, run: Run
) -> None:
    code, out, err = run(bundle, vehicleid, "--json")
    assert code == 0, err
    assert "i2t and t2t are left out" in err
    result = json.loads(out)
    assert list(result["test_sets"]) == ["2", "3"]
    for name, facts in result["test_sets"].items():
        assert (facts["same_camera"], facts["draws"], facts["protocols"]["i2i"]["gallery"]) == ("keep", 10, int(name))
        assert facts["protocols"]["i2i"]["std"].keys() == {"mAP", "R-1", "R-5", "R-10"}
    assert result["protocols"] == result["test_sets"]["2"]["protocols"]
    _, out, _ = run(bundle, vehicleid)
    assert "same camera: kept, but for the query itself; means over 10 draws" in out
    assert all(f"{facts['protocols']['i2i']['mAP']:.2f}" in out for facts in result["test_sets"].values())
    chosen = json.loads(run(bundle, vehicleid, "--json", "--test-set", "3")[1])
    assert chosen["test_sets"] == {"3": result["test_sets"]["3"]}
    assert chosen["protocols"] == result["test_sets"]["3"]["protocols"]


def test_a_protocol_that_was_asked_for_and_has_no_entries_is_an_error_whose_remedy_works(
    vehicleid: Path, bundle: Path, run: Run
) -> None:
    line = assert_one_line_of_error(*run(bundle, vehicleid, "--protocols", "i2i,t2t"))
    assert "t2t: " in line
    assert "choose --protocols i2i;" in line
    assert run(bundle, vehicleid, "--protocols", "i2i")[0] == 0


def test_the_challenge_needs_no_training_images(cityflow: Path, bundle: Path, tmp_path: Path, run: Run) -> None:
    shutil.rmtree(cityflow / "image_train")
    (cityflow / "train_label.xml").unlink()
    path = tmp_path / "track2.txt"
    code, out, err = run(bundle, cityflow, "--submission", path)
    assert code == 0, err
    assert "no labeled queries" in err
    assert out.strip() == str(path)
    assert len(path.read_text().splitlines()) == 3
    result = json.loads(run(bundle, cityflow, "--submission", path, "--json")[1])
    assert (result["protocols"], result["submission"]["path"]) == ({}, str(path))
