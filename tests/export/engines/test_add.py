"""Engines are added to a bundle by library code: of the graphs that are named, if these are what was verified."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest

from reid.evaluation.verification.records import EngineFacts
from reid.export.engines.add import add_engines
from reid.export.engines.options import EngineOptions
from reid.export.graphs import save_graph
from reid.runtime.bundle import Bundle
from reid.runtime.engine_card import EngineCard, Profile
from reid.runtime.errors import GateError, ModelError
from reid.runtime.files.reading import sha256_of

OPTIONS = EngineOptions(
    "tensorrt-rtx", profiles=(Profile((1, 4, 8), (1, 2, 8)),), optimization_level=0, compute_capabilities=("8.9",)
)


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def restored(bundle: Path, name: str, content: dict[str, Any]) -> None:
    """Write a file of a bundle, and a card that says that it should be so."""
    (bundle / name).write_text(json.dumps(content))
    card = json.loads((bundle / "model.json").read_text())
    card["files"] |= {path.name: sha256_of(path) for path in bundle.glob("*.*") if path.name != "model.json"}
    (bundle / "model.json").write_text(json.dumps(card))


def test_an_engine_is_built_once_and_its_facts_are_those_of_its_sidecar(copy: Path) -> None:
    stages: list[str] = []

    class Noted:
        def begin(self, stage: str, total: int, unit: str = "frames") -> None:
            stages.append(stage)

        def advance(self, steps: int = 1) -> None: ...

    (facts,) = add_engines(Bundle.open(copy), ["fp32", "fp32"], OPTIONS, Noted())
    (sidecar,) = (copy / "engines").glob("*.json")
    card = EngineCard.parse(sidecar.read_bytes(), sidecar)
    assert facts == EngineFacts.of(card)
    assert (facts.precision, facts.flavor, facts.device) == ("fp32", "tensorrt-rtx", "sm89")
    assert card.build_command.startswith(
        "reid-export BUNDLE --precision fp32 --engine tensorrt-rtx --profile 1,4,8:1,2,8 "
    )
    assert stages == ["building fp32 engine"]


def test_a_precision_that_the_bundle_does_not_have_is_refused_before_anything_is_built(copy: Path) -> None:
    with pytest.raises(ModelError, match="has no int8 graph; choose one of: fp32"):
        add_engines(Bundle.open(copy), ["fp32", "int8"], OPTIONS)
    assert not (copy / "engines").exists()


def test_a_graph_of_another_precision_than_its_name_says_is_refused(copy: Path) -> None:
    shutil.copy(copy / "model.fp32.onnx", copy / "model.fp16.onnx")
    restored(copy, "verification.json", json.loads((copy / "verification.json").read_text()))
    with pytest.raises(ModelError, match=r"model\.fp16\.onnx is a graph in fp32, not in fp16; export it again"):
        add_engines(Bundle.open(copy), ["fp16"], OPTIONS)
    assert not (copy / "engines").exists()


@pytest.mark.parametrize("version", [1, 2])
def test_layers_that_the_verification_has_in_fp32_may_be_so_in_the_engine(copy: Path, version: int) -> None:
    # An FP16 graph whose layers all stay in FP32.
    save_graph(onnx.load(copy / "model.fp32.onnx"), copy / "model.fp16.onnx", "fp16")
    stored = json.loads((copy / "verification.json").read_text())
    (fp32,) = stored["precisions"]
    stored["precisions"].append({**fp32, "precision": "fp16"})
    restored(copy, "verification.json", stored)
    with pytest.raises(GateError, match=r"convolutions run in FP32"):
        add_engines(Bundle.open(copy), ["fp16"], OPTIONS)
    assert not (copy / "engines").exists()
    convolutions = [node.name for node in onnx.load(copy / "model.fp16.onnx").graph.node if node.op_type == "Conv"]
    if version == 1:
        stored |= {"format_version": 1, "data": {"reference crops": 32}, "retrieval": False}
        del stored["judged_on"]
        for one in stored["precisions"]:
            del one["in_fp32"]
            one["kept_in_fp32"] = dict.fromkeys(convolutions, 1e5)
    else:
        stored["precisions"][1]["in_fp32"] = [{"layer": name, "amax": 1e5} for name in convolutions]
    restored(copy, "verification.json", stored)
    (facts,) = add_engines(Bundle.open(copy), ["fp16"], OPTIONS)
    assert facts.precision == "fp16"
    (sidecar,) = (copy / "engines").glob("*.json")
    assert set(EngineCard.parse(sidecar.read_bytes(), sidecar).layers.convolutions) == {"fp32"}
