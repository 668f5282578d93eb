"""The page for the hub, as the hub's own library reads it."""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path

import pytest
from command_line import Run, assert_one_line_of_error

from reid.commands.export import main
from reid.evaluation.verification.reading import read_verification
from reid.evaluation.verification.records import ReferenceData
from reid.export.hub_card import HUB_CARD_FILE, hub_card
from reid.runtime.bundle import Bundle
from reid.runtime.model_card import ModelCard
from reid.runtime.training_facts import TrainingFacts

pytestmark = pytest.mark.torch

STORED = Path(__file__).parents[1] / "stored"
METRICS = ("mAP", "R-1", "R-5", "R-10")


@pytest.fixture
def run(run_main: Run) -> Run:
    return partial(run_main, main, "reid-export")


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def test_the_hub_reads_every_result_that_was_measured_and_no_other() -> None:
    hub = pytest.importorskip("huggingface_hub")
    card, verification = ModelCard.read(STORED / "model.json"), read_verification(STORED / "verification.json")
    page = hub.ModelCard(hub_card(card, verification), ignore_metadata_errors=False)
    assert (page.data.library_name, page.data.pipeline_tag) == ("reid", "image-feature-extraction")
    assert (page.data.license, page.data.license_name) == ("other", "not-chosen-yet")
    expected = {
        (f"{protocol.protocol}, {precision.precision}, {protocol.post_processing}", metric): pytest.approx(
            protocol.change(metric).candidate, abs=0.006
        )
        for precision in verification.precisions
        for protocol in precision.protocols
        for metric in METRICS
    }
    found = {(one.dataset_config, one.metric_type): one.metric_value for one in page.data.eval_results}
    assert expected
    assert found == expected
    assert isinstance(verification.judged_on, ReferenceData)
    assert {one.dataset_name for one in page.data.eval_results} == {verification.judged_on.name}


def test_texts_from_elsewhere_stay_texts() -> None:
    hub = pytest.importorskip("huggingface_hub")
    nasty = 'a"\n---\n# b: `<script>`'
    card = ModelCard.read(STORED / "model.json").model_copy(
        update={"backbone": nasty, "training": TrainingFacts(command=nasty)}
    )
    page = hub.ModelCard(hub_card(card, read_verification(STORED / "verification.json")))
    assert page.data.model_name.startswith('reid a"')
    assert not re.search(r"(?m)^# b", page.text)
    assert "`<script>`" not in page.text


def test_a_bundle_that_is_there_gets_a_page_and_stays_a_bundle(copy: Path, run: Run) -> None:
    for _ in range(2):
        assert run(copy, "--hub-card")[0] == 0
        assert HUB_CARD_FILE in Bundle.open(copy).card.files
    page = (copy / HUB_CARD_FILE).read_text()
    assert "model-index" not in page  # it was verified on crops alone
    assert "were not measured" in page


def test_a_readme_of_the_users_is_not_replaced(copy: Path, run: Run) -> None:
    (copy / HUB_CARD_FILE).write_text("mine")
    before = (copy / "model.json").read_bytes()
    error = assert_one_line_of_error(*run(copy, "--hub-card"))
    assert "move it out" in error
    assert (copy / HUB_CARD_FILE).read_text() == "mine"
    assert (copy / "model.json").read_bytes() == before
