"""What a run was started with, as this version and reid 0.1 store it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from reid.runtime.errors import ReidError
from reid.runtime.training_facts import TrainingFacts
from reid.train.parallel.processes import Processes
from reid.train.recipe import RECIPES, Recipe
from reid.train.run.origin import ORIGIN_FILE, Origin, keep_origin, read_origin

# As reid 0.1 wrote it.
STORED: dict[str, Any] = {
    "command": "reid-train veri --recipe strong",
    "recipe": {
        **{name: value for name, value in RECIPES["strong"].model_dump(mode="json").items() if name != "color_jitter"},
        "colour_jitter": 0.25,
        "levels": [3, 4],
    },
    "data": {"layout": "veri", "fingerprint": "ab", "images": 3, "held_out_vehicles": ["0005"]},
    "versions": {"reid": "0.1.0", "torch": "1.0"},
    "data_path": "/data/veri",
    "machine": {"device": "CPU", "processes": 1, "threads": 1000},
}


def write(run: Path, facts: object) -> Path:
    (run / ORIGIN_FILE).write_text(json.dumps(facts))
    return run


def test_a_run_of_reid_0_1_is_read(tmp_path: Path) -> None:
    origin = read_origin(write(tmp_path, STORED))
    assert origin.recipe == RECIPES["strong"].changed(color_jitter=0.25, levels=(3, 4))
    assert (origin.data_path, origin.data.layout, origin.weights_sha256) == (Path("/data/veri"), "veri", None)
    facts = origin.facts()
    assert (facts.held_out_share, facts.seed, facts.data) == (0.1, 0, origin.data)
    assert Recipe.of(facts.recipe) == origin.recipe


def test_a_folder_whose_name_is_not_utf_8_is_stored(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(b"/data/caf\xe9/VeRi"))
    origin = Origin.model_validate({**STORED, "data_path": folder})
    assert keep_origin(tmp_path, origin, Processes(), resume=False) == origin
    assert read_origin(tmp_path) == origin
    assert os.fsencode(read_origin(tmp_path).data_path) == b"/data/caf\xe9/VeRi"


def test_a_card_takes_names_that_are_not_utf_8() -> None:
    name = os.fsdecode(b"caf\xe9")
    data = {**STORED["data"], "held_out_vehicles": [name]}
    origin = Origin.model_validate({**STORED, "data": data, "recipe": {"weights": name}})
    facts = origin.facts()
    assert (facts.recipe["weights"], facts.data and facts.data.held_out_vehicles) == ("caf\\udce9", ("caf\\udce9",))
    assert TrainingFacts.model_validate_json(facts.model_dump_json()) == facts
    assert origin.recipe.weights == name


def test_what_is_no_json_is_refused_in_one_line(tmp_path: Path) -> None:
    for content in (b"{", b"\xff", b""):
        (tmp_path / ORIGIN_FILE).write_bytes(content)
        with pytest.raises(ReidError, match=r"run.json: the record of the run is not valid") as raised:
            read_origin(tmp_path)
        assert "\n" not in str(raised.value)


def test_every_difference_is_described(tmp_path: Path) -> None:
    changes = read_origin(write(tmp_path, STORED)).changes(Processes())
    assert any(change.startswith("torch was 1.0 and is ") for change in changes)
    assert any(change.startswith("threads was 1000 and is ") for change in changes)
    assert any(change.startswith("numpy was None and is ") for change in changes)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"recipe": {"epochs": -1}}, "recipe.epochs"),
        ({"recipe": {"new_setting": 1}}, "recipe.new_setting"),
        ({"recipe": {"qat": "bundle", "weights": "none"}}, "--weights RUN"),
        ({"data": None}, "data"),
    ],
)
def test_what_another_version_wrote_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(
        ReidError, match=rf"run.json: the record of the run is not valid .*{reason}.*another version of reid"
    ) as raised:
        read_origin(write(tmp_path, {**STORED, **change}))
    assert "\n" not in str(raised.value)
