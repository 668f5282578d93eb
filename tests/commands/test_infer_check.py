"""`reid-infer --check`, with a reference distribution of the images that it is given."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import cv2
import pytest
from command_line import Run, assert_one_line_of_error

from reid.commands.infer import main
from reid.data.dataset import Split
from reid.evaluation.protocols import embed_data
from reid.evaluation.reference_distribution import distribution_of, looks_of, seen_by
from reid.runtime.bundle import CARD_FILE
from reid.runtime.data_drift.reference import DISTRIBUTION_FILE, Distributions
from reid.runtime.files.reading import sha256_of
from reid.runtime.folders import read_folder
from reid.runtime.model_card import ModelCard
from reid.runtime.opening import open_session


@pytest.fixture
def run(run_main: Run) -> Run:
    return partial(run_main, main, "reid-infer")


@pytest.fixture
def work(veri: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the images of two cameras as `gallery` and `query`, and a bundle that knows them."""
    monkeypatch.chdir(tmp_path)
    for folder, wanted in (("gallery", "*_c00[12]_*"), ("query", "*_c00[12]_*_0.jpg")):
        Path(folder).mkdir()
        for image in sorted((veri / "image_test").glob(wanted)):
            shutil.copy(image, folder)
    shutil.copytree(bundle, "bundle")
    everything = Split(tuple(read_folder("gallery")))
    with open_session("bundle") as session:
        seen = seen_by(embed_data(session, everything, everything))
    found = Distributions(precisions={"fp32": distribution_of(seen, looks_of(seen.tracklets))})
    Path("bundle", DISTRIBUTION_FILE).write_text(found.model_dump_json())
    card = ModelCard.read(Path("bundle", CARD_FILE))
    files = {**card.files, DISTRIBUTION_FILE: sha256_of(Path("bundle", DISTRIBUTION_FILE))}
    Path("bundle", CARD_FILE).write_text(card.model_copy(update={"files": files}).model_dump_json())
    return tmp_path


def turn(folder: Path, camera: str) -> None:
    for path in folder.glob(f"*_{camera}_*"):
        cv2.imwrite(str(path), cv2.rotate(cv2.imread(str(path)), cv2.ROTATE_90_CLOCKWISE))


def test_a_camera_that_was_turned_is_named_and_fails_on_request(work: Path, run: Run) -> None:
    code, out, _ = run("gallery", "query", "--check", "--fail-on-drift", "--json")
    checked = json.loads(out)["check"]
    assert code == 0
    assert [(one["camera"], one["verdict"]) for one in checked["cameras"]] == [
        ("c001", "no change found"),
        ("c002", "no change found"),
    ]
    for folder in ("gallery", "query"):
        turn(work / folder, "c002")
    code, out, err = run("gallery", "query", "--check", "--fail-on-drift")
    assert code == 3
    assert err.splitlines()[-1].startswith("error: camera c002 changed: ")
    assert "turned by" in out
    assert "c002 changed" in (work / "results" / "report.html").read_text()
    code, out, _ = run("gallery", "query", "--check", "--json")
    assert code == 0
    first, second = json.loads(out)["check"]["cameras"]
    assert (first["verdict"], second["verdict"]) == ("no change found", "changed")
    assert second["likely_causes"][0] == "turned by 90 degrees"
    assert second["quantities"]["shape"]["value"] == pytest.approx(-second["quantities"]["shape"]["reference"], abs=0.1)


def test_a_bundle_without_a_distribution_says_how_to_get_one(work: Path, run: Run, bundle: Path) -> None:
    error = assert_one_line_of_error(*run("gallery", "query", "--check", "--model", bundle))
    assert "reid-export --verify" in error
    assert not (work / "results").exists()


def test_options_of_the_check_need_the_check(work: Path, run: Run) -> None:
    assert run("gallery", "query", "--fail-on-drift")[0] == 2
    assert run("gallery", "query", "--new-cameras")[0] == 2
